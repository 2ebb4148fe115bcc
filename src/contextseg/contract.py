"""The types that pass between the parts: the whole data flow on one screen.

    Batch.image -> Backbone -> (neck) -> Head -> SegOutput -> LossSum, SegMetrics -> loggers

Letters: B images, K classes, C channels, H W image size, h w feature size, T frames of a clip.

A clip is a labelled frame with those around it, of which it is the middle one (T // 2). Backbone and neck take its
frames for images, so that their maps are (B T, C, h, w); the head knows T (`Head.frames`) and returns the logits of the
labelled frame. Where a head of clips is given an image, that stands for all T frames.

Known extras of a `SegOutput` (what a head `emits` and a loss term `reads`):

    aux_logits         (B, K, h, w)   raw scores of an auxiliary or coarse classifier (FCN head, OCR regions)
    class_probability  (B, K)         raw scores, one per class and image (CTNet, EncNet)
    aux_class_probability  (B, K)     the same from an earlier stage (EncNet)
    prior_logits       (B, hw, hw)    raw scores, row = pixel, column = partner (CPNet)
    embedding          (B, 16, h, w)  features of the category-consistent loss (CCNet)
    edge_logits        (B, 2, h, w)   raw scores of no edge and edge (CE2P)
    region_logits      (B, K, h, w)   raw scores of OCR's coarse classifier, where `aux_logits` is another (CE2P)
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from contextseg.errors import ConfigError
from contextseg.layers.attention import Attention
from contextseg.layers.windows import in_windows

IGNORE_INDEX = 255

KNOWN_EXTRAS = frozenset(
    {
        "aux_logits",
        "class_probability",
        "aux_class_probability",
        "prior_logits",
        "embedding",
        "edge_logits",
        "region_logits",
    }
)

Heard = dict[str, list[Any]]  # by tap, an entry for each call: a tensor, or a `QueryKey`


class Maps(list[Tensor]):
    """Hold the maps of a backbone, fine to coarse, where a network may get them for the image.

    [(B, C_i, h_i, w_i)], of clips [(B, T, C_i, h_i, w_i)].
    """


class Batch(NamedTuple):
    """Hold a batch of a loader, uint8 throughout, so that it is small to move."""

    # uint8 (B, 3, H, W), or clips (B, T, 3, H, W), RGB, not normalised; or what a frozen backbone made of it
    image: Tensor | Maps
    mask: Tensor  # uint8 (B, H, W), train ids, of a clip's middle frame; void is always 255
    name: list[str]


class SegOutput(NamedTuple):
    """Hold the output of a head, in training and in evaluation alike."""

    logits: Tensor  # (B, K, h, w), raw scores at the head's own stride
    extras: dict[str, Tensor]  # named tensors that a loss term reads; {} if none


class Shown(NamedTuple):
    """Hold numbers or maps from inside a head for one image, and how they are drawn: as bars, or as maps in grey.

    values    (n,) or (n, h, w), not negative
    by_class  one number or map for each class, drawn with the names of the classes, bars in their colours
    white     the maximum of "all" maps, or of "each", for maps without a common scale; black is 0
    chosen    if there is no room for all maps: those with the "highest" peaks, or an "even" sample
    peaks     (n,), by which the highest are chosen; None: the maximum of each map
    takers    the part whose map k says how much every place takes from k; "": these are no regions. Both parts show the
              same maps if there is no room for all
    """

    values: Tensor
    by_class: bool = False
    white: Literal["all", "each"] = "all"
    chosen: Literal["highest", "even"] = "highest"
    peaks: Tensor | None = None
    takers: str = ""


class Neck(nn.Module):
    """Turn maps into maps, fine to coarse: the base of the necks.

    A subclass takes `(in_channels, strides, *, own settings)`, one entry per map, and sets `channels` and `strides`,
    those of the maps it returns.
    """

    channels: Sequence[int]
    strides: Sequence[int]

    def forward(self, features: Sequence[Tensor]) -> Sequence[Tensor]:
        """Turn maps [(B, C_i, h_i, w_i)] into maps [(B, C_j, h_j, w_j)], both fine to coarse."""
        raise NotImplementedError


class Head(nn.Module):
    """Turn feature maps into a `SegOutput`: the base of the heads.

    A subclass takes `(in_channels, num_classes, *, own settings)`; one that must know the strides of its maps has a
    setting `strides`, which `recipe.network` fills in. The class attributes name its companions, so that `create_model`
    needs no configuration (a test holds them equal to `conf/head/*.yaml`).
    """

    can_emit: ClassVar[frozenset[str]] = frozenset()  # names of the extras that it returns under some settings
    emits: frozenset[str] = frozenset()  # names of the extras that this instance returns; set per instance
    needs_mask: bool = False  # True: forward also takes the ground truth (an oracle); set per instance
    neck: ClassVar[str] = "none"  # the paper's neck
    output_stride: ClassVar[int] = 8  # the paper's: later stages of the backbone are dilated
    window: tuple[int, int] | None = None  # height, width in pixels of the only image size it takes; None: any
    frames: int = 1  # T of the clips that it takes: its maps are then (B T, C_i, h_i, w_i); set per instance
    can_be_local: ClassVar[bool] = False  # for attention=local its context part runs `within` windows
    local_side: int | None = None  # sides of these windows, in places; `attention_control` sets it

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Turn maps [(B, C_i, h_i, w_i)], fine to coarse, into logits (B, K, h, w) and the extras in `emits`."""
        raise NotImplementedError

    def within(self, block: Callable[..., Tensor], *maps: Tensor) -> Tensor:
        """Run the context part, a block of maps (B, C_i, h, w) -> (B, C, h, w); with attention=local in windows."""
        return block(*maps) if self.local_side is None else in_windows(block, *maps, side=self.local_side)

    def labelled(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Select the maps of the labelled frames: [(B T, C_i, h_i, w_i)] -> [(B, C_i, h_i, w_i)]."""
        if self.frames == 1:
            return list(maps)
        return [one.unflatten(0, (-1, self.frames))[:, self.frames // 2] for one in maps]

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return which places give their context to which, of each kind by name, as the taps recorded it on one image.

        `heard`: what each tap recorded (batch 1), by its name within the head. `size`: (h, w) of the head's map. {} if
        the head attends to nothing.
        """
        return {}

    def context(self, heard: Heard, point: tuple[int, int], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return where the context of the point (row, column) of the head's map came from: named maps (h', w').

        They are the rows of `attends`, not negative; `heard` and `size` as there. A head of clips attends through time:
        it writes this instead, and its maps are (T, h', w').
        """
        return {name: one.row(point, size) for name, one in self.attends(heard, size).items()}

    def inside(self, heard: Heard, size: tuple[int, int]) -> dict[str, Shown]:
        """Return what the head computed on one image, beyond pairs of places, and how it is drawn, by name.

        `heard` and `size` as in `attends`; {} if there is nothing else.
        """
        return {}


class LossTerm(nn.Module):
    """Compute one number from a `SegOutput` and a mask: the base of the loss terms.

    `reads` names what the term needs: "logits" or an extra. Terms compute in float32, from logits; a batch with only
    ignored pixels gives a finite loss, and zero gradient unless an option that stands for released code counts them.
    """

    reads: str = "logits"  # set per instance by a term with a choice

    def __init__(self, weight: float = 1.0):
        super().__init__()
        if weight < 0:
            raise ConfigError(f"loss weight {weight} of {type(self).__name__} is negative; give 0 or more")
        self.weight = weight

    def forward(self, output: SegOutput, mask: Tensor) -> Tensor:
        """Compute the term, unweighted: output of a head and mask uint8 (B, H, W) -> scalar."""
        raise NotImplementedError


def read(output: SegOutput, name: str) -> Tensor:
    """Return the tensor called `name` in an output: its logits or one of its extras."""
    return output.logits if name == "logits" else output.extras[name]
