"""AGLN head: an FPN whose decoder gets global context at every step, and refines the encoder's maps before adding them.

Source: Li, Zha, Chen, Ding, Zhang, Yu: Attention Guided Global Enhancement and Local Refinement Network for Semantic
Segmentation, Sections III and IV-C, IV-D; Figures 2 and 4. Semantic aggregation blocks (SAB) gather a decoder map into
descriptors, context fusion blocks (CFB) hand them out to the next finer one.

The parameters of Table VIII decide where the text is silent: laterals and outputs are those of the baseline (`fpn`);
a CFB has two 3x3 convs with bias and one 1x1, a SAB one 1x1; Lite has N = 256. The dense decoder (Figure 4b): SAB_1
gathers the coarsest decoder map, SAB_i what stage i puts out; a stage is the up-sampled map before it through one CFB
per SAB so far, each with weights of its own, all with the same encoder map. The default is dense, as in Table VIII and
the paper's best results; Tables IV to VI are of the straight decoder, one SAB and one CFB per stage.

The released code differs in the options after `lite`, in N = 64 and in value_conv: `conf/head/agln_official.yaml`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from contextseg.contract import Head, SegOutput, Shown
from contextseg.layers.context_fusion import ContextFusion
from contextseg.layers.feature_pyramid import Fusion, Laterals
from contextseg.layers.resize import resize
from contextseg.layers.semantic_aggregation import SemanticAggregation
from contextseg.typed import Count, Share


class AGLNHead(Head):
    """Global enhancement and local refinement.

    strides             of the maps, counted from the end
    channels            width of the decoder; the fused map has twice as many
    finest_stride       maps finer than that are left out, the paper's 1/4 is the finest; the last four maps are used at
                        most, the last two at least. `tiny` has 2, 4 and 8: two are used, hence one CFB, and dense and
                        straight are the same; with finest_stride=2 all three, hence two stages
    lateral_kernel      of the convolution on each map but the last; the text's is 3
    num_descriptors     N (Table IV)
    gathering           "attention", or "gap": one descriptor, the mean of the map (GAP-GEM, Table IV)
    value_conv          phi of Eq. 1, which Table VIII has no room for
    channel_resampling  Eq. 4 (Table V)
    spatial_gating      Eq. 5 (Table V); AGLN^- has neither of the two, the encoder's map is added as it is
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
        self.aggregations = nn.ModuleList(
            SemanticAggregation(channels, num_descriptors, gathering=gathering, value_conv=value_conv)
            for _ in range(count - 1 if dense else 1)
        )
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
                for aggregation in self.aggregations[:stage]
            )
            for stage in range(1, count)
        )
        self.fusion = Fusion(channels, count, align_corners=align_corners)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(2 * channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Maps [(B, C_i, h_i, w_i)], fine to coarse -> logits (B, K, h, w) at the finest map used; no extras."""
        *finer, x = self.laterals(features)
        outputs, descriptors = [x], []
        for index, (stage, encoder) in enumerate(zip(self.stages, reversed(finer), strict=True)):
            if index < len(self.aggregations):
                descriptors.append(self.aggregations[index](x))  # (B, C, N)
            x = resize(x, encoder.shape[-2:], self.align_corners)  # (B, C, h_i, w_i)
            for block, vectors in zip(stage, descriptors, strict=True):
                x = block(x, encoder, vectors)
            outputs.insert(0, x)
        return SegOutput(self.classifier(self.dropout(self.fusion(outputs))), {})

    def context(
        self, maps: dict[str, list[Tensor]], point: tuple[int, int], size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """For each CFB of the finest stage, where its SAB gathered what the pixel takes: sum_n a_n X_n (h', w').

        The first is "context", from the coarsest decoder map; "context_2" and "context_3" are from finer ones.
        """
        found = {}
        for index in range(len(self.stages[-1])):
            (gather,) = maps[f"aggregations.{index}.gather"]  # (1, N, h', w')
            (distribute,) = maps[f"{self.finest(index)}.distribution.distribute"]  # (1, N, h, w)
            name = f"context_{index + 1}" if index else "context"
            found[name] = torch.tensordot(distribute[0, :, *point], gather[0], 1)
        return found

    def inside(self, maps: dict[str, list[Tensor]], size: tuple[int, int]) -> dict[str, Shown]:
        """What is seen in Figures 3 and 5: the maps of the descriptors of SAB_1, and the CFB that gets them at last.

        Where they are gathered (N, h', w') and handed out (N, h, w), of the descriptors that are handed out most;
        decoder map before and after enhancement, gate, encoder map before and after refinement (C, h, w), whose
        channels have no common scale. There is no gate without spatial gating.
        """
        block = self.finest(0)
        handed_out = f"{block}.distribution.distribute"
        descriptors = partial(Shown, peaks=maps[handed_out][0][0].amax((1, 2)))
        features = partial(Shown, white="each", chosen="even")
        drawn = {
            "gather": ("aggregations.0.gather", descriptors),
            "distribute": (handed_out, descriptors),
            "decoder_before": (f"{block}.before", features),
            "decoder_after": (f"{block}.after", features),
            "gate": (f"{block}.refinement.gate.spatial", Shown),
            "encoder_before": (f"{block}.refinement.before", features),
            "encoder_after": (f"{block}.refinement.after", features),
        }
        return {name: how(maps[tap][0][0]) for name, (tap, how) in drawn.items() if tap in maps}

    def finest(self, index: int) -> str:
        """The name, as taps have it, of the CFB of the finest stage that gets the descriptors of SAB `index`."""
        return f"stages.{len(self.stages) - 1}.{index}"
