"""The smallest timm model of every family as a backbone: the table in docs/backbones.md, below the line that says so.

python -m contextseg.commands.complexity.backbones docs/backbones.md
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import timm
import torch

from contextseg.backbones.base import OUTPUT_STRIDES
from contextseg.backbones.image_sizes import fit
from contextseg.backbones.timm_features import TimmBackbone, is_hrnet
from contextseg.commands.complexity.network import parameters
from contextseg.commands.complexity.text import markdown
from contextseg.errors import ConfigError
from contextseg.files import write_atomically

MARK = "<!-- written by python -m contextseg.commands.complexity.backbones docs/backbones.md -->\n"
SIZE = (360, 480)  # of the image that is timed
PASSES = 3

FAMILIES = {  # timm model -> family
    "vit_tiny_patch16_224": "ViT",
    "test_vit": "ViT, of timm's tests",
    "deit_tiny_patch16_224": "DeiT",
    "deit_tiny_distilled_patch16_224": "DeiT, distilled",
    "vit_small_patch14_dinov2": "DINOv2",
    "vit_small_patch14_reg4_dinov2": "DINOv2, registers",
    "vit_tiny_patch16_dinov3_qkvb": "DINOv3, tiny",
    "vit_small_patch16_dinov3": "DINOv3",
    "eva02_tiny_patch14_224": "EVA-02",
    "beit_base_patch16_224": "BEiT",
    "cait_xxs24_224": "CaiT",
    "xcit_nano_12_p16_224": "XCiT",
    "swin_tiny_patch4_window7_224": "Swin",
    "swinv2_tiny_window8_256": "Swin v2",
    "swinv2_cr_tiny_ns_224": "Swin v2, another code",
    "maxvit_rmlp_pico_rw_256": "MaxViT",
    "coatnet_nano_rw_224": "CoAtNet",
    "hiera_tiny_224": "Hiera",
    "hieradet_small": "Hiera of SAM 2",
    "mvitv2_tiny": "MViT v2",
    "efficientformer_l1": "EfficientFormer",
    "efficientformerv2_s0": "EfficientFormer v2",
    "pvt_v2_b0": "PVT v2 (MiT is not in timm)",
    "twins_svt_small": "Twins",
    "davit_tiny": "DaViT",
    "gcvit_xxtiny": "GC ViT",
    "focalnet_tiny_srf": "FocalNet",
    "nextvit_small": "Next-ViT",
    "tiny_vit_5m_224": "TinyViT",
    "mobilevit_xxs": "MobileViT",
    "resnet18": "ResNet",
    "convnext_atto": "ConvNeXt",
    "convnextv2_atto": "ConvNeXt v2",
    "mobilenetv3_small_050": "MobileNet v3",
    "mobilenetv4_conv_small": "MobileNet v4",
    "mobilenetv4_hybrid_medium": "MobileNet v4, hybrid",
    "efficientnet_lite0": "EfficientNet-Lite",
    "efficientnet_b0": "EfficientNet",
    "tf_efficientnetv2_b0": "EfficientNet v2",
    "regnetx_002": "RegNet",
    "resnest14d": "ResNeSt",
    "dla34": "DLA",
    "poolformer_s12": "PoolFormer",
    "hrnet_w18_small": "HRNet",
}


def sized(model: str, size: tuple[int, int]) -> TimmBackbone:
    """Build a model with its own stride that takes images of a size, or in windows of that size as far as it can."""
    tied = fit(model).tied
    window = (224, 224) if tied == "fixed" else size
    return TimmBackbone(model, output_stride=32, window=window if tied else None)


def strides(model: str) -> str:
    """List the output strides that a model gives."""
    if is_hrnet(model):
        return "its own"
    found = []
    stride: Any
    for stride in OUTPUT_STRIDES:
        try:
            with torch.device("meta"):
                TimmBackbone(model, output_stride=stride)
            found.append(str(stride))
        except ConfigError:
            pass
    return ", ".join(found)


def seconds(backbone: TimmBackbone, size: tuple[int, int]) -> float:
    """Time an image of a size in evaluation mode on this CPU: the median of `PASSES` after a first, in one thread."""
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    times = []
    with torch.inference_mode():
        for _ in range(PASSES + 1):
            start = time.perf_counter()
            backbone(image)
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def takes(backbone: TimmBackbone) -> str:
    """Say which images a model takes."""
    tied = fit(backbone.model).tied
    if tied:
        kind = {"settable": "of any size", "square": "of any size, padded to a square", "fixed": "up to its own size"}
        return f"windows, {kind[tied]}"
    return f"any, padded to {backbone.divisor}" if backbone.divisor > 1 else "any"


def row(model: str) -> list[str]:
    """Write what there is to know of a model."""
    backbone = sized(model, SIZE).eval()
    size = backbone.window or SIZE
    config = timm.get_pretrained_cfg(model, allow_unregistered=False)
    weights = f"`{config.tag}`, {config.license or 'licence not named'}" if config.has_weights else "none"
    return [
        FAMILIES[model],
        f"`{model}`",
        "/".join(map(str, backbone.strides)),
        "/".join(map(str, dict.fromkeys(backbone.channels))),
        strides(model),
        takes(backbone),
        f"{parameters(backbone) / 1e6:.1f}",
        weights,
        f"{size[0]} x {size[1]}",
        f"{seconds(backbone, size):.2f}",
    ]


HEADER = [
    *("family", "model", "strides", "channels", "output strides", "images"),
    *("parameters, M", "weights in timm", "timed on", "seconds"),
]


def generated() -> str:
    """Write the table, in one thread."""
    torch.set_num_threads(1)
    return markdown([HEADER, *(row(model) for model in FAMILIES)])


if __name__ == "__main__":
    file = Path(sys.argv[1])
    above, mark, _ = file.read_text().partition(MARK)
    write_atomically(file, f"{above}{mark or MARK}\n{generated()}")
