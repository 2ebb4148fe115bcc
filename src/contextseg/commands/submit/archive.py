"""The archive: packing files, and reading them back as a server does."""

import tarfile
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from contextseg.commands.archives import open_archive
from contextseg.commands.submit.formats import Format
from contextseg.errors import ConfigError

MODE = 0o644  # of the packed files, which have no owner and no date


def pack(path: Path, files: Mapping[str, Path], advance: Callable[[], Any]) -> None:
    """Write files, by their name in the archive, into a .zip or else a compressed tar; call `advance` for each."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:  # PNGs are compressed already
            for name, file in files.items():
                info = zipfile.ZipInfo(name)
                info.external_attr = MODE << 16
                archive.writestr(info, file.read_bytes())
                advance()
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name, file in files.items():
                data = file.read_bytes()
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), MODE
                archive.addfile(member, BytesIO(data))
                advance()


def verify(
    path: Path,
    form: Format,
    sizes: Mapping[str, tuple[int, int]],
    predicted: Mapping[str, np.ndarray],
    advance: Callable[[], Any],
) -> int:
    """Read an archive back; return how many classes occur in it.

    sizes      (height, width) of the image of each member; the archive must have these members and no others
    predicted  train ids (H, W) that some members must hold

    Raises `ConfigError` naming the first member that is wrong.
    """
    reader = open_archive(path)
    for fault, names in (
        ("is missing", sizes.keys() - set(reader.names)),
        ("belongs to no image", set(reader.names) - sizes.keys()),
    ):
        if names:
            raise ConfigError(f"{path}: {len(names)} members are wrong, first {min(names)}, which {fault}")
    seen = np.zeros(256, bool)
    for name, data in reader.stream(sizes.keys()):
        try:
            labels = form.read(data, sizes[name])
            if name in predicted and not np.array_equal(labels, predicted[name]):
                raise ConfigError("differs from the prediction")
        except ConfigError as error:
            raise ConfigError(f"{path}: member {name}: {error}") from error
        seen |= np.bincount(labels.ravel(), minlength=256) > 0
        advance()
    return int(seen.sum())
