"""Image and mask files, whole or damaged: read as what they were made from, or refused."""

import random
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from contextseg.data import pixels
from contextseg.data.labels import Colours, Indices
from contextseg.data.pixels import Reading
from fuzzing.case import Case, Fault, damaged
from fuzzing.world import World

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type of PNG
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
TIFF = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")
UNSEEN = ("flip", "zero", "insert", "remove")  # damage that only a checksum shows, which PNG alone has
UNTURNED = {  # EXIF orientation -> the stored pixels as viewers show them
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


class Made(NamedTuple):
    """A picture file: its bytes, its ending, and the RGB (H, W, 3) that it shows; None if compression changes it.

    index  the numbers (H, W) stored in a file of one channel
    """

    said: str
    data: bytes
    ending: str
    rgb: np.ndarray | None
    index: np.ndarray | None = None
    turn: int = 1
    pages: int = 1
    deep: bool = False
    clear: bool = False  # has transparency


def png(values: np.ndarray, depth: int, kind: int, extra: bytes = b"") -> bytes:
    """Write a PNG, without PIL: values (H, W, channels) of `depth` bits; `kind`: its colour type."""
    height, width = values.shape[:2]
    flat = values.reshape(height, -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    elif depth == 8:
        rows = [row.astype(np.uint8).tobytes() for row in flat]
    else:
        bits = (flat[..., None] >> np.arange(depth)[::-1] & 1).reshape(height, -1).astype(np.uint8)
        rows = [np.packbits(row).tobytes() for row in bits]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    """Write a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def size(rng: random.Random) -> tuple[int, int]:
    """Draw height and width."""
    return tuple(rng.choice((1, 2, 3, 7, 8, 9, 16, 31, 33, 40)) for _ in range(2))


def noise(rng: random.Random, *shape: int, top: int = 256) -> np.ndarray:
    return np.random.default_rng(rng.getrandbits(32)).integers(0, top, shape)


def make_png(rng: random.Random, top: int | None = None) -> Made:
    """Draw a PNG of any colour type and depth, its numbers below `top`."""
    kind = rng.choice((0, 0, 2, 3, 3, 4, 6) if top is None else (0, 3))
    depth = rng.choice(DEPTHS[kind] if top is None else (1, 2, 4, 8))
    values = noise(rng, *size(rng), CHANNELS[kind], top=min(2**depth, top or 2**depth))
    extra, clear, white = b"", kind in (4, 6), 2**depth - 1
    if kind == 3:
        palette = noise(rng, 2**depth, 3)
        extra += chunk(b"PLTE", palette.astype(np.uint8).tobytes())
        rgb = palette[values[..., 0]]
    else:
        rgb = values[..., : 3 if kind in (2, 6) else 1] / white * 255
    if rng.random() < 0.15 and kind in (0, 2, 3):
        clear = True
        extra += chunk(b"tRNS", {0: bytes(2), 2: bytes(6), 3: bytes([0, 128])}[kind])
    rgb = np.broadcast_to(rgb, (*values.shape[:2], 3))
    index = values[..., 0] if kind in (0, 3) and depth <= 8 else None
    said = f"PNG of type {kind}, {depth} bits"
    return Made(said, png(values, depth, kind, extra), ".png", rgb, index, deep=depth == 16, clear=clear)


def make_by_pil(rng: random.Random, folder: Path, top: int | None = None) -> Made:
    """Draw a file of another format, or with an orientation or pages."""
    mode = rng.choice(("RGB", "RGB", "L", "P", "1", "RGBA", "LA", "CMYK", "I;16", "I", "F") if top is None else "LLP1")
    values = {"RGB": 3, "RGBA": 4, "LA": 2, "CMYK": 4}.get(mode)
    high = {"1": 2, "I;16": 2**16, "I": 2**16, "F": 256}.get(mode, 256)
    array = noise(rng, *size(rng), *([values] if values else []), top=min(high, top or high))
    if mode == "1":
        picture = Image.fromarray(array.astype(bool))
    elif mode == "CMYK":
        picture = Image.merge("CMYK", [Image.fromarray(array[..., i].astype(np.uint8)) for i in range(4)])
    else:
        kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
        picture = Image.fromarray(array.astype(kinds.get(mode, np.uint8)))
    rgb = shown(array, mode)
    if mode == "P":
        palette = noise(rng, 256, 3)
        picture.putpalette(palette.astype(np.uint8).tobytes())
        rgb = palette[array]
    written = {
        "PNG": ("RGB", "L", "P", "1", "RGBA", "LA", "I;16", "I"),
        "TIFF": ("RGB", "L", "P", "1", "RGBA", "LA", "CMYK", "I;16", "I", "F"),
        "BMP": ("RGB", "L", "P", "1"),
        "WEBP": ("RGB", "RGBA"),
        "PPM": ("RGB", "L", "1"),
        "GIF": ("P", "L"),
        "JPEG": ("RGB", "L", "CMYK"),
        "JPEG2000": ("RGB", "L"),
        "AVIF": ("RGB",),
    }
    form = rng.choice([name for name, modes in written.items() if mode in modes])
    options: dict = {
        "WEBP": {"lossless": True, "exact": True, "quality": 0},
        "JPEG": {"quality": rng.randint(5, 100)},
    }.get(form, {})
    exact = form not in ("JPEG", "AVIF", "JPEG2000")
    if form == "TIFF":
        options["compression"] = rng.choice(TIFF if mode != "1" else ("raw", "group4"))
    if form == "WEBP" and rng.random() < 0.3:
        options, exact = {"quality": 50}, False
    turn = rng.choice((1, 1, *range(1, 9))) if form in ("JPEG", "PNG", "TIFF", "WEBP") else 1
    if turn != 1 or rng.random() < 0.1:
        exif = Image.Exif()
        exif[0x0112] = turn
        options["exif"] = exif
    pages = (
        rng.choice((1,) * 12 + (2, 3)) if form in ("TIFF", "GIF", "WEBP", "PNG") and mode in ("RGB", "L", "P") else 1
    )
    if pages > 1:
        others = [Image.fromarray(255 - np.asarray(picture)) for _ in range(pages - 1)]
        if mode == "P":
            for other in others:
                other.putpalette(picture.getpalette())
        options |= {"save_all": True, "append_images": others}
    path = folder / "made"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture.save(path, form, **options)
    index = array if mode in ("L", "P", "1") and exact else None
    if form == "GIF":
        index = None  # writers number the colours anew
    said = f"{form} {mode} {array.shape} {options}"
    ending = {"JPEG": ".jpg", "TIFF": ".tif"}.get(form, f".{form.lower()}")
    deep = mode in ("I;16", "I", "F")
    return Made(
        said, path.read_bytes(), ending, rgb if exact else None, index, turn, pages, deep, mode in ("RGBA", "LA")
    )


def shown(array: np.ndarray, mode: str) -> np.ndarray:
    """Return the RGB of pixels of a mode, as numbers with fractions."""
    if mode == "CMYK":
        return (255 - array[..., :3]) * (255 - array[..., 3:]) / 255
    if mode in ("RGB", "RGBA"):
        return array[..., :3]
    grey = array[..., 0] if mode == "LA" else array
    grey = grey * {"1": 255, "I;16": 1 / 257, "I": 1 / 257}.get(mode, 1)
    return np.broadcast_to(grey[..., None], (*grey.shape, 3))


def check(found: np.ndarray, wanted: np.ndarray, within: float, what: str) -> None:
    """Raise `Fault` unless pixels are as wanted."""
    if found.dtype != np.uint8 or found.shape != wanted.shape:
        raise Fault(f"silent: {what} {found.dtype} {found.shape}, not {wanted.shape}")
    if (off := np.abs(found - wanted.astype(float)).max(initial=0)) > within:
        raise Fault(f"silent: {what} differ by up to {off:g}")


def made(rng: random.Random, folder: Path, top: int | None = None) -> Made:
    return make_png(rng, top) if rng.random() < 0.5 else make_by_pil(rng, folder, top)


def draw_image(rng: random.Random, world: World) -> Case:
    """Draw an image file, half of them damaged."""
    folder = world.empty()
    one = made(rng, folder)
    upright = rng.random() < 0.5
    reading = Reading(upright=upright, value_range=(0, 65535) if one.deep and rng.random() < 0.7 else None)
    whole = rng.random() < 0.5
    how, data = ("", one.data) if whole else damaged(rng, one.data)
    path = folder / f"image{one.ending if rng.random() < 0.9 else rng.choice(('.png', '.jpg', '.xyz', ''))}"
    path.write_bytes(data)
    plain = whole and one.pages == 1 and not one.deep
    return Case(f"{one.said} upright={upright} {how}", lambda: ask_image(path, one, reading, how), (str(path),), plain)


def ask_image(path: Path, one: Made, reading: Reading, how: str) -> None:
    """Read an image; compare it with what it was made from, where damage leaves that visible."""
    found = pixels.read_image(path, reading)
    torch.from_numpy(found)
    if one.pages > 1 and not how:
        raise Fault(f"silent: one of {one.pages} pages was taken")
    if how.startswith(UNSEEN) and not one.said.startswith("PNG"):
        turned = pixels.header(path).turn >= 5 and reading.upright
        check(found, found, 0, "pixels")
        if found.shape[:2] != pixels.size(path)[:: -1 if turned else 1]:
            raise Fault(f"silent: shape {found.shape}, but the file says {pixels.size(path)}")
        return
    if one.rgb is not None:
        wanted = UNTURNED[one.turn](one.rgb) if reading.upright else one.rgb
        if "F" in one.said and one.deep and reading.value_range:
            return
        check(
            found,
            wanted,
            1.0 if one.deep or "CMYK" in one.said or "4 bits" in one.said or "2 bits" in one.said else 0.5,
            f"pixels ({how})",
        )
    elif how:
        whole = path.with_name(f"whole{one.ending}")
        whole.write_bytes(one.data)
        check(found, pixels.read_image(whole, reading), 0, f"pixels ({how})")


def draw_mask(rng: random.Random, world: World) -> Case:
    """Draw a mask file of indices or colours, a third of them damaged, alone or as the mask of an image."""
    folder = world.empty()
    top = rng.choice((2, 3, 19, 255))
    any_kind = rng.random() < 0.3
    one = made(rng, folder, None if any_kind else top)
    colours = rng.random() < 0.3
    whole = rng.random() < 0.65
    how, data = ("", one.data) if whole else damaged(rng, one.data)
    path = folder / f"mask{one.ending}"
    path.write_bytes(data)
    if colours:
        seen = np.unique(
            (one.rgb if one.rgb is not None else np.zeros((1, 1, 3))).round().astype(int).reshape(-1, 3), axis=0
        )
        table = {tuple(map(int, colour)): place % 255 for place, colour in enumerate(seen)}
        reader, wanted = Colours(table), None
        if one.rgb is not None:
            wanted = np.array([[table[tuple(map(int, pixel))] for pixel in row] for row in one.rgb.round()])
    else:
        reader, wanted = Indices(), one.index
    must = whole and wanted is not None and one.turn == 1 and one.pages == 1 and not one.deep
    must = must and not (colours and "CMYK" in one.said) and not one.clear
    shown = f"{one.said} {'colours' if colours else 'ids'} {how}"
    return Case(shown, lambda: ask_mask(path, one, reader, wanted, how), (str(path),), must)


def ask_mask(path: Path, one: Made, reader: Indices | Colours, wanted: np.ndarray | None, how: str) -> None:
    """Read a mask; compare its labels with those written."""
    found = reader(path)
    if found.dtype != np.uint8 or found.ndim != 2:
        raise Fault(f"silent: labels {found.dtype} {found.shape}")
    if one.turn != 1 and not how:
        raise Fault("silent: a mask with an orientation was taken")
    if one.pages > 1 and not how:
        raise Fault(f"silent: one of {one.pages} pages was taken")
    if how.startswith(UNSEEN) and not one.said.startswith("PNG"):
        return
    if wanted is None:
        raise Fault("silent: labels from a file that keeps none")
    check(found, wanted, 0, f"labels ({how})")
