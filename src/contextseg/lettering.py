"""Names in pictures and tables as they are written: no markup, no formulas, and a font that has their letters."""

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

log = logging.getLogger(__name__)
SIZE = 14  # pixels, of captions and legends
PLAIN = 0x24F  # up to here every font has the letters


@cache
def font_file(text: str) -> Path | None:
    """Return an installed font that has all letters of a text, matplotlib's own first; None if none has."""
    own = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
    # the last resort has a box for every letter
    others = (font for font in font_manager.fontManager.ttflist if not font.name.startswith("Last Resort"))
    installed = sorted({Path(font.fname) for font in others} - {own})
    wanted = {ord(letter) for letter in text if not letter.isspace()}
    return next((file for file in (own, *installed) if wanted <= letters_of(file)), None)


@cache
def letters_of(file: Path) -> frozenset[int]:
    """Return the code points that a font file has; none if it cannot be read."""
    try:
        return frozenset(FT2Font(str(file)).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def plain(text: str) -> bool:
    """Tell whether every font has the letters of a text."""
    return all(ord(letter) <= PLAIN for letter in text)


@cache
def font(text: str) -> Any:
    """Return PIL's font for a text: its own, or for other letters one that has them."""
    file = None if plain(text) else font_file(text)
    return ImageFont.load_default(SIZE) if file is None else ImageFont.truetype(str(file), SIZE)


@cache
def drawable(text: str, instead: str) -> str:
    """Return a text that can be drawn; `instead` if no installed font has its letters, with a warning."""
    if plain(text) or font_file(text):
        return text
    log.warning(
        "pictures say %r for %r: no installed font has its letters; install one, such as Noto Sans", instead, text
    )
    return instead


def names_of_classes(names: Sequence[str]) -> list[str]:
    """Return the names of classes as pictures show them; one that cannot be drawn is "class 3", by its label."""
    return [drawable(name, f"class {label}") for label, name in enumerate(names)]


def axis_labels(names: Sequence[str]) -> dict[str, Any]:
    """Return names of classes as arguments of matplotlib's `set_xticks` and `set_yticks`."""
    shown = names_of_classes(names)
    others = [
        font_manager.FontProperties(fname=file).get_name()
        for text in shown
        if not plain(text)
        for file in [font_file(text)]
    ]
    return {
        "labels": [name.replace("$", r"\$") for name in shown],
        "fontfamily": ["DejaVu Sans", *dict.fromkeys(others)],
    }
