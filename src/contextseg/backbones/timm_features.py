"""Any timm model that yields feature maps (`features_only`): ResNets with a named stem, ConvNeXt, MobileNet, ...

The stem is part of the name, since it changes results: `resnet101` has the 7x7 stem of the original, `resnet101c` three
3x3 convolutions ("v1c", "deep stem"), `resnet101s` the same with 64, 64 and 128 channels (that of the released CCNet,
OCR and PyTorch-Encoding), `resnet101d` the former and average pooling in the shortcuts ("vd").

HRNet keeps four resolutions side by side, strides 4 to 32: there is nothing to dilate, so that `output_stride`, which
heads set for ResNets, means nothing to it.

Where released code differs from timm: `contract_dilation` (CCNet and CTNet dilate all blocks of a stage alike),
`ceil_pool` (CCNet and OCR), `pool_dilated` (CTNet) and `fusion` (timm's is that of the classification network; those
for segmentation are bilinear).
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import timm
import torch
from huggingface_hub import constants as hub
from huggingface_hub import get_session, try_to_load_from_cache
from timm.layers import AvgPool2dSame
from timm.models import load_state_dict
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.backbones.base import Backbone, check_stride
from contextseg.errors import ConfigError
from contextseg.layers.resize import resize

FUSIONS = ("nearest", "bilinear", "bilinear_corners")


class TimmBackbone(Backbone):
    """Feature maps of a timm model, with the stages beyond the output stride dilated.

    `model`: a timm name, with or without a weight tag. `stages`: how many maps to return, counted from the finest of
    the last four (`stages=3` drops the last stage of a ResNet). `weights`: "none", "imagenet", or a file
    (.safetensors or a state dict that `torch.load(weights_only=True)` reads). `contract_dilation`, `ceil_pool`
    and `pool_dilated` are for ResNets, `fusion` is for HRNets, see `Backbone`.

    Raises `ConfigError` when the model is unknown, cannot give that stride, or its weights are not to be had.
    """

    def __init__(
        self,
        model: str,
        *,
        output_stride: Literal[8, 16, 32] = 8,
        weights: str = "none",
        stages: Literal[2, 3, 4] = 4,
        contract_dilation: bool = True,
        ceil_pool: bool = False,
        pool_dilated: bool = True,
        fusion: Literal["nearest", "bilinear", "bilinear_corners"] = "nearest",
    ):
        check_stride(output_stride)
        if fusion not in FUSIONS:
            raise ConfigError(f"backbone.fusion={fusion}: choose {', '.join(FUSIONS)}")
        if not 2 <= stages <= 4:
            raise ConfigError(f"backbone.stages={stages}: choose 2, 3 or 4 maps")
        check_name(model)
        build = partial(create, model, output_stride, tuple(range(-4, stages - 4)), pretrained_file(model, weights))
        network = build()
        if weights not in ("none", "imagenet") and (unset := left_random(network, build)):
            raise ConfigError(
                f"backbone.weights={weights}: it does not set {len(unset)} tensors of {model}, first {unset[0]}; "
                "give a file of weights of that model"
            )
        normalisation = timm.get_pretrained_cfg(model, allow_unregistered=False)
        super().__init__([255 * value for value in normalisation.mean], [255 * value for value in normalisation.std])
        self.channels = tuple(network.feature_info.channels())
        self.strides = tuple(network.feature_info.reduction())
        padded = is_hrnet(model) and fusion == "nearest"
        self.divisor = 32 if padded else 1  # of the image size: HRNet adds maps that it has doubled in size
        if self.strides[-1] > output_stride and not is_hrnet(model):
            raise cannot_stride(model, output_stride, f"its maps have strides {self.strides}")
        if not contract_dilation:
            dilate_alike(network)
        if not pool_dilated:
            pool_strides_only(network)
        for pool in network.children():
            if isinstance(pool, nn.MaxPool2d):
                pool.ceil_mode = ceil_pool
        if is_hrnet(model) and fusion != "nearest":
            for stage in (network.stage2, network.stage3, network.stage4):
                for index, module in enumerate(stage):
                    stage[index] = BilinearFusion(module, fusion == "bilinear_corners")
        self.network = network

    def features(self, image: Tensor) -> list[Tensor]:
        """Normalised image (B, 3, H, W) -> maps (B, C_i, H / stride_i, W / stride_i), fine to coarse."""
        height, width = image.shape[-2:]
        if self.divisor > 1:
            image = F.pad(image, (0, -width % self.divisor, 0, -height % self.divisor))  # with zeros, the mean colour
        maps = [as_nchw(x, channels) for x, channels in zip(self.network(image), self.channels, strict=True)]
        if self.divisor > 1:  # without the padding
            maps = [x[..., : -(-height // s), : -(-width // s)] for x, s in zip(maps, self.strides, strict=True)]
        return maps


class BilinearFusion(nn.Module):
    """timm's `HighResolutionModule`, its parts under their names, with bilinear up-sampling in the place of nearest.

    Source: Sun et al.: High-Resolution Representations for Labeling Pixels and Regions (2019), Section 3.
    """

    def __init__(self, module: nn.Module, align_corners: bool):
        super().__init__()
        self.branches, self.fuse_layers, self.fuse_act = module.branches, module.fuse_layers, module.fuse_act
        self.align_corners = align_corners

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        """Maps [(B, C_i, h_i, w_i)], fine to coarse -> the same shapes, each the sum over all branches."""
        maps = [branch(branch_map) for branch, branch_map in zip(self.branches, x, strict=True)]
        return [self.fuse_act(self.fused(maps, i)) for i in range(len(self.fuse_layers))]

    def fused(self, maps: Sequence[Tensor], target: int) -> Tensor:
        """Maps [(B, C_i, h_i, w_i)], fine to coarse -> their sum at branch `target`, (B, C, h, w) of that branch."""
        total = 0
        for source, (layer, branch_map) in enumerate(zip(self.fuse_layers[target], maps, strict=True)):
            if source > target:
                convolution, norm, _ = layer  # the third is the up-sampling
                branch_map = resize(norm(convolution(branch_map)), maps[target].shape[-2:], self.align_corners)
            else:
                branch_map = layer(branch_map)
            total = total + branch_map
        return total


def dilate_alike(network: nn.Module) -> None:
    """Gives the first block of every dilated stage of a ResNet the dilation of the others."""
    for block in network.modules():
        if isinstance(block, BasicBlock | Bottleneck):
            for convolution in (block.conv1, block.conv2):
                if convolution.kernel_size == (3, 3):
                    convolution.dilation = convolution.padding = (block.dilation,) * 2


def pool_strides_only(network: nn.Module) -> None:
    """Takes the pooling out of the shortcuts of a ResNet that do not halve the map."""
    for block in network.modules():
        shortcut = block.downsample if isinstance(block, BasicBlock | Bottleneck) else None
        if shortcut is not None and isinstance(shortcut[0], AvgPool2dSame):
            shortcut[0] = nn.Identity()


def is_hrnet(model: str) -> bool:
    """Whether a timm name is an HRNet's."""
    return model.startswith("hrnet")


def as_nchw(x: Tensor, channels: int) -> Tensor:
    """A map with its channels second: Swin answers (B, h, w, C)."""
    if x.shape[1] != channels and x.shape[-1] == channels:
        x = x.permute(0, 3, 1, 2)
    return x


def check_name(model: str) -> None:
    """Raises `ConfigError` unless timm knows the model, and the weight tag if it names one."""
    name, _, tag = model.partition(".")
    if not timm.is_model(name):
        close = timm.list_models(f"*{name[:6]}*")[:8]
        raise ConfigError(f"backbone.model={model}: timm has no such model; near it: {', '.join(close) or 'none'}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise ConfigError(f"backbone.model={model}: no weight tag {tag!r}; {name} has {', '.join(tags) or 'none'}")


def left_random(network: nn.Module, build: Callable[[], nn.Module]) -> list[str]:
    """Parameters that the weight file did not set (timm does not say so): they differ between two random starts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.initial_seed() + 1)
        other = dict(build().named_parameters())
    return [name for name, parameter in network.named_parameters() if not torch.equal(parameter, other[name])]


def create(model: str, output_stride: int, out_indices: tuple[int, ...], overlay: dict | None) -> nn.Module:
    """The timm network; its refusals turned into `ConfigError`."""
    kwargs = {} if output_stride == 32 else {"output_stride": output_stride}
    if is_hrnet(model):
        kwargs = {"feature_location": ""}  # the four branches, not what the classification head makes of them
    try:
        return timm.create_model(
            model,
            features_only=True,
            out_indices=out_indices,
            pretrained=overlay is not None,
            pretrained_cfg_overlay=overlay,
            **kwargs,
        )
    except (TypeError, AssertionError) as error:
        raise cannot_stride(model, output_stride, str(error) or "timm refuses it") from error
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"backbone.model={model}: {reason} (not a feature backbone, or weights of another model)"
        ) from error


def cannot_stride(model: str, output_stride: int, reason: str) -> ConfigError:
    """The refusal of an output stride that a model does not have."""
    return ConfigError(
        f"backbone.output_stride={output_stride}: {model} cannot give it ({reason}); use backbone.output_stride=32 "
        "with a neck that restores the resolution, or a backbone that dilates: resnet18/34/50/101, resnet50c/101c, "
        "resnet50d/101d, convnext_*, efficientnet_*, mobilenetv2_100"
    )


def pretrained_file(model: str, weights: str) -> dict | None:
    """timm's overlay that names the weight file, or None for a random start. Never downloads without a connection."""
    if weights == "none":
        return None
    if weights != "imagenet":
        if not Path(weights).is_file():
            raise ConfigError(f"backbone.weights={weights}: no such file; give none, imagenet or an existing file")
        try:
            load_state_dict(weights)
        except Exception as error:
            raise ConfigError(f"backbone.weights={weights}: not a file of weights ({type(error).__name__})") from error
        return {"file": weights}
    config = timm.get_pretrained_cfg(model, allow_unregistered=False)
    if not config.has_weights:
        raise ConfigError(f"backbone.weights=imagenet: timm has no weights for {model}; give none or a file")
    for file in ("model.safetensors", "pytorch_model.bin"):
        cached = try_to_load_from_cache(config.hf_hub_id, file)
        if isinstance(cached, str):
            return {"file": cached}
    if not online():
        raise ConfigError(
            f"backbone.weights=imagenet: {model} is not in the local cache and there is no connection to fetch it; "
            "give backbone.weights=none (random start) or backbone.weights=FILE"
        )
    return {}


def online() -> bool:
    """Whether the model hub answers within five seconds (the hub's own client retries for most of a minute)."""
    if hub.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(hub.ENDPOINT, timeout=5)
    except Exception:
        return False
    return True
