"""The device of the commands that use a network without a trainer."""

import torch

from contextseg.errors import ConfigError


def device(wanted: str) -> torch.device:
    """Return the device of `device=`; "auto" is a GPU if there is one. Raises `ConfigError` if it is missing."""
    there = torch.cuda.is_available()
    if wanted in ("gpu", "cuda") and not there:
        raise ConfigError(f"device={wanted}: torch sees no CUDA device; give auto or cpu")
    return torch.device("cpu" if wanted == "cpu" or not there else "cuda")
