"""The folder of the configuration: `conf/` of a checkout, or in an installed package the copy that setup.py made."""

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_PACKAGED = _PACKAGE / "packaged_conf"
CHECKOUT = None if _PACKAGED.is_dir() else _PACKAGE.parents[1]  # None: an installed package
CONF = CHECKOUT / "conf" if CHECKOUT else _PACKAGED
_INNER_GROUPS = {"loss/term"}  # folders that hold the options of a group of their own; other folders sort options


@cache  # the folders are read once: a command asks for the same group several times
def options_of(group: str) -> tuple[str, ...]:
    """List the options of a config group, those in folders too: "ocr/cityscapes_r101"."""
    folder, inner = CONF / group, {CONF / name for name in _INNER_GROUPS}
    files = folder.rglob("*.yaml")
    kept = (path for path in files if path.parent == folder or path.parent not in inner)
    return tuple(sorted(path.relative_to(folder).with_suffix("").as_posix() for path in kept))


def groups_known() -> set[str]:
    """Return the names of the config groups."""
    return {path.name for path in CONF.iterdir() if path.is_dir()}
