"""Filling the ready tree from archives, with several processes for conversions."""

import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from contextseg.commands.archives import Loose, sha256
from contextseg.commands.prepare.find import Delivery
from contextseg.commands.prepare.tree import Tree
from contextseg.console import progress
from contextseg.errors import ConfigError

MIN_CONVERSIONS = 8  # for which processes are started

log = logging.getLogger(__name__)


def to_write(tree: Tree, delivery: Delivery) -> list[tuple[str, int]]:
    """List the members with a target that does not exist yet, and their bytes."""
    return [
        (member.name, member.size)
        for member in delivery.reader.members
        if member.name in delivery.files and not all(tree.has(target) for target, _ in delivery.files[member.name])
    ]


def check_space(tree: Tree, deliveries: Iterable[Delivery]) -> None:
    """Raise `ConfigError` if the files to write, with the sizes that the archives declare, do not fit on the disk."""
    there = next(path for path in (tree.root.absolute(), *tree.root.absolute().parents) if path.is_dir())
    need = sum(size for delivery in deliveries for _, size in to_write(tree, delivery))
    free = shutil.disk_usage(there).free
    if need > free:
        raise ConfigError(
            f"root={tree.root}: {need / 2**30:.1f} GiB to write, {free / 2**30:.1f} GiB free; make room, or give a "
            "root= on another disk"
        )


def fill(tree: Tree, delivery: Delivery, workers: int) -> None:
    """Write the files of an archive. Those that exist are not checked if the archive was done before."""
    record = recorded(tree, delivery)
    skip_existing = record["done"] and not tree.overwrite
    names = {name for name, _ in to_write(tree, delivery)} if skip_existing else set(delivery.files)
    if names:
        written = 0
        with progress() as bar:
            task = bar.add_task(delivery.name, total=sum(len(delivery.files[name]) for name in names), note="")
            for target, data in converted(delivery, names, workers):
                written += tree.put(target, data)
                bar.update(task, advance=1, note=f"{written} written")
        log.info("%s: %d files, %d of them written", delivery.name, len(delivery.targets), written)
    else:
        log.info("%s: all %d files are there", delivery.name, len(delivery.targets))
    record.update(done=True, files=len(delivery.targets))
    tree.save()


def recorded(tree: Tree, delivery: Delivery) -> dict[str, Any]:
    """Return the record of an archive, with size and SHA-256; a new one if the file changed."""
    archives = tree.record.setdefault("archives", {})
    fresh: dict[str, Any] = {"parts": sorted(archive.part for archive in delivery.archives)}
    loose = isinstance(delivery.reader, Loose)
    if loose:
        fresh |= {"size": sum(member.size for member in delivery.reader.members if member.name in delivery.files)}
    else:
        stat = delivery.reader.path.stat()
        fresh |= {"size": stat.st_size, "modified": stat.st_mtime_ns}
    old = archives.get(delivery.name, {})
    if any(old.get(key) != value for key, value in fresh.items()):
        if not loose:
            with progress() as bar:
                task = bar.add_task(f"checksum of {delivery.name}", total=fresh["size"] >> 20, note="MiB")
                fresh["sha256"] = sha256(delivery.reader.path, lambda size: bar.advance(task, size / 2**20))
        same = "sha256" in fresh and fresh["sha256"] == old.get("sha256") and fresh["parts"] == old["parts"]
        archives[delivery.name] = {**fresh, "done": same and old["done"]}
        tree.save()
    return archives[delivery.name]


def converted(delivery: Delivery, names: set[str], workers: int) -> Iterator[tuple[str, bytes]]:
    """Yield target and content of the files of these members, in order; `workers` processes convert."""
    if not workers or sum(bool(convert) for name in names for _, convert in delivery.files[name]) < MIN_CONVERSIONS:
        for name, data in delivery.reader.stream(names):
            for target, convert in delivery.files[name]:
                yield target, _convert(convert, data, delivery, name) if convert else data
        return
    with ProcessPoolExecutor(workers) as pool:
        waiting: deque[tuple[str, str, Future[bytes]]] = deque()
        for name, data in delivery.reader.stream(names):
            for target, convert in delivery.files[name]:
                if not convert:
                    yield target, data
                    continue
                waiting.append((target, name, pool.submit(convert, data)))
                if len(waiting) > 4 * workers:
                    yield _result(waiting.popleft(), delivery)
        while waiting:
            yield _result(waiting.popleft(), delivery)


def _result(item: tuple[str, str, Future[bytes]], delivery: Delivery) -> tuple[str, bytes]:
    target, name, future = item
    return target, _convert(lambda _: future.result(), b"", delivery, name)


def _convert(convert: Callable[[bytes], bytes], data: bytes, delivery: Delivery, name: str) -> bytes:
    """Convert a member. Raises `ConfigError`, naming archive and member, if that fails."""
    try:
        return convert(data)
    except (ConfigError, ValueError, KeyError) as error:
        raise ConfigError(f"{delivery.reader.path}, member {name}: {error}") from error
