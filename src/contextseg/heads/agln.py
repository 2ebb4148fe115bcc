"""AGLN head: an FPN whose decoder gets global context at every step, and refines the encoder's maps before adding them.

Source: Li, Zha, Chen, Ding, Zhang, Yu: Attention Guided Global Enhancement and Local Refinement Network for Semantic
Segmentation, Sections III and IV-C, IV-D; Figures 2 and 4. Semantic aggregation blocks (SAB) gather a decoder map into
descriptors, context fusion blocks (CFB) distribute them to the next finer one.

Where the text is silent, the parameters of Table VIII decide: laterals and outputs are those of the baseline (`fpn`);
a CFB has two 3x3 convs with bias and one 1x1, a SAB one 1x1; Lite has N = 256.

The dense decoder (Figure 4b): SAB_i gathers the input of stage i, for stage 1 the coarsest decoder map. Stage i
up-samples its input and passes it through i CFBs in turn, one for each of SAB_1 to SAB_i. Each CFB has its own weights;
those of a stage take the same encoder map. Table VIII and the paper's best results are of this decoder, the default.
Tables IV to VI are of the straight decoder: SAB_1 alone, and one CFB per stage.

The released code differs in the options after `lite`, in N = 64 and in value_conv: `conf/head/agln_official.yaml`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput, Shown
from contextseg.layers.attention import Attention, Factored
from contextseg.layers.context_fusion import ContextFusion
from contextseg.layers.feature_pyramid import Fusion, Laterals
from contextseg.layers.resize import resize
from contextseg.layers.semantic_aggregation import SemanticAggregation
from contextseg.typed import Count, Share


class AGLNHead(Head):
    """Aggregate context by global enhancement of the decoder's maps and local refinement of the encoder's.

    strides             of the maps, counted from the end
    channels            width of the decoder; the fused map has twice as many
    finest_stride       of the maps used, the paper's 4; the last two maps are used at least, the last four at most.
                        `tiny` has strides 2, 4 and 8: two maps are used, hence one CFB, and dense and straight are the
                        same; finest_stride=2 uses all three, hence two stages
    lateral_kernel      of the convolution on each map but the last; the text's is 3
    num_descriptors     N (Table IV)
    gathering           "attention", or "gap": one descriptor, the mean of the map (GAP-GEM, Table IV)
    value_conv          phi of Eq. 1, which the parameters of Table VIII exclude
    channel_resampling  Eq. 4 (Table V)
    spatial_gating      Eq. 5 (Table V); without either (AGLN^-) the encoder's map is added unchanged
    alpha, beta         factors in Eq. 3 and 6: null, learnt from 0 and 1, or a fixed number (Table VI)
    dense               false: the straight decoder (Table VII)
    lite                depthwise-separable convolutions in the CFBs (Section IV-D)
    output_conv         a 1x1 convolution of M; released code: true
    inverted_resampling a channel takes from those least like it, softmax(-) in Eq. 4; released code: true
    residual            B + gamma G for G in Eq. 6, with gamma learnt from 0; released code: true
    psi                 false: no E, O = Phi(A + alpha M + beta G), and A in place of E in Eq. 4; released code: false
    conv_bias           of the 3x3 convolutions in the CFBs; released code: false
    dropout             of single numbers before the classifier; released code: 0.1
    align_corners       of every resize; released code: true
    """

    output_stride = 32

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        strides: Sequence[Count] = (4, 8, 16, 32),
        channels: Count = 256,
        finest_stride: Count = 4,
        lateral_kernel: Count = 1,
        num_descriptors: Count = 128,
        gathering: Literal["attention", "gap"] = "attention",
        value_conv: bool = False,
        channel_resampling: bool = True,
        spatial_gating: bool = True,
        alpha: float | None = None,
        beta: float | None = None,
        dense: bool = True,
        lite: bool = False,
        output_conv: bool = False,
        inverted_resampling: bool = False,
        residual: bool = False,
        psi: bool = True,
        conv_bias: bool = True,
        dropout: Share = 0.0,
        align_corners: bool = False,
    ):
        super().__init__()
        self.align_corners = align_corners
        self.laterals = Laterals(
            in_channels, strides, channels, finest_stride=finest_stride, kernel_size=lateral_kernel
        )
        count = len(self.laterals.convs)
        aggregations = [
            SemanticAggregation(channels, num_descriptors, gathering=gathering, value_conv=value_conv)
            for _ in range(count - 1 if dense else 1)
        ]
        self.aggregations = nn.ModuleList(aggregations)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                ContextFusion(
                    channels,
                    aggregation.num_descriptors,
                    output_conv=output_conv,
                    channel_resampling=channel_resampling,
                    inverted_resampling=inverted_resampling,
                    spatial_gating=spatial_gating,
                    residual=residual,
                    alpha=alpha,
                    beta=beta,
                    psi=psi,
                    conv_bias=conv_bias,
                    lite=lite,
                )
                for aggregation in aggregations[:stage]
            )
            for stage in range(1, count)
        )
        self.fusion = Fusion(channels, count, align_corners=align_corners)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(2 * channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps [(B, C_i, h_i, w_i)], fine to coarse -> logits (B, K, h, w) at the finest used; no extras."""
        *finer, x = self.laterals(features)
        outputs, descriptors = [x], []
        for index, (stage, encoder) in enumerate(zip(self.stages, reversed(finer), strict=True)):
            if index < len(self.aggregations):
                descriptors.append(self.aggregations[index](x))  # (B, C, N)
            x = resize(x, encoder.shape[-2:], self.align_corners)  # (B, C, h_i, w_i)
            assert isinstance(stage, nn.ModuleList)
            for block, vectors in zip(stage, descriptors, strict=True):
                x = block(x, encoder, vectors)
            outputs.insert(0, x)
        return SegOutput(self.classifier(self.dropout(self.fusion(outputs))), {})

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return where the SAB of each CFB of the finest stage gathered what a pixel takes: sum_n a_n X_n.

        The first is "context", from the coarsest decoder map; "context_2" and "context_3" are from finer ones.
        """
        found: dict[str, Attention] = {}
        for index in range(len(self.aggregations)):
            ((gather,),) = heard[f"aggregations.{index}.gather"]  # (N, h', w')
            ((distribute,),) = heard[f"{self.finest(index)}.distribution.distribute"]  # (N, h, w)
            asking, asked = distribute.shape[1:], gather.shape[1:]
            name = f"context_{index + 1}" if index else "context"
            found[name] = Factored(distribute.flatten(1).mT, gather.flatten(1), tuple(asking), tuple(asked))
        return found

    def inside(self, heard: Heard, size: tuple[int, int]) -> dict[str, Shown]:
        """Return the maps of Figures 3 and 5: of the descriptors of SAB_1, and of the finest CFB that takes them.

        Of the descriptors that are distributed most: where they are gathered (N, h', w') and distributed (N, h, w). Of
        the CFB: decoder map before and after enhancement, gate, encoder map before and after refinement (C, h, w),
        whose channels have no common scale. There is no gate without spatial gating.
        """
        block = self.finest(0)
        distribute = f"{block}.distribution.distribute"
        descriptors = partial(Shown, peaks=heard[distribute][0][0].amax((1, 2)), takers="distribute")
        features = partial(Shown, white="each", chosen="even")
        drawn: dict[str, tuple[str, Callable[..., Shown]]] = {
            "gather": ("aggregations.0.gather", descriptors),
            "distribute": (distribute, descriptors),
            "decoder_before": (f"{block}.before", features),
            "decoder_after": (f"{block}.after", features),
            "gate": (f"{block}.refinement.gate.spatial", Shown),
            "encoder_before": (f"{block}.refinement.before", features),
            "encoder_after": (f"{block}.refinement.after", features),
        }
        return {name: how(heard[tap][0][0]) for name, (tap, how) in drawn.items() if tap in heard}

    def finest(self, index: int) -> str:
        """Return the taps' name of the CFB of the finest stage that takes the descriptors of SAB `index`."""
        return f"stages.{len(self.stages) - 1}.{index}"
