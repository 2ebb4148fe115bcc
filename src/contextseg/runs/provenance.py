"""The provenance of scores: the versions of the libraries that decide them, and the commit of the source tree."""

import importlib.metadata
import subprocess
from functools import cache

from contextseg import __version__
from contextseg.conf import CHECKOUT

LIBRARIES = ("torch", "lightning", "timm", "torchmetrics", "albumentations", "hydra-core")


@cache  # each is read from a file of the environment
def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide the scores; not to be changed."""
    return {"contextseg": __version__} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def git_commit() -> str | None:
    """Return the commit of the source tree, with "+" if it has changes; None outside a git checkout.

    An installed package has none, even if its environment lies in the checkout of another project.
    """
    if CHECKOUT is None:
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None
