"""The local launcher: each job in a process of its own, a few at a time."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from contextseg.commands.compose import without_hydra
from contextseg.commands.sweep import pool
from contextseg.commands.sweep.job import Job, config_places
from contextseg.errors import ConfigError


class ProcessLauncher(Launcher):
    """Start jobs as `conf/hydra/launcher/processes.yaml` says: `jobs` at a time, on `gpus`, forked if `warm`."""

    def __init__(self, jobs: int, gpus: Sequence[int] | None, warm: bool = True):
        self.at_once, self.gpus, self.warm = jobs, tuple(gpus or ()), warm

    def setup(self, *, hydra_context, task_function, config):
        self.config, self.loader = config, hydra_context.config_loader
        if not isinstance(self.at_once, int) or self.at_once < 1:
            raise ConfigError(f"hydra.launcher.jobs={self.at_once}: give the number of jobs at a time, 1 or more")
        if not isinstance(self.warm, bool):
            raise ConfigError(f"hydra.launcher.warm={self.warm}: give true or false")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        jobs, places = [], config_places(self.config.hydra.runtime.config_sources)
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            cfg = self.loader.load_sweep_config(self.config, list(overrides))
            cfg = without_hydra(cfg, cfg.hydra.runtime.choices, overrides)
            jobs.append(Job(cfg, overrides, number, Path(self.config.hydra.sweep.dir), places))
        pool.run(jobs, self.at_once, self.gpus, self.warm)
        return [
            JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=job.outcome().get("miou"))
            for job, overrides in zip(jobs, job_overrides, strict=True)
        ]
