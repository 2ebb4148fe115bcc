"""The options of `prepare`."""

from dataclasses import dataclass
from pathlib import Path

from contextseg.commands.prepare.layout import data_sets
from contextseg.door import group, option
from contextseg.engine.options import Node
from contextseg.errors import ConfigError
from contextseg.folders import refuse_irregular
from contextseg.typed import Natural


@dataclass
class PrepareOptions:
    """Make the ready tree of a data set from its official archives.

    contextseg prepare data=cityscapes source=FOLDER
    """

    source: Path | list[Path] | None = option(
        None, "the folder with the downloaded archives, or [ARCHIVE,ARCHIVE]; they may be unpacked"
    )
    root: Path | None = option("${oc.select:data.root,null}", "the folder for the ready tree")
    dry_run: bool = option(False, "true: only list what would be written")
    overwrite: bool = option(False, "true: replace files that are there and differ")
    workers: Natural | None = option(
        None, "processes that convert masks; null: one per core, 8 at most; 0: none but this"
    )
    data: Node = group("context_scenes", "data set; the embedded ones have no archives")
    choices: dict[str, str] = option({}, "filled in")

    def __post_init__(self) -> None:
        """Refuse a data set without archives, a source that is missing and a root that is no folder."""
        if (name := self.choices.get("data")) not in (known := data_sets()):
            raise ConfigError(f"data={name}: has no archives to prepare; choose one of {', '.join(known)}")
        if not self.sources:
            raise ConfigError("source: give the folder with the downloaded archives, or source=[ARCHIVE,ARCHIVE]")
        for path in self.sources:
            if not path.exists():
                raise ConfigError(f"source={path}: no such file or folder")
            if not path.is_dir():
                refuse_irregular(path, "source")
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"root={self.root}: this is a file; give the folder for the ready tree")

    @property
    def sources(self) -> list[Path]:
        """Return `source` as a list."""
        return [self.source] if isinstance(self.source, Path) else self.source or []

    @property
    def folder(self) -> Path:
        """Return `root`. Raises `ConfigError` if it is null."""
        if self.root is None:
            raise ConfigError("root=null: give the folder for the ready tree")
        return self.root
