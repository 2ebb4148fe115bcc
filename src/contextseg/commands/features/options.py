"""The options of `features`."""

from dataclasses import dataclass
from pathlib import Path

from contextseg.door import option
from contextseg.errors import ConfigError


@dataclass
class FeaturesOptions:
    """List, or delete, the cached maps of frozen backbones.

    contextseg features cache=features
    contextseg features cache=features delete=all
    """

    cache: Path = option("features", "the folder that trainings were given as features.cache")
    delete: str | None = option(None, "all, or the name of one folder in it")
    choices: dict[str, str] = option({}, "filled in")

    def __post_init__(self) -> None:
        """Refuse a folder that is not there."""
        if not self.cache.expanduser().is_dir():
            raise ConfigError(f"cache={self.cache}: no such folder; give that of features.cache")
