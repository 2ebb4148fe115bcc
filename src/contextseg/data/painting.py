"""Parts of generated scenes: textures, coordinates, cues, and the light on the finished image."""

from functools import cache

import numpy as np
from PIL import Image

FOLIAGE, GRAIN, RIPPLE, WOOD = range(4)  # textures of the bank; its last one is white noise
BASE = np.array([(60, 110, 50), (165, 150, 125), (95, 130, 165), (140, 105, 85)], np.float32)  # RGB
AMPLITUDE = np.array([28, 20, 20, 22], np.float32)
BANK = 512  # side of the texture bank in pixels


@cache
def bank() -> np.ndarray:
    """Return the textures, float32 (5, BANK, BANK) of mean zero: foliage, grain, ripple, wood, white noise."""
    rng = np.random.default_rng(0)

    def noise(coarseness: int) -> np.ndarray:
        coarse = rng.standard_normal((-(-BANK // coarseness),) * 2, dtype=np.float32)
        return np.asarray(Image.fromarray(coarse).resize((BANK, BANK), Image.Resampling.BICUBIC))

    y, x = np.mgrid[:BANK, :BANK].astype(np.float32)
    foliage = 0.7 * noise(5) + 0.6 * noise(2)
    grain = 0.7 * noise(1) + 0.5 * noise(3)
    ripple = np.sin(2 * np.pi * (y + 6 * noise(16)) / 7) + 0.4 * noise(4)
    wood = 0.6 * np.sin(2 * np.pi * (x + 8 * noise(24)) / 11) + 0.5 * noise(3)
    return np.stack([foliage, grain, ripple, wood, noise(1)])


def crop(rng: np.random.Generator, texture: np.ndarray, size: int) -> np.ndarray:
    """Cut a square (size, size) out of a texture (BANK, BANK) at a random place."""
    top, left = rng.integers(0, BANK - size + 1, 2)
    return texture[top : top + size, left : left + size]


# Coordinates


@cache
def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates y (H, 1) and x (1, W)."""
    return np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]


def turned(rng: np.random.Generator, shape: tuple[int, int], y0: float, x0: float) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates (along, across) an axis of random angle through (y0, x0), each (H, W)."""
    y, x = grid(*shape)
    angle = rng.uniform(0, 2 * np.pi)
    sin, cos = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    y, x = y - np.float32(y0), x - np.float32(x0)
    return cos * x + sin * y, cos * y - sin * x


def gains(rng: np.random.Generator, *shape: int, spread: float = 0.12) -> np.ndarray:
    """Draw factors from [1 - spread, 1 + spread], float32 of the given shape: one for each channel, say."""
    return 1 + rng.uniform(-spread, spread, shape).astype(np.float32)


def wavy_line(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return the signed distance (H, W), about in pixels, from a wavy line of random angle near the middle."""
    along, across = turned(rng, shape, *(rng.uniform(0.35, 0.65, 2) * shape))
    frequency, phase = np.float32(rng.uniform(0.08, 0.14)), np.float32(rng.uniform(0, 2 * np.pi))
    return across + 4 * np.sin(frequency * along + phase)


def patch(rng: np.random.Generator, texture: int, shape: tuple[int, int]) -> np.ndarray:
    """Paint a texture of the bank in its own colours (H, W, 3), each channel with its own gain."""
    height, width = shape
    pattern = crop(rng, bank()[texture], max(shape))[:height, :width, None]
    return (BASE[texture] + AMPLITUDE[texture] * pattern) * gains(rng, 3)


def mosaic(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Number the pixels (H, W) by the cell in which they lie, of `cells` at random places."""
    return nearest(rng.uniform(0, 1, (cells, 2)) * shape, shape)


def nearest(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Number the pixels (H, W) by their nearest point; points (N, 2) are (row, column)."""
    y, x = grid(*shape)
    return np.stack([(y - y0) ** 2 + (x - x0) ** 2 for y0, x0 in points]).argmin(0)


def dealt(rng: np.random.Generator, kinds: int, cells: int) -> np.ndarray:
    """Draw a kind for each cell (cells,) at random; each kind occurs if there are enough cells."""
    return np.concatenate([rng.permutation(kinds), rng.integers(kinds, size=cells)])[:cells]


def circle(rng: np.random.Generator, count: int, distance: float) -> np.ndarray:
    """Draw colours (count, 3) on a circle of random plane and centre, `distance` from one to the next."""
    plane = np.linalg.qr(rng.standard_normal((3, 2)))[0]  # (3, 2), orthonormal columns
    angles = 2 * np.pi * (np.arange(count) / count + rng.uniform())
    radius = distance / (2 * np.sin(np.pi / count))
    points = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1) @ plane.T
    return (rng.uniform(100, 160, 3) + points).astype(np.float32)


def apart(candidates: np.ndarray, count: int, distance: float) -> np.ndarray:
    """Select the first `count` candidates (N, 3) that are `distance` apart, or less if there are too few."""
    chosen: list[np.ndarray] = []
    while len(chosen) < count:
        chosen = []
        for colour in candidates:
            if len(chosen) < count and all(np.linalg.norm(colour - other) >= distance for other in chosen):
                chosen.append(colour)
        distance *= 0.9
    return np.stack(chosen)


def grained(rng: np.random.Generator, colours: np.ndarray, parts: np.ndarray, amplitude: float = 12) -> np.ndarray:
    """Paint parts (H, W) in their colours (parts, 3), all in one texture: float32 (H, W, 3)."""
    height, width = parts.shape
    return colours[parts] + amplitude * crop(rng, bank()[GRAIN], max(parts.shape))[:height, :width, None]


def square(rng: np.random.Generator, slot: int, slots: int, strip: int, width: int, radius: int) -> tuple[slice, slice]:
    """Place a window of side 2 `radius` mid-height in a strip (strip, width), at random in slot `slot`."""
    each = width // slots
    x = slot * each + int(rng.integers(radius, each - radius + 1))
    return slice(strip // 2 - radius, strip // 2 + radius), slice(x - radius, x + radius)


def inner(window: tuple[slice, slice], frame: int) -> tuple[slice, slice]:
    """Return a window without its frame."""
    rows, columns = window
    return slice(rows.start + frame, rows.stop - frame), slice(columns.start + frame, columns.stop - frame)


def borders(parts: np.ndarray) -> np.ndarray:
    """Mark the pixels at which the part changes: parts (H, W) -> bool (H, W)."""
    border = np.zeros(parts.shape, bool)
    border[1:] = parts[1:] != parts[:-1]
    border[:, 1:] |= parts[:, 1:] != parts[:, :-1]
    return border


def lit(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Light an image float32 (H, H, 3) in a random colour, add noise, rotate it and its mask (H, H); both uint8."""
    image = image * gains(rng, 3, spread=0.08) + noise * crop(rng, bank()[-1], len(image))[..., None]
    turns = int(rng.integers(4))
    image = image.clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(image, turns)), np.ascontiguousarray(np.rot90(mask, turns))


# Cues: coordinates in units of the radius -> area and dark pixels. Only the parasol uses the angle.


def paint_cue(
    rng: np.random.Generator, shape, part: int, radius: int, centre: tuple[int, int], parts, image, colour=None
) -> None:
    """Paint a cue, centred at (row, column), into `parts` (H, W) and `image` (H, W, 3), in a random or given colour."""
    drawn = rng.integers(130, 250, 3).astype(np.float32)
    colour = drawn if colour is None else np.array(colour, np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    window = tuple(slice(middle - radius, middle + radius + 1) for middle in centre)
    y, x = grid(2 * radius + 1, 2 * radius + 1)
    inside, dark = shape(y / radius - 1, x / radius - 1, angle)
    parts[window][inside] = part
    image[window][inside] = colour
    image[window][inside & dark] = 0.35 * colour


def parasol(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return area and dark pixels, bool (H, W), of a parasol."""
    return np.hypot(y, x) <= 1, np.sin(3 * np.arctan2(y, x) + angle) > 0


def car(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return area and dark pixels, bool (H, W), of a car."""
    wheels = np.hypot(y - 0.6, abs(x) - 0.5) <= 0.25
    window = (abs(x) <= 0.55) & (abs(y + 0.3) <= 0.2)
    return (abs(y) <= 0.65) & (abs(x) <= 1) | wheels, wheels | window


def mug(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return area and dark pixels, bool (H, W), of a mug."""
    distance = np.hypot(y, x)
    return distance <= 1, abs(distance - 0.55) <= 0.15


def pillow(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return area and dark pixels, bool (H, W), of a pillow."""
    return (abs(y) <= 0.8) & (abs(x) <= 1), np.sin(5 * np.pi * x) > 0
