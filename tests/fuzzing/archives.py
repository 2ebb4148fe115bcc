"""Archives of data sets, odd or damaged: the same files as from the whole one, or refused; nothing lands elsewhere."""

import io
import random
import tarfile
import zipfile
from pathlib import Path

import fake_archives

from contextseg.commands import archives
from contextseg.commands.compose import options
from contextseg.commands.prepare.command import prepare
from fuzzing.case import Case, Fault, damaged, text
from fuzzing.world import World

SETS = ("camvid_official", "voc2012", "ade20k", "lip")
OPTIONAL = ("Testing_images.zip", "release_test.zip", "VOC2012test.tar", "benchmark.tgz")
NAMES = (
    "a.txt",
    "b/c.txt",
    "b/c.txt",
    "../up.txt",
    "/abs.txt",
    "C:\\x",
    "b/../../up.txt",
    "b\\..\\up",
    "é.txt",
    "./a.txt",
    "b//c",
    ".",
    "n" * 300,
)


def draw(rng: random.Random, world: World) -> Case:
    """Draw an archive with odd members, or damage one of a data set."""
    return draw_members(rng, world) if rng.random() < 0.6 else draw_set(rng, world)


def draw_members(rng: random.Random, world: World) -> Case:
    """Draw a zip or tar of a few members, odd names and kinds among them."""
    kind = rng.choice(("zip", "zip", "tar", "tgz", "tar.xz"))
    path = world.empty() / f"one.{kind}"
    members = [
        (rng.choice(NAMES) if rng.random() < 0.7 else text(rng), rng.randbytes(rng.randint(0, 200)))
        for _ in range(rng.randint(1, 4))
    ]
    odd = rng.choice(("", "", "", "link", "device", "inner", "size"))
    try:
        (write_zip if kind == "zip" else write_tar)(path, members, odd)
    except ValueError:  # no archive can hold that name
        members = [("a.txt", b"a")]
        (write_zip if kind == "zip" else write_tar)(path, members, odd)
    how = ""
    if rng.random() < 0.3:
        how, data = damaged(rng, path.read_bytes())
        path.write_bytes(data)
    names = [name for name, _ in members]
    return Case(f"{kind} {names} {odd} {how}", lambda: ask_members(path, members, odd, how), (str(path),))


def write_zip(path: Path, members: list[tuple[str, bytes]], odd: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members:
            file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        if odd in ("link", "device"):
            info = zipfile.ZipInfo("odd")
            info.external_attr = (0o120777 if odd == "link" else 0o020777) << 16
            file.writestr(info, "../up.txt")
        if odd == "inner":
            file.writestr("inner.zip", fake_archives.zip_bytes({"../up.txt": b"up"}))
        if odd == "size":
            file.infolist()[0].file_size = 2**31


def write_tar(path: Path, members: list[tuple[str, bytes]], odd: str) -> None:
    mode = {"tgz": "w:gz", "xz": "w:xz"}.get(path.name.rpartition(".")[2], "w")
    with tarfile.open(path, mode) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        if odd in ("link", "device"):
            info = tarfile.TarInfo("odd")
            info.type, info.linkname = (tarfile.SYMTYPE if odd == "link" else tarfile.CHRTYPE), "../up.txt"
            file.addfile(info)


def ask_members(path: Path, members: list[tuple[str, bytes]], odd: str, how: str) -> None:
    """Read the archive; a name that leads outside or comes twice is not taken."""
    reader = archives.open_archive(path)
    found = list(reader.stream(set(reader.names)))
    if (odd in ("link", "device") and not how) or (odd == "inner" and path.suffix == ".zip" and not how):
        raise Fault("silent: a link, a device or a way outside was taken")
    for name, data in found:
        if name.startswith("/") or ".." in name.split("/"):
            raise Fault(f"silent: {name} leads outside")
        wanted = [content for other, content in members if str(Path(other.replace("\\", "/"))) == name]
        if len(wanted) > 1 and not how and [one for one, _ in found].count(name) < len(wanted):
            raise Fault(f"silent: one of several members {name} was taken")
        if wanted and data not in wanted and not (how and path.suffix == ".tar"):  # which has no checksum
            raise Fault(f"silent: {name} has other contents ({how})")


def draw_set(rng: random.Random, world: World) -> Case:
    """Draw the archives of a data set and damage one of them."""
    name = rng.choice(SETS)
    whole = world.folder / "archives" / name
    if not whole.is_dir():
        fake_archives.build(name, whole)
        ask_set(name, whole, world.folder / "trees" / name)
    folder = world.empty() / "archives"
    folder.mkdir()
    files = sorted(file for file in whole.rglob("*") if file.is_file())
    broken = rng.choice(files)
    for file in files:
        place = folder / file.relative_to(whole)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    broken = folder / broken.relative_to(whole)
    how, data = damaged(rng, broken.read_bytes())
    broken.write_bytes(data)
    root = world.scratch / "root"

    def ask() -> None:
        ask_set(name, folder, root)
        compare(world.folder / "trees" / name, root, broken, how)

    return Case(f"{name} {broken.name} {how}", ask, (broken.name,))


def ask_set(name: str, folder: Path, root: Path) -> None:
    """Make the ready tree."""
    words = [
        f"data={name.partition('_')[0] if name.startswith('camvid') else name}",
        f"source={folder}",
        f"root={root}",
    ]
    prepare(options([*words, "workers=0"], "prepare"))


def compare(whole: Path, root: Path, broken: Path, how: str) -> None:
    """Raise `Fault` unless two trees hold the same files."""
    trees = [
        {
            str(file.relative_to(top)): file.read_bytes()
            for file in top.rglob("*")
            if file.is_file() and not file.name.startswith(".")
        }
        for top in (whole, root)
    ]
    if trees[0].keys() != trees[1].keys() and broken.name not in OPTIONAL:  # which may be missing, with a warning
        raise Fault(f"silent: {sorted(trees[0].keys() ^ trees[1].keys())} in one tree only")
    unchecked = broken.name.endswith(".tar") and not how.startswith("cut")  # no checksum
    both = trees[0].keys() & trees[1].keys()
    unlike = [name for name in sorted(both) if trees[0][name] != trees[1][name] and not name.endswith(".json")]
    if unlike and not unchecked and broken.name.endswith(archives.SUFFIXES):
        raise Fault(f"silent: {unlike} have other contents ({how})")
