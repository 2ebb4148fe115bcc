"""Reading untrusted archives: zip, tar and folders in one way, a member at a time, in memory.

Nothing is unpacked under a member's own name. Still an archive with a path that leads outside, a link or a device is
refused as a whole, because it is not the published one. (`tarfile`'s data filter would mend some of these.)
"""

import hashlib
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from contextseg import folders
from contextseg.errors import ConfigError
from contextseg.typed import shown

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
MAX_MEMBER = 2**30  # bytes; no picture is that large, PASCAL-Context's json is near it
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, RuntimeError, ValueError, struct.error),
)
CHUNK = 2**22


class Damaged(ConfigError):
    """An archive that is damaged or unsafe."""


@dataclass(frozen=True)
class Member:
    """A file in an archive, and its size in bytes as the archive declares it."""

    name: str
    size: int


class InMemory(BytesIO):
    """Hold the content of a member as a file without a name, which messages call "it"."""

    def __str__(self) -> str:
        return "it"


class Reader:
    """Read an archive, or the loose files of a folder. Raises `Damaged` for one that is damaged or unsafe."""

    path: Path
    members: Sequence[Member]

    def stream(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of the members of these names, in the order of the archive."""
        raise NotImplementedError

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.members]


class Zip(Reader):
    """Read a zip, and the zips in it as if they had been unpacked beside it."""

    def __init__(self, path: Path):
        self.path = path
        with reading(path):
            self.places = list(_zipped(zipfile.ZipFile(path)))  # a name may come twice: both count
        self.members = [Member(name, info.file_size) for name, (_, info) in self.places]

    def stream(self, names):
        for name, (file, info) in self.places:
            if name in names:
                with reading(self.path, name):
                    data = file.read(info)
                yield name, data


class Tar(Reader):
    """Read a tar, compressed or not."""

    def __init__(self, path: Path):
        self.path = path
        self.members = []
        with reading(path), tarfile.open(path) as tar:
            for member in tar:
                _check(path, member.name, member.size, regular=member.isfile() or member.isdir())
                if member.isfile():
                    self.members.append(Member(_plain(member.name), member.size))
            _check_end(tar)

    def stream(self, names):
        with reading(self.path), tarfile.open(self.path) as tar:
            while True:
                with reading(self.path):
                    member = tar.next()
                    if member is None:
                        _check_end(tar)
                        return
                    file = tar.extractfile(member)  # None for a folder
                    if file is None or (name := _plain(member.name)) not in names:
                        continue
                    data = file.read()
                    if len(data) < member.size:
                        raise EOFError("cut off")
                yield name, data


class Loose(Reader):
    """Read files as they lie, named from the folder on; `path` itself may be the one file."""

    def __init__(self, path: Path, files: Sequence[Path]):
        self.path = path
        self.files = {file.relative_to(path.parent).as_posix(): file for file in files}
        self.members = [Member(name, file.stat().st_size) for name, file in self.files.items()]

    def stream(self, names):
        for name, file in self.files.items():
            if name in names:
                with reading(file):
                    data = file.read_bytes()
                yield name, data


@contextmanager
def reading(path: Path, member: str = "") -> Iterator[None]:
    """Turn the errors of a damaged archive into `Damaged`, which names archive and member."""
    try:
        yield
    except ConfigError:
        raise
    except DAMAGE as error:
        where = f", member {shown(member)}" if member else ""
        reason = str(error) or type(error).__name__
        raise Damaged(f"{path}{where}: damaged or incomplete ({reason}); download it again") from error


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive."""
    return path.name.lower().endswith(SUFFIXES)


def open_archive(path: Path) -> Reader:
    """Open a zip or tar and list its contents.

    Raises `Damaged` for a file that is no archive, such as the web page that asks for a password.
    """
    with reading(path):
        if zipfile.is_zipfile(path):
            return Zip(path)
        if tarfile.is_tarfile(path):
            return Tar(path)
        with path.open("rb") as file:
            start = file.read(64).lstrip()
    kind = "a web page, saved in place of the archive" if start.startswith(b"<") else "no zip or tar, or cut off"
    raise Damaged(f"{path}: {kind}; download it again")


def walk(folder: Path, omitted: Path) -> tuple[list[Path], list[Path]]:
    """List the archives and the loose files below a folder, without hidden ones and those below `omitted`."""
    archives: list[Path] = []
    loose: list[Path] = []
    for file in folders.walk(folder, omitted=omitted):
        (archives if is_archive(file) else loose).append(file)
    return archives, loose


def sha256(path: Path, advance: Callable[[int], None] = lambda _: None) -> str:
    """Compute the checksum of a file; `advance` is called with the bytes of every piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
            advance(len(piece))
    return digest.hexdigest()


def _zipped(file: zipfile.ZipFile, depth: int = 3) -> Iterator[tuple[str, tuple[zipfile.ZipFile, zipfile.ZipInfo]]]:
    """Yield name and place of all members, in the order of the archive."""
    for info in sorted(file.infolist(), key=lambda info: info.header_offset):
        kind = info.external_attr >> 28  # of a Unix mode; 0 where the packing system had none
        _check(file.filename, info.orig_filename, info.file_size, regular=kind in (0, 0o04, 0o10))
        if info.is_dir():
            continue
        if info.filename.lower().endswith(".zip") and depth:
            inner = zipfile.ZipFile(file.open(info))
            inner.filename = f"{file.filename}: {info.filename}"
            yield from _zipped(inner, depth - 1)
        else:
            yield _plain(info.filename), (file, info)


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise `DAMAGE` if the members broke off at a damaged header, or if a checksum at the very end is wrong."""
    file = tar.fileobj
    if file is None:
        return
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"a damaged header at byte {tar.offset}")
    while file.read(CHUNK):
        pass


def _plain(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/")))


def _check(path: object, name: str, size: int, regular: bool) -> None:
    """Raise `Damaged` for a member that no published archive has."""
    fault = ""
    if not name:
        fault = "has no name"
    elif not regular:
        fault = "is a link or a device"
    elif name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        fault = "has an absolute path"
    elif ".." in re.split(r"[/\\]", name) or "\0" in name:
        fault = "leads outside"
    elif size > MAX_MEMBER and not name.lower().endswith(".zip"):
        fault = f"claims to unpack to {size / 2**30:.1f} GiB"
    if fault:
        raise Damaged(f"{path}: the member {name!r} {fault}; this is not the published archive, get it from its source")
