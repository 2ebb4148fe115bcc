"""Where the configuration lies: `conf/` of a checkout, or its copy in an installed package."""

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2] / "conf"
CONF = _CHECKOUT if _CHECKOUT.is_dir() else Path(__file__).resolve().parent / "conf"


def options_of(group: str) -> list[str]:
    """List the options of a config group, those in folders too: "ocr/cityscapes_r101"."""
    folder = CONF / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
