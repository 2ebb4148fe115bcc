"""Finding the archives, the published layout that they are for, and the files that each gives."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from contextseg.commands.archives import Loose, Reader, is_archive, open_archive, walk
from contextseg.commands.prepare.layout import Archive, Layout, data_sets, layouts
from contextseg.console import console
from contextseg.errors import ConfigError

MAX_SAMPLES = 32  # members that are checked before anything is written

log = logging.getLogger(__name__)


@dataclass
class Delivery:
    """An archive that was found. `files`: member -> [(target, conversion or None)]."""

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
        """Return the archive's own name."""
        return self.reader.path.name

    @property
    def targets(self) -> list[str]:
        """Return the files that it gives."""
        return [target for places in self.files.values() for target, _ in places]


def find(paths: Iterable[Path], name: str, root: Path) -> tuple[Layout, list[Delivery]]:
    """Find the archives of the data set `name` in `paths`, but not below `root`: their layout, and what each gives.

    Raises `ConfigError` for an archive that is missing, wrong or cannot be read, naming what else was found.
    """
    known = layouts(name)
    readers, faults = opened(paths, known, root)
    return choose(name, known, readers, faults)


def opened(paths: Iterable[Path], known: Sequence[Layout], root: Path) -> tuple[list[Reader], list[str]]:
    """Open all archives and loose files; return readers, and what is wrong with other archives.

    Raises `ConfigError` if an archive that was named, or has the name of one of the data set, cannot be read.
    """
    ours = {archive.name for layout in known for archive in layout.archives}
    readers, faults = [], []
    for path in paths:
        path = path.resolve()
        if not path.is_dir():
            readers.append(listed(path) if is_archive(path) else Loose(path, [path]))
            continue
        archives, loose = walk(path, root.resolve())
        for archive in archives:
            try:
                readers.append(listed(archive))
            except ConfigError as error:
                if archive.name in ours:
                    raise
                faults.append(str(error))
        if loose:
            readers.append(Loose(path, loose))
    return readers, faults


def listed(path: Path) -> Reader:
    """Open an archive and list its contents; a compressed tar is read as a whole for that."""
    with console.status(f"reading {path.name}"):
        return open_archive(path)


def choose(
    name: str, known: Sequence[Layout], readers: Sequence[Reader], faults: Sequence[str]
) -> tuple[Layout, list[Delivery]]:
    """Choose the layout that the archives are for, and the files to take from each.

    Raises `ConfigError` naming what is missing, and what else was found.
    """
    found = [
        [(reader, archive) for archive in layout.archives for reader in holders(archive, readers)] for layout in known
    ]
    if not any(found):
        known_names = " or ".join(", ".join(archive.name for archive in layout.archives) for layout in known)
        said = "; ".join([*faults, *(said for reader in readers if (said := suspicion(reader, known)))])
        raise ConfigError(f"source: nothing of {name} in it ({known_names}){'; ' if said else ''}{said}")
    layout, pairs = max(zip(known, found, strict=True), key=lambda pair: len({archive.part for _, archive in pair[1]}))
    used = {id(reader) for reader, _ in pairs}
    notes = [*faults, *(said for reader in readers if id(reader) not in used and (said := suspicion(reader, known)))]
    refuse_missing(layout, {archive.part for _, archive in pairs}, notes)
    for note in notes:
        log.warning("omitted: %s", note)
    packed = [archive for reader, archive in pairs if not isinstance(reader, Loose)]
    taken: dict[int, tuple[Reader, list[Archive]]] = {}
    for reader, archive in pairs:
        if not (isinstance(reader, Loose) and archive in packed):  # if it is there unpacked too, the archive is enough
            check_samples(reader, archive)
            taken.setdefault(id(reader), (reader, []))[1].append(archive)
    return layout, [Delivery(reader, archives) for reader, archives in taken.values()]


def refuse_missing(layout: Layout, parts: set[str], notes: Sequence[str]) -> None:
    """Raise `ConfigError` if a needed part of a layout is not among those found."""
    missing: dict[str, list[str]] = {}
    for archive in layout.archives:
        if archive.part not in parts and not archive.optional:
            missing.setdefault(archive.part, []).append(f"{archive.name} from {archive.origin}")
    if missing:
        listed = "; ".join(f"the {part} are missing: {' or '.join(names)}" for part, names in missing.items())
        raise ConfigError("; ".join([f"source: {listed}", *notes]))


def holders(archive: Archive, readers: Sequence[Reader]) -> list[Reader]:
    """Return the readers that are that archive, or a part of it."""
    return [reader for reader in readers if archive.known_by(reader.names)]


def suspicion(reader: Reader, known: Sequence[Layout]) -> str:
    """Describe an archive that gives nothing; "" for a folder."""
    for layout in known:
        if any(archive.known_by(reader.names) for archive in layout.archives):
            return f"{reader.path} is for {' '.join(layout.options)}; prepare that by itself"
    for wrong in (wrong for layout in known for wrong in layout.wrong):
        if wrong.known_by(reader.names):
            return f"{reader.path} is {wrong.says}"
    for name in data_sets():
        if any(archive.known_by(reader.names) for layout in layouts(name) for archive in layout.archives):
            return f"{reader.path} is of another data set: data={name}"
    return "" if isinstance(reader, Loose) else f"{reader.path} is none of the archives of this data set"


def check_samples(reader: Reader, archive: Archive) -> None:
    """Raise `ConfigError` if members spread over the archive look like those of a wrong one."""
    if archive.suspect:
        names = [name for name in reader.names if archive.known_by([name])]
        chosen = {names[i] for i in np.linspace(0, len(names) - 1, min(MAX_SAMPLES, len(names))).astype(int)}
        if said := archive.suspect([data for _, data in reader.stream(chosen)]):
            raise ConfigError(f"{reader.path} is {said}")
