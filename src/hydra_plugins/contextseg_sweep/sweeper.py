"""The sweeper of `-m`: it plans the jobs, prints the plan, and hands what is left to do to the launcher."""

import json
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from contextseg.commands.compose import without_hydra
from contextseg.commands.sweep.plan import Plan, counts
from contextseg.commands.sweep.pool import duration
from contextseg.commands.train.options import checked
from contextseg.console import console
from contextseg.errors import ConfigError
from contextseg.runs import folder as run_folder


class PlannedSweeper(Sweeper):
    """Plan a sweep, print the plan and launch what is missing (`conf/hydra/sweeper/planned.yaml`)."""

    def setup(self, *, hydra_context, task_function, config):
        self.config, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list:
        if run_folder.rank():
            raise ConfigError("LOCAL_RANK is set: start a sweep as one process without torchrun")
        parser = OverridesParser.create(config_loader=self.loader)
        plan = Plan(parser.parse_overrides(arguments), self.compose, lambda: Path(self.config.hydra.sweep.dir))
        plan.claim()
        self.show(plan)
        folders = {job.name: str(job.folder) for job in plan.jobs}
        (Path(self.config.hydra.sweep.dir) / "jobs.json").write_text(json.dumps(folders, indent=2) + "\n")
        jobs = [job.overrides for job in plan.to_do()]
        return self.launcher.launch(jobs, initial_job_idx=0) if jobs else []

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Compose and check the configuration of a job. Raises `ConfigError`."""
        cfg = self.loader.load_sweep_config(self.config, list(overrides))
        if cfg.resume not in (None, "auto"):
            raise ConfigError(f"resume={cfg.resume} with -m: a sweep finds its runs itself; use resume=auto")
        choices = cfg.hydra.runtime.choices
        cfg = without_hydra(cfg, choices, overrides)
        checked(cfg)
        return cfg

    def show(self, plan: Plan) -> None:
        """Print the rows, the numbers of jobs, and an estimate of the time."""
        for picture in plan.pictures():
            console.print(picture)
        at_once, seconds = self.config.hydra.launcher.get("jobs", 1), plan.seconds()
        time = "time unknown, no finished run with this backbone and data yet"
        if seconds is not None:
            time = f"about {duration(seconds / at_once)}, {at_once} at a time"
        total = f"{len(plan.jobs)} jobs: {counts(plan.jobs) or 'none'}"
        console.print(f"{total}; {time}" if plan.to_do() else total, soft_wrap=True, highlight=False)
