"""FPN head: a coarse map brought back to 1/4 step by step, with the backbone's finer maps added; AGLN's baseline.

Source: Lin et al.: Feature Pyramid Networks for Object Detection (CVPR 2017), Section 3, as the authors of AGLN ran it
for segmentation (Li et al.: Attention Guided Global Enhancement and Local Refinement Network for Semantic Segmentation,
Sections III-D and IV-A.5, Tables IV to VIII). The parameters of Table VIII decide where the text is silent, or says
otherwise: laterals are 1x1 (the text has 3x3), that of the last map 3x3; a 3x3 conv follows each sum.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from contextseg.contract import Head, SegOutput
from contextseg.layers.feature_pyramid import Fusion, Laterals
from contextseg.layers.resize import resize
from contextseg.typed import Count, Share


class FPNHead(Head):
    """Aggregate context by a feature pyramid, coarse to fine.

    strides         of the maps, counted from the end
    channels        width of the pyramid; the fused map has twice as many
    finest_stride   of the maps used, the paper's 4; the last two maps are used at least, the last four at most. `tiny`
                    has strides 2, 4 and 8: two maps are used, with finest_stride=2 all three
    lateral_kernel  of the convolution on each map but the last; the text's is 3
    dropout         of single numbers before the classifier; released code: 0.1
    align_corners   of every resize; released code: true
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
        dropout: Share = 0.0,
        align_corners: bool = False,
    ):
        super().__init__()
        self.align_corners = align_corners
        self.laterals = Laterals(
            in_channels, strides, channels, finest_stride=finest_stride, kernel_size=lateral_kernel
        )
        self.fusion = Fusion(channels, len(self.laterals.convs), align_corners=align_corners)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(2 * channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps [(B, C_i, h_i, w_i)], fine to coarse -> logits (B, K, h, w) at the finest used; no extras."""
        *finer, x = self.laterals(features)
        outputs = [x]
        for encoder in reversed(finer):
            x = encoder + resize(x, encoder.shape[-2:], self.align_corners)  # (B, C, h_i, w_i)
            outputs.insert(0, x)
        return SegOutput(self.classifier(self.dropout(self.fusion(outputs))), {})
