"""Matlab label maps as PNGs."""

from io import BytesIO

from PIL import Image

from contextseg.commands.archives import InMemory
from contextseg.data.labels import Matlab


def to_png(labels: Matlab, data: bytes) -> bytes:
    """Turn a .mat file into a grey PNG of its labels, always the same bytes. Raises `ConfigError` as `Matlab` does."""
    file = BytesIO()
    Image.fromarray(labels(InMemory(data))).save(file, "PNG")
    return file.getvalue()
