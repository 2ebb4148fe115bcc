"""Reading a released file as a flat dict of tensors. Nothing in it is ever executed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from contextseg.errors import ConfigError
from contextseg.files import first_damaged

CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "network", "net")  # in which files wrap weights
SNIPPET = (
    "import torch; d = torch.load('{path}', map_location='cpu', weights_only=False)\n"
    "torch.save({{k: v for k, v in d.get('state_dict', d).items() if torch.is_tensor(v)}}, 'tensors.pth')"
)
PADDLE = (
    "import numpy, paddle\nnumpy.savez('tensors.npz', **{{k: v.numpy() for k, v in paddle.load('{path}').items()}})"
)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Read the tensors of a .safetensors, an .npz or a file of `torch.save`, and the names of what is no tensor.

    Containers around the weights are removed. Raises `ConfigError` for a file that is missing or holds no tensors, and
    for one that cannot be read without executing code; the message then gives code to run where the file comes from.
    """
    if not path.is_file():
        raise ConfigError(f"input={path}: no such file; give the released weights")
    content = _load(path)
    while isinstance(content, Mapping):
        inner = next((key for key in CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = content[inner]
    entries = content if isinstance(content, Mapping) else {}
    tensors = {str(name): value for name, value in entries.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ConfigError(f"input={path}: holds no tensors by name; give a state dict, or one in a `state_dict`")
    return tensors, [str(name) for name in entries.keys() - tensors.keys()]


def _load(path: Path) -> Any:
    """Return the contents of a file, in their containers."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}
        if path.suffix != ".pdparams":
            if damaged := first_damaged(path):
                raise ConfigError(f"input={path}: its part {damaged} is not as it was written; download it again")
            return torch.load(path, map_location="cpu", weights_only=True)
    except ConfigError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
    else:
        text = "a Paddle file"
    if refused := re.search(r"GLOBAL ([\w.]+)", text):
        reason = f"holds {refused[1]}, which only code can restore, and none is run here"
    else:
        reason = "cannot be read without running code" if path.suffix not in (".npz", ".safetensors") else text
    way = PADDLE if path.suffix == ".pdparams" else SNIPPET
    if path.suffix in (".npz", ".safetensors"):
        raise ConfigError(f"input={path}: {reason}; write it anew with plain numbers only")
    raise ConfigError(
        f"input={path}: {reason}. If you trust the file, run this where it comes from and convert what it writes: "
        + way.format(path=path).replace("\n", "; ")
    )
