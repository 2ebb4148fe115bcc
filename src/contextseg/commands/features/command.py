"""Listing and deleting the cached maps of frozen backbones."""

import logging
import shutil

from rich.table import Table

from contextseg.backbones.feature_cache import caches
from contextseg.commands.features.options import FeaturesOptions
from contextseg.console import console
from contextseg.errors import ConfigError

log = logging.getLogger(__name__)


def main(cfg: FeaturesOptions) -> None:
    """Print a table of the caches in `cfg.cache`, then delete those that `cfg.delete` names.

    Raises `ConfigError` for a name that is no cache; nothing else is ever deleted.
    """
    found = caches(cfg.cache.expanduser())
    table = Table(title=f"{len(found)} caches in {cfg.cache}", title_justify="left")
    for column in ("folder", "backbone", "output stride", "type", "images", "GB"):
        table.add_column(column, justify="left" if column in ("folder", "backbone") else "right")
    for place, about, files in found:
        backbone = about["backbone"] if about else {"model": "its record is damaged"}
        named, stride = backbone.get("model", backbone.get("_target_")), str(backbone.get("output_stride", ""))
        size = sum(file.stat().st_size for file in files) / 1e9
        table.add_row(place.name, named, stride, about["dtype"] if about else "", str(len(files)), f"{size:.2f}")
    console.print(table)
    names = [place.name for place, _, _ in found]
    if cfg.delete is None:
        return
    if cfg.delete not in ("all", *names):
        raise ConfigError(f"delete={cfg.delete}: no such cache in {cfg.cache}; give all, or one of {', '.join(names)}")
    for place, _, _ in found:
        if cfg.delete in ("all", place.name):
            shutil.rmtree(place)
            log.info("deleted %s", place)
