"""Any timm model that yields feature maps (`features_only`): ResNets with a named stem, ConvNeXt, Swin, ViTs, ...

The stem is part of the name, since it changes results: `resnet101` has the 7x7 stem of the original, `resnet101c` three
3x3 convolutions ("v1c", "deep stem"), `resnet101s` the same with 64, 64 and 128 channels (that of the released CCNet,
OCR and PyTorch-Encoding), `resnet101d` the former and average pooling in the shortcuts ("vd").

HRNet keeps four resolutions side by side, strides 4 to 32: there is nothing to dilate, so that `output_stride`, which
heads set for ResNets, means nothing to it.

Every model takes images of any size (`image_sizes`), as they are or padded to a multiple of its patch or window; those
tied to one size are trained on crops of that size, and show others in windows. Plain ViTs: `plain_vit`.

Where released code differs from timm: `contract_dilation` (CCNet and CTNet dilate all blocks of a stage alike),
`ceil_pool` (CCNet and OCR), `pool_dilated` (CTNet) and `fusion` (timm's is that of the classification network; those
for segmentation are bilinear).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import timm
import torch
from timm.layers import AvgPool2dSame
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.nn import functional as F

from contextseg.backbones import plain_vit
from contextseg.backbones.base import Backbone, check_stride
from contextseg.backbones.freeze import freeze_stages
from contextseg.backbones.hrnet_fusion import BilinearFusion
from contextseg.backbones.image_sizes import Size, built_for, covering, fit, multiple
from contextseg.backbones.weights import source
from contextseg.errors import ConfigError
from contextseg.typed import Count

FUSIONS = ("nearest", "bilinear", "bilinear_corners")


class TimmBackbone(Backbone):
    """Make feature maps with a timm model, the stages beyond the output stride dilated.

    `model`: a timm name, with or without a weight tag. `stages`: how many maps to return, counted from the finest of
    the last four (`stages=3` drops the last stage of a ResNet). `weights`: "none", "imagenet"
    (`weights.source`), or a file (.safetensors or a state dict that `torch.load(weights_only=True)` reads).
    `contract_dilation`, `ceil_pool` and `pool_dilated` are for ResNets, `fusion` is for HRNets, see `Backbone`.

    blocks  of a plain ViT, which blocks give the maps: evenly spaced ones, or the last
    norm    its final norm comes after each of the maps
    patch   of a plain ViT: another side of its patches, in pixels; timm resamples pretrained embeddings
    window  of a model tied to one size: height and width of the images that it takes; the training crop if null in a
            configuration, else the size that timm names

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
        freeze: bool | Count = False,
        blocks: Literal["even", "last"] = "even",
        norm: bool = True,
        patch: Count | None = None,
        window: tuple[Count, Count] | None = None,
    ):
        check_stride(output_stride)
        if fusion not in FUSIONS:
            raise ConfigError(f"backbone.fusion={fusion}: choose {', '.join(FUSIONS)}")
        if not 2 <= stages <= 4:
            raise ConfigError(f"backbone.stages={stages}: choose 2, 3 or 4 maps")
        check_name(model)
        normalisation = timm.get_pretrained_cfg(model, allow_unregistered=False)
        tied = built_for(model, window, normalisation.input_size[-2:])
        settings = dict(fit(model).settings)
        if tied and fit(model).tied != "fixed":
            settings["img_size"] = tied[1]
        if plain_vit.is_plain(model):
            maps = partial(plain_vit.block_maps, model, stages, blocks, norm)
            settings |= {} if patch is None else {"patch_size": patch}
        elif patch is not None:
            raise ConfigError(f"backbone.patch={patch}: {model} is no plain ViT; leave it out")
        else:
            maps = partial(timm.create_model, model, features_only=True, out_indices=tuple(range(-4, stages - 4)))
            settings |= stride_settings(model, output_stride)
        build = partial(create, model, output_stride, maps, source(model, weights), settings)
        network: Any = build()  # of modules that timm names as it likes
        if weights not in ("none", "imagenet") and (unset := left_random(network, build)):
            raise ConfigError(
                f"backbone.weights={weights}: it does not set {len(unset)} tensors of {model}, first {unset[0]}; "
                "give a file of weights of that model"
            )
        super().__init__([255 * value for value in normalisation.mean], [255 * value for value in normalisation.std])
        self.channels = tuple(network.feature_info.channels())
        self.strides = tuple(network.feature_info.reduction())
        self.window: Size | None = tied and tied[0]
        self.built: Size | None = tied and tied[1]
        padded = is_hrnet(model) and fusion == "nearest"
        # of the image's sides: HRNet adds maps that it has doubled in size
        self.divisor = 32 if padded else multiple(model, network)
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
        self.network, self.model = network, model
        freeze_stages(self, freeze, self.window or normalisation.input_size[-2:])

    def features(self, image: Tensor) -> list[Tensor]:
        """Turn a normalised image (B, 3, H, W) into maps (B, C_i, H / stride_i, W / stride_i), fine to coarse.

        Raises `ConfigError` for an image that is larger than the size to which the model is tied.
        """
        height, width = image.shape[-2:]
        rows, columns = self.padding(height, width)
        if rows or columns:
            image = F.pad(image, (0, columns, 0, rows))  # with zeros, the mean colour
        maps = [as_nchw(x, channels) for x, channels in zip(self.stages(image), self.channels, strict=True)]
        if not (rows or columns):
            return maps
        if is_hrnet(self.model):  # its finest map alone has the size of the logits
            return [x[..., : -(-height // s), : -(-width // s)] for x, s in zip(maps, self.strides, strict=True)]
        return [covering(x, s, height, width) for x, s in zip(maps, self.strides, strict=True)]

    def padding(self, height: int, width: int) -> Size:
        """Return the rows and columns that an image gets below and to the right. Raises `ConfigError` as `features`."""
        if self.built is None:
            return -height % self.divisor, -width % self.divisor
        rows, columns = self.built[0] - height, self.built[1] - width
        if min(rows, columns) < 0:
            raise ConfigError(
                f"backbone.model={self.model}: built for images of {self.built[0]}x{self.built[1]}, got {height}x"
                f"{width}; predict in windows, SlidingWindow({list(self.window or self.built)}, pad=True), as "
                "Segmenter.predict does"
            )
        return rows, columns

    def stages(self, image: Tensor) -> list[Tensor]:
        """Run timm's network. Raises `ConfigError` if it is tied to images of another size, as transformers can be."""
        if torch.compiler.is_compiling():
            return self.network(image)
        try:
            return self.network(image)
        except (AssertionError, RuntimeError, IndexError) as error:
            if isinstance(image, FakeTensor) or not self.takes(image):
                raise self.tied(image, error) from error
            raise

    def takes(self, image: Tensor) -> bool:
        """Tell whether the network computes anything of such an image, by shapes alone."""
        try:
            with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
                self.network(torch.empty(image.shape, dtype=image.dtype, device=image.device))
        except (AssertionError, RuntimeError, IndexError):
            return False
        return True

    def tied(self, image: Tensor, error: Exception) -> ConfigError:
        """Return the refusal of a size."""
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return ConfigError(
            f"backbone.model={self.model}: it takes no images of {image.shape[-2]}x{image.shape[-1]} ({reason}), but "
            "images to be evaluated and predicted have many sizes; choose one that takes any, such as resnet50, "
            "convnext_tiny, tf_efficientnet_lite0 or pvt_v2_b0"
        )


def dilate_alike(network: nn.Module) -> None:
    """Give the first block of every dilated stage of a ResNet the dilation of the others."""
    for block in network.modules():
        if isinstance(block, BasicBlock | Bottleneck):
            for convolution in (block.conv1, block.conv2):
                if convolution.kernel_size == (3, 3):
                    convolution.dilation = convolution.padding = (block.dilation,) * 2


def pool_strides_only(network: nn.Module) -> None:
    """Take the pooling out of the shortcuts of a ResNet that do not halve the map."""
    for block in network.modules():
        shortcut = block.downsample if isinstance(block, BasicBlock | Bottleneck) else None
        if shortcut is not None and isinstance(shortcut[0], AvgPool2dSame):
            shortcut[0] = nn.Identity()


def is_hrnet(model: str) -> bool:
    """Tell whether a timm name is an HRNet's."""
    return model.startswith("hrnet")


def as_nchw(x: Tensor, channels: int) -> Tensor:
    """Return a map with its channels second: Swin answers (B, h, w, C)."""
    if x.shape[1] != channels and x.shape[-1] == channels:
        x = x.permute(0, 3, 1, 2)
    return x


def check_name(model: str) -> None:
    """Raise `ConfigError` unless timm knows the model, and the weight tag if it names one."""
    name, _, tag = model.partition(".")
    if not timm.is_model(name):
        close = timm.list_models(f"*{name[:6]}*")[:8]
        raise ConfigError(f"backbone.model={model}: timm has no such model; near it: {', '.join(close) or 'none'}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise ConfigError(f"backbone.model={model}: no weight tag {tag!r}; {name} has {', '.join(tags) or 'none'}")


def left_random(network: nn.Module, build: Callable[[], nn.Module]) -> list[str]:
    """List the parameters that the file did not set (timm does not say so): they differ between two random starts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.initial_seed() + 1)
        other = dict(build().named_parameters())
    return [name for name, parameter in network.named_parameters() if not torch.equal(parameter, other[name])]


def stride_settings(model: str, output_stride: int) -> dict[str, Any]:
    """Return timm's setting of the output stride of a model that is no plain ViT."""
    if is_hrnet(model):
        return {"feature_location": ""}  # the four branches, not what the classification head makes of them
    return {} if output_stride == 32 else {"output_stride": output_stride}


def create(
    model: str,
    output_stride: int,
    build: Callable[..., nn.Module],
    overlay: dict[str, Any] | None,
    settings: dict[str, Any],
) -> nn.Module:
    """Build the timm network by `build`; turn its refusals into `ConfigError`."""
    state = overlay.get("state_dict") if overlay else None
    try:
        network = build(
            pretrained=overlay is not None and state is None,
            pretrained_cfg_overlay=overlay if state is None else None,
            **settings,
        )
        if state is not None:  # not by timm, which would keep a second copy, and warn of the classifier's tensors
            network.load_state_dict({name: state[name] for name in network.state_dict()})
        return network
    except (TypeError, AssertionError) as error:
        raise cannot_stride(model, output_stride, str(error) or "timm refuses it") from error
    except (RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"backbone.model={model}: {reason} (not a feature backbone, or weights of another model)"
        ) from error


def cannot_stride(model: str, output_stride: int, reason: str) -> ConfigError:
    """Return the refusal of an output stride that a model does not have."""
    if plain_vit.is_plain(model):
        way = "with neck=sfp, which makes maps of strides 4 to 32 from one"
    else:
        way = (
            "with a neck that restores the resolution, or a backbone that dilates: resnet18/34/50/101, "
            "resnet50c/101c, resnet50d/101d, convnext_*, efficientnet_*, mobilenetv2_100"
        )
    return ConfigError(
        f"backbone.output_stride={output_stride}: {model} cannot give it ({reason}); use backbone.output_stride=32 "
        f"{way}"
    )
