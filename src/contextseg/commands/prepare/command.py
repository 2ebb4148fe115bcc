"""What `prepare.py` does: finds the archives, refuses wrong ones, fills the tree, counts, tells what comes next."""

import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.table import Table

from contextseg.commands.prepare.archive import Loose, Reader, is_archive, open_archive, sha256, walk
from contextseg.commands.prepare.options import PrepareOptions
from contextseg.commands.prepare.recipe import Archive, Recipe, Split, data_sets, recipes
from contextseg.commands.prepare.tree import Tree, read_lines
from contextseg.console import console, progress
from contextseg.errors import ConfigError

SAMPLES = 32  # members that are looked at before anything is written
FEW = 8  # conversions for which no process is started
NOTHING = ".none"  # fits no file

log = logging.getLogger(__name__)


@dataclass
class Job:
    """An archive at hand and what it is; `files`: member -> [(target, conversion or None)]."""

    reader: Reader
    archives: list[Archive]
    files: dict[str, list[tuple[str, Callable | None]]] = field(init=False)

    def __post_init__(self):
        self.files = {}
        rules = [rule for archive in self.archives for rule in archive.rules]
        for name in self.reader.names:
            places = [(place, rule.convert) for rule in rules if (place := rule.place(name))]
            if places:
                self.files[name] = places

    @property
    def name(self) -> str:
        return self.reader.path.name

    @property
    def targets(self) -> list[str]:
        return [target for places in self.files.values() for target, _ in places]


def main(options: PrepareOptions) -> None:
    """Make the ready tree."""
    prepare(options)


def prepare(cfg: PrepareOptions) -> Path:
    """Make the ready tree of `cfg.data` in `cfg.root` from the archives in `cfg.source`; returns its folder.

    Goes on where an earlier run stopped. Raises `ConfigError` for an archive that is missing, wrong, damaged or unsafe,
    for a file that is there and differs, and if the disk is too small.
    """
    workers = min(os.cpu_count() or 1, 8) if cfg.workers is None else cfg.workers
    name = cfg.choices["data"]
    known = recipes(name)
    root = cfg.root
    if root is None:
        raise ConfigError("root=null: give the folder for the ready tree")
    readers, faults = find(cfg.source if isinstance(cfg.source, list) else [cfg.source], known, root)
    recipe, jobs = plan(name, known, readers, faults)
    tree = Tree(root, cfg.overwrite)
    if tree.record.get("data", name) != name:
        raise ConfigError(f"root={root}: holds {tree.record['data']}; give another folder for {name}")
    check_space(tree, jobs)
    if cfg.dry_run:
        console.print(plan_table(tree, jobs))
        return root
    with tree:
        tree.record["data"] = name
        for job in jobs:
            fill(tree, job, workers)
        if recipe.finish:
            recipe.finish(tree)
        counts = {split.name: counted(root, split) for split in recipe.splits}
        tree.record["splits"] = {
            split: dict(zip(("images", "masks"), pair, strict=True)) for split, pair in counts.items()
        }
        tree.save()
    tell(name, recipe, root, counts)
    return root


# what there is


def find(paths: Iterable[Path], known: Sequence[Recipe], root: Path) -> tuple[list[Reader], list[str]]:
    """All archives and loose files, and what is wrong with strangers among them. Raises `ConfigError` if an archive
    cannot be read that was named, or has the name of one of the data set's."""
    ours = {archive.name for recipe in known for archive in recipe.archives}
    readers, faults = [], []
    for path in paths:
        path = path.resolve()
        if not path.is_dir():
            readers.append(opened(path) if is_archive(path) else Loose(path, [path]))
            continue
        archives, loose = walk(path, root.resolve())
        for archive in archives:
            try:
                readers.append(opened(archive))
            except ConfigError as error:
                if archive.name in ours:
                    raise
                faults.append(str(error))
        if loose:
            readers.append(Loose(path, loose))
    return readers, faults


def opened(path: Path) -> Reader:
    """An archive, its contents listed; of a compressed tar that means to read all of it."""
    with console.status(f"reading {path.name}"):
        return open_archive(path)


def plan(
    name: str, known: Sequence[Recipe], readers: Sequence[Reader], faults: Sequence[str]
) -> tuple[Recipe, list[Job]]:
    """The recipe that the archives are for, and what to do with each. Raises `ConfigError` naming what is missing, and
    what else was found."""
    found = [
        [(reader, archive) for archive in recipe.archives for reader in holders(archive, readers)] for recipe in known
    ]
    if not any(found):
        known_names = " or ".join(", ".join(archive.name for archive in recipe.archives) for recipe in known)
        said = "; ".join([*faults, *(said for reader in readers if (said := suspicion(reader, known)))])
        raise ConfigError(f"source: nothing of {name} in it ({known_names}){'; ' if said else ''}{said}")
    recipe, pairs = max(zip(known, found, strict=True), key=lambda pair: len({archive.part for _, archive in pair[1]}))
    used = {id(reader) for reader, _ in pairs}
    notes = [*faults, *(said for reader in readers if id(reader) not in used and (said := suspicion(reader, known)))]
    parts = {archive.part for _, archive in pairs}
    missing: dict[str, list[str]] = {}
    for archive in recipe.archives:
        if archive.part not in parts and not archive.optional:
            missing.setdefault(archive.part, []).append(f"{archive.name} from {archive.origin}")
    if missing:
        told = "; ".join(f"the {part} are missing: {' or '.join(names)}" for part, names in missing.items())
        raise ConfigError("; ".join([f"source: {told}", *notes]))
    for note in notes:
        log.warning("left out: %s", note)
    packed = [archive for reader, archive in pairs if not isinstance(reader, Loose)]
    work: dict[int, tuple[Reader, list[Archive]]] = {}
    for reader, archive in pairs:
        if not (isinstance(reader, Loose) and archive in packed):  # unpacked too: the archive is enough
            check_samples(reader, archive)
            work.setdefault(id(reader), (reader, []))[1].append(archive)
    return recipe, [Job(reader, archives) for reader, archives in work.values()]


def holders(archive: Archive, readers: Sequence[Reader]) -> list[Reader]:
    return [reader for reader in readers if archive.known_by(reader.names)]


def suspicion(reader: Reader, known: Sequence[Recipe]) -> str:
    """What an archive is that gives nothing; "" for a folder of anything."""
    for recipe in known:
        if any(archive.known_by(reader.names) for archive in recipe.archives):
            return f"{reader.path} is for {' '.join(recipe.options)}; prepare that by itself"
    for wrong in (wrong for recipe in known for wrong in recipe.wrong):
        if wrong.known_by(reader.names):
            return f"{reader.path} is {wrong.says}"
    for name in data_sets():
        if any(archive.known_by(reader.names) for recipe in recipes(name) for archive in recipe.archives):
            return f"{reader.path} is of another data set: data={name}"
    return "" if isinstance(reader, Loose) else f"{reader.path} is none of the archives of this data set"


def check_samples(reader: Reader, archive: Archive) -> None:
    """Raises `ConfigError` if members spread over the archive look like those of a wrong one."""
    if archive.suspect:
        names = [name for name in reader.names if archive.known_by([name])]
        chosen = {names[i] for i in np.linspace(0, len(names) - 1, min(SAMPLES, len(names))).astype(int)}
        if said := archive.suspect([data for _, data in reader.stream(chosen)]):
            raise ConfigError(f"{reader.path} is {said}")


def check_space(tree: Tree, jobs: Iterable[Job]) -> None:
    """Raises `ConfigError` if what is to be written, as the archives declare it, does not fit on the disk."""
    there = next(path for path in (tree.root.absolute(), *tree.root.absolute().parents) if path.is_dir())
    need, free = sum(size for job in jobs for _, size in to_write(tree, job)), shutil.disk_usage(there).free
    if need > free:
        raise ConfigError(
            f"root={tree.root}: {need / 2**30:.1f} GiB to write, {free / 2**30:.1f} GiB free; make room, or give a "
            "root= on another disk"
        )


def to_write(tree: Tree, job: Job) -> list[tuple[str, int]]:
    """Members with a target that is not there yet, and their bytes."""
    return [
        (member.name, member.size)
        for member in job.reader.members
        if member.name in job.files and not all(tree.has(target) for target, _ in job.files[member.name])
    ]


# filling the tree


def fill(tree: Tree, job: Job, workers: int) -> None:
    """Write what an archive gives. Files of an archive that was done before are taken to be right, if they exist."""
    record = recorded(tree, job)
    names = {name for name, _ in to_write(tree, job)} if record["done"] and not tree.overwrite else set(job.files)
    if names:
        written = 0
        with progress() as bar:
            task = bar.add_task(job.name, total=sum(len(job.files[name]) for name in names), note="")
            for target, data in converted(job, names, workers):
                written += tree.put(target, data)
                bar.update(task, advance=1, note=f"{written} written")
        log.info("%s: %d files, %d of them written", job.name, len(job.targets), written)
    else:
        log.info("%s: all %d files are there", job.name, len(job.targets))
    record.update(done=True, files=len(job.targets))
    tree.save()


def recorded(tree: Tree, job: Job) -> dict:
    """The record of an archive, with size and SHA-256; a new one, unless it is the same file."""
    archives = tree.record.setdefault("archives", {})
    fresh: dict = {"parts": sorted(archive.part for archive in job.archives)}
    if not isinstance(job.reader, Loose):
        stat = job.reader.path.stat()
        fresh |= {"size": stat.st_size, "modified": stat.st_mtime_ns}
    else:
        fresh |= {"size": sum(member.size for member in job.reader.members if member.name in job.files)}
    old = archives.get(job.name, {})
    if any(old.get(key) != value for key, value in fresh.items()):
        if not isinstance(job.reader, Loose):
            with progress() as bar:
                task = bar.add_task(f"checksum of {job.name}", total=fresh["size"] >> 20, note="MiB")
                fresh["sha256"] = sha256(job.reader.path, lambda size: bar.advance(task, size / 2**20))
        same = "sha256" in fresh and fresh["sha256"] == old.get("sha256") and fresh["parts"] == old["parts"]
        archives[job.name] = {**fresh, "done": same and old["done"]}
        tree.save()
    return archives[job.name]


def converted(job: Job, names: set[str], workers: int) -> Iterator[tuple[str, bytes]]:
    """Target and content of the files of these members, in order; conversions in that many processes."""
    if not workers or sum(bool(convert) for name in names for _, convert in job.files[name]) < FEW:
        for name, data in job.reader.stream(names):
            for target, convert in job.files[name]:
                yield target, _convert(convert, data, job, name) if convert else data
        return
    with ProcessPoolExecutor(workers) as pool:
        waiting = deque()
        for name, data in job.reader.stream(names):
            for target, convert in job.files[name]:
                if not convert:
                    yield target, data
                    continue
                waiting.append((target, name, pool.submit(convert, data)))
                if len(waiting) > 4 * workers:
                    yield _result(waiting.popleft(), job)
        while waiting:
            yield _result(waiting.popleft(), job)


def _result(item: tuple, job: Job) -> tuple[str, bytes]:
    target, name, future = item
    return target, _convert(lambda _: future.result(), b"", job, name)


def _convert(convert: Callable[[bytes], bytes], data: bytes, job: Job, name: str) -> bytes:
    """Raises `ConfigError` that names archive and member, if one cannot be converted."""
    try:
        return convert(data)
    except (ConfigError, ValueError, KeyError) as error:
        raise ConfigError(f"{job.reader.path}, member {name}: {error}") from error


# what came of it


def counted(root: Path, split: Split) -> tuple[int, int]:
    """The images and the masks of a split that are there."""
    if not split.listed:
        images, masks = (sum(1 for _ in root.glob(pattern)) for pattern in (split.images, *(split.masks or [NOTHING])))
        return images, masks
    names = [Path(line).stem for line in read_lines(root / split.listed)]
    there = [[(root / path.replace("*", name)).is_file() for path in (split.images, *split.masks)] for name in names]
    return sum(image for image, *_ in there), sum(any(masks) for _, *masks in there)


def warnings(split: Split, images: int, masks: int) -> Iterator[str]:
    """What is not as published."""
    if not images and split.optional:
        return
    if split.expected and images not in split.expected:
        yield f"{split.name} has {images} images; published: {' or '.join(map(str, split.expected))}"
    if split.masks and masks != images:
        yield f"{split.name} has {images} images but {masks} masks"


def tell(name: str, recipe: Recipe, root: Path, counts: dict[str, tuple[int, int]]) -> None:
    """The table of the splits, what is not as published, and the next commands."""
    table = Table("split", title=f"{name} in {root}", title_justify="left")
    for column in ("images", "masks", "published"):
        table.add_column(column, justify="right")
    table.add_column("where", overflow="fold")
    for split in recipe.splits:
        images, masks = counts[split.name]
        if images or not split.optional:
            expected = " or ".join(map(str, split.expected))
            table.add_row(split.name, str(images), str(masks) if split.masks else "-", expected, split.images)
            for warning in warnings(split, images, masks):
                log.warning("%s", warning)
    console.print(table)
    options = " ".join((f"data={name}", *recipe.options, f"data.root={root}"))
    console.print(f"next: python src/check_data.py {options}", soft_wrap=True, highlight=False)
    console.print(f"then: python src/train.py {options}", soft_wrap=True, highlight=False)


def plan_table(tree: Tree, jobs: Iterable[Job]) -> Table:
    """What a run would do."""
    table = Table("archive", "gives", title=f"would write to {tree.root}", title_justify="left")
    for column in ("files", "to write", "MiB"):
        table.add_column(column, justify="right")
    for job in jobs:
        rest = to_write(tree, job)
        parts = ", ".join(archive.part for archive in job.archives)
        size = sum(size for _, size in rest)
        table.add_row(job.name, parts, str(len(job.targets)), str(len(rest)), f"{size / 2**20:.1f}")
    return table
