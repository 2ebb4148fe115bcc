"""The choice of the folder of a run: a given one, that of an unfinished run, or a new one."""

import logging
import os
from pathlib import Path

from contextseg.errors import ConfigError
from contextseg.runs.folder import ENVIRONMENT, RunFolder, new_folder, rank
from contextseg.runs.store import readable

log = logging.getLogger(__name__)


def newest_unfinished(parent: Path) -> RunFolder | None:
    """Return the folder of the newest run below `parent` that has a checkpoint and is not finished.

    A run whose records cannot be read is skipped with a warning.
    """
    places = [path.resolve() for path in parent.glob("*") if RunFolder(path).has_checkpoint()]
    unfinished = [run for run in readable(places) if not run.finished]
    newest = max(unfinished, key=lambda run: run.saved_at, default=None)
    return RunFolder(newest.folder) if newest else None


def open_folder(parent: Path, *, given: Path | None = None, resume: str | None = None, suffix: str = "") -> RunFolder:
    """Return the folder of this run: `given`, or that of an unfinished run, or a new one.

    `resume`: "auto", or the folder of the unfinished run. Rank 0 chooses, for the processes that it starts too. Raises
    `ConfigError` if `resume` names no such run.
    """
    if rank():
        if ENVIRONMENT not in os.environ:
            raise ConfigError("LOCAL_RANK is set: start one process without torchrun, it starts the others itself")
        return RunFolder(Path(os.environ[ENVIRONMENT]))
    folder = None
    if given:
        folder = RunFolder(given.resolve())
    elif resume == "auto":
        folder = newest_unfinished(parent)
        log.info("resume=auto: %s", f"going on in {folder.path}" if folder else "no unfinished run; starting a new one")
    elif resume:
        folder = RunFolder(Path(resume).resolve())
        if not folder.resumed:
            raise ConfigError(f"resume={resume}: there is no checkpoints/last.ckpt in it; give a run folder, or auto")
    folder = folder or RunFolder(new_folder(parent, suffix), fresh=True)
    os.environ[ENVIRONMENT] = str(folder.path)
    return folder
