"""The choice of the folder of a run: a given one, that of an unfinished run, or a new one."""

import logging
import os
from pathlib import Path
from typing import Any

from contextseg.errors import ConfigError
from contextseg.runs.folder import ENVIRONMENT, RANK, RunFolder, new_folder, rank
from contextseg.runs.lock import busy, held
from contextseg.runs.store import Run, readable

log = logging.getLogger(__name__)


def runs_in(parent: Path) -> list[Run]:
    """Return the runs of a name that have a checkpoint; one whose records are broken is skipped with a warning."""
    return list(readable(path.resolve() for path in parent.glob("*") if RunFolder(path).has_checkpoint()))


def newest_unfinished(parent: Path) -> RunFolder | None:
    """Return the folder of the newest run below `parent` that has a checkpoint and is not finished."""
    newest = max((run for run in runs_in(parent) if not run.finished), key=lambda run: run.saved_at, default=None)
    return RunFolder(newest.folder) if newest else None


def already_finished(parent: Path, config: dict[str, Any]) -> Run | None:
    """Return the newest finished run of a configuration below `parent`, unless another run there can go on."""
    if rank():  # rank 0 has looked, and started this process
        return None
    runs = runs_in(parent)
    same = [run for run in runs if run.finished and run.training and run.stands_for(config)]
    return max(same, key=lambda run: run.saved_at, default=None) if all(run.finished for run in runs) else None


def just_begun(parent: Path, config: dict[str, Any]) -> Path | None:
    """Return the folder of a run of this configuration below `parent` that is at work, maybe without a checkpoint."""
    at_work = readable(path for path in parent.glob("*") if held(path))
    return next((run.folder for run in at_work if run.config and run.stands_for(config)), None)


def open_folder(
    parent: Path,
    *,
    given: Path | None = None,
    resume: str | None = None,
    config: dict[str, Any] | None = None,
    suffix: str = "",
) -> RunFolder:
    """Return the folder of this run: `given`, or that of an unfinished run, or a new one.

    `resume`: "auto", or the folder of the unfinished run. Rank 0 chooses, for the processes that it starts too. Raises
    `ConfigError` if `resume` names no such run, or if "auto" would begin a run of a `config` that is at work already.
    """
    if rank() and not (RANK in os.environ and given):
        if ENVIRONMENT not in os.environ:
            raise ConfigError("LOCAL_RANK is set: start one process without torchrun, it starts the others itself")
        return RunFolder(Path(os.environ[ENVIRONMENT]))
    folder = None
    if given:
        folder = RunFolder(given.resolve(), fresh=not given.exists())
        folder.path.mkdir(parents=True, exist_ok=True)
    elif resume == "auto":
        folder = newest_unfinished(parent)
        if folder is None:
            if config and (begun := just_begun(parent, config)):
                raise ConfigError(f"resume=auto: {busy(begun)}")
            log.info("resume=auto: no unfinished run; starting a new one")
    elif resume:
        folder = RunFolder(Path(resume).resolve())
        if not folder.resumed:
            raise ConfigError(f"resume={resume}: there is no checkpoints/last.ckpt in it; give a run folder, or auto")
    folder = folder or RunFolder(new_folder(parent, suffix), fresh=True)
    os.environ[ENVIRONMENT] = str(folder.path)
    return folder
