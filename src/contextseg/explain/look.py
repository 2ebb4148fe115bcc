"""One look of a network at an image: it runs once, and any pixel is answered from what its taps recorded."""

from contextlib import AbstractContextManager, nullcontext
from threading import RLock
from typing import NamedTuple

import torch
from torch import Tensor

from contextseg.contract import Heard, Shown
from contextseg.errors import ConfigError
from contextseg.explain.reach import Reach, reach
from contextseg.explain.record import record_attention, taps
from contextseg.inference import WholeImage, padded
from contextseg.layers.attention import Attention
from contextseg.segmenter import Segmenter

WINDOWS_KEPT = 4  # of a head that takes one size only: its recorded maps are large
Area = tuple[slice, slice]  # rows and columns


class Pass(NamedTuple):
    """Hold what one pass over an image, or over a window of it, left: enough to answer for every pixel."""

    features: list[Tensor]  # of the backbone [(1, C_i, h_i, w_i)], of clips [(T, C_i, h_i, w_i)]
    recorded: Heard  # by tap; {} for a head that shows nothing
    logits: Tensor  # (1, K, h, w)
    attention: dict[str, Attention]  # of each kind (`Head.attends`); {} for a head that attends to nothing

    def place(self, pixel: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
        """Return the place (row, column) in the logits of a pixel (row, column) of an image of `size`."""
        height, width = self.logits.shape[-2:]
        return pixel[0] * height // size[0], pixel[1] * width // size[1]


class Answer(NamedTuple):
    """Hold maps (h, w), of clips (T, h, w), on the CPU by name, and the area in pixels that they cover.

    The area may reach beyond the image.
    """

    maps: dict[str, Tensor]
    area: Area


class Look:
    """Ask a network about one image uint8 (3, H, W), or one clip (T, 3, H, W), whose pixels are those of its middle.

    Nothing is computed before it is asked for, nor twice.

    A network that takes one image size only (`Segmenter.window`) gets the window around the pixel, moved in steps of a
    quarter of its side, so that few windows answer for all pixels. The network must stay as it is. Threads may ask at
    once: whoever runs the network holds `lock`, which all looks of that network share; what is kept needs no lock.
    Raises `ConfigError` if the head needs the ground truth.
    """

    def __init__(self, network: Segmenter, image: Tensor, lock: AbstractContextManager | None = None):
        if network.head.needs_mask:
            raise ConfigError(f"{type(network.head).__name__} is an oracle: it needs the ground truth to predict")
        self.network, self.size = network, (image.shape[-2], image.shape[-1])
        self.batch = image[None].to(network.backbone.mean.device)
        window = network.window
        self.canvas = self.batch if window is None else padded(self.batch, window, network.fill)
        self.lock = RLock() if lock is None else lock
        self.passes: dict[tuple[int, int], Pass] = {}  # by their first row and column, the oldest first
        self.best: tuple[Tensor, Tensor] | None = None
        self.reached: dict[str, Reach] | None = None

    def context(self, point: tuple[int, int]) -> Answer:
        """Return the head's own maps of the pixel (x, y), not negative (`Head.attends`); {} if it shows none.

        Raises `ConfigError` if the pixel lies outside the image.
        """
        seen, place, area = self.find(point)
        size = (seen.logits.shape[-2], seen.logits.shape[-1])
        if seen.recorded and not seen.attention:  # a head of clips
            return Answer(self.network.head.context(seen.recorded, place, size), area)
        return Answer({name: one.row(place, size).float() for name, one in seen.attention.items()}, area)

    def takers(self, point: tuple[int, int]) -> Answer:
        """Return the maps read the other way round: how much every place takes from that of the pixel (x, y).

        Raises `ConfigError` if the pixel lies outside the image.
        """
        seen, place, area = self.find(point)
        size = (seen.logits.shape[-2], seen.logits.shape[-1])
        return Answer({name: one.column(place, size).float() for name, one in seen.attention.items()}, area)

    def gradient(self, point: tuple[int, int]) -> Answer:
        """Compute how much the score of the best class at the pixel (x, y) depends on the backbone's last map.

        It is (h, w), of clips (T, h, w): the square root of the norm over the channels; without the root, the pixel
        itself would hide all others. Raises `ConfigError` if the pixel lies outside the image.
        """
        seen, (row, column), area = self.find(point)
        *finer, last = seen.features
        last = last.detach().clone().requires_grad_()
        with self.lock, torch.enable_grad():
            head = self.network.head(self.network.neck([*finer, last]))
            (gradient,) = torch.autograd.grad(head.logits[0, :, row, column].max(), last)
        found = gradient.norm(dim=1).sqrt().cpu()  # (T, h, w)
        return Answer({"gradient": found[0] if len(found) == 1 else found}, area)

    def attention(self) -> dict[str, Attention]:
        """Return which places of the whole image take from which (`Head.attends`).

        {} for a head that attends to nothing, and for one that takes one size only, unless the image has it.
        """
        if self.network.window not in (None, self.size):
            return {}
        return self.run((0, 0), self.canvas).attention

    def reach(self) -> dict[str, Reach]:
        """Measure how far each kind of `attention` looks, and which predicted class takes from which."""
        if self.reached is None:
            labels, count = self.probabilities()[1][0].numpy(), len(self.network.named_classes)
            self.reached = {name: reach(one, labels, count) for name, one in self.attention().items()}
        return self.reached

    def inside(self) -> dict[str, Shown]:
        """Return what else the head computed on the image (`Head.inside`), float32 on the CPU.

        {} for a head without taps, one that takes one size only, and one whose attention is local, so that each window
        has maps of its own.
        """
        if self.network.window or not (seen := self.run((0, 0), self.canvas)).recorded:
            return {}
        size = (seen.logits.shape[-2], seen.logits.shape[-1])
        shown = self.network.head.inside(seen.recorded, size)
        return {name: one._replace(values=one.values.float()) for name, one in shown.items()}

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Return the five most probable classes of each pixel, the best first: probabilities float32, train ids uint8.

        Both (n, H, W) on the CPU, n is 5 or the number of classes; as `Segmenter.predict` finds them.
        """
        if self.best is None:
            with self.lock:
                predictor = self.network.adapted(WholeImage())
                every = predictor.probabilities(self.logits, self.batch)[0]  # (K, H, W)
                values, labels = every.topk(min(5, len(every)), dim=0)
                self.best = values.cpu(), labels.to(torch.uint8).cpu()
        return self.best

    def logits(self, batch: Tensor) -> Tensor:
        """Return logits of the whole canvas from the one pass over it, and others from a pass of their own."""
        if batch.shape == self.canvas.shape:
            return self.run((0, 0), self.canvas).logits
        with torch.no_grad():
            return self.network.logits(batch)

    def find(self, point: tuple[int, int]) -> tuple[Pass, tuple[int, int], Area]:
        """Return the pass that saw the pixel (x, y), the pixel's place in its logits, and the area that it saw."""
        x, y = point
        rows, columns = self.area(point)
        first, sides = (rows.start, columns.start), (rows.stop - rows.start, columns.stop - columns.start)
        seen = self.run(first, self.canvas[..., rows, columns])
        return seen, seen.place((y - first[0], x - first[1]), sides), (rows, columns)

    def area(self, point: tuple[int, int]) -> Area:
        """Return the rows and columns that the network sees for the pixel (x, y): all, or a window around it.

        Raises `ConfigError` if the pixel lies outside the image.
        """
        x, y = point
        height, width = self.size
        if not (0 <= x < width and 0 <= y < height):
            raise ConfigError(f"point={[x, y]} lies outside the image, which is {width} x {height} (width x height)")
        full = (self.canvas.shape[-2], self.canvas.shape[-1])
        sides = self.network.window or full
        begins = start(y, sides[0], full[0]), start(x, sides[1], full[1])
        rows, columns = (slice(begin, begin + side) for begin, side in zip(begins, sides, strict=True))
        return rows, columns

    def run(self, first: tuple[int, int], batch: Tensor) -> Pass:
        """Run the network on a batch uint8 (1, [T,] 3, H', W') that begins at `first`, unless its pass is kept."""
        if (kept := self.passes.get(first)) is not None:
            return kept
        with self.lock:
            seen = self.passes.get(first) or passed(self.network, batch)  # somebody may have been quicker
            self.passes[first] = seen
            if len(self.passes) > WINDOWS_KEPT:
                del self.passes[next(iter(self.passes))]
        return seen


def passed(network: Segmenter, batch: Tensor) -> Pass:
    """Run a network once on a batch uint8 (1, 3, H', W') or (1, T, 3, H', W')."""
    nothing: AbstractContextManager[Heard] = nullcontext({})
    shows = taps(network.head) and network.head.local_side is None  # windows of local attention have maps of their own
    with torch.no_grad():
        features = network.maps(batch)
        with record_attention(network.head) if shows else nothing as recorded:
            logits = network.logits_of(features)
    size = (logits.shape[-2], logits.shape[-1])
    return Pass(features, recorded, logits, network.head.attends(recorded, size) if recorded else {})


def start(place: int, side: int, full: int) -> int:
    """Return where a window of `side` around a place begins, within `full`: in steps of a quarter of the side."""
    step = max(1, side // 4)
    return min(max(round((place - side / 2) / step) * step, 0), full - side)
