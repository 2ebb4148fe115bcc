"""The commands: name, options, and the function that does the work. Nothing heavy is imported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contextseg.commands.importing import named


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    options       "module:class" of its dataclass of options
    work          "module:function" that does it
    door          "module:function" that checks the composed configuration before `work` is imported; `work` then gets
                  it as composed. None: `work` gets the parsed options
    hydra         settings of Hydra
    hydra_groups  options of Hydra's own groups
    """

    options: str
    work: str
    door: str | None = None
    hydra: Mapping[str, Any] = field(default_factory=dict)
    hydra_groups: Mapping[str, str] = field(default_factory=dict)

    def options_class(self) -> type:
        """Import the dataclass of options."""
        return named(self.options)

    def check(self, composed: Any) -> Any:
        """Check the composed configuration; return what `work` takes."""
        if self.door is None:
            return named("commands.compose:parsed")(self.options_class(), composed)
        named(self.door)(composed)
        return composed

    def function(self) -> Callable[[Any], int | None]:
        """Import the function; it returns an exit code, or None for 0."""
        return named(self.work)


SWEEP = {"sweep": {"dir": "${sweep_folder:${paths.runs},${name}}", "subdir": "."}}
COMMANDS: dict[str, Command] = {
    "train": Command(
        "engine.options:TrainOptions",
        "commands.train.command:main",
        door="commands.train.options:checked",
        hydra=SWEEP,
        hydra_groups={"sweeper": "planned", "launcher": "processes"},
    ),
    "evaluate": Command(
        "engine.options:EvaluateOptions", "commands.evaluate.command:main", door="commands.evaluate.options:first_look"
    ),
    "predict": Command("commands.predict.options:PredictOptions", "commands.predict.command:main"),
    "attend": Command("commands.attend.options:AttendOptions", "commands.attend.command:main"),
    "faithfulness": Command(
        "commands.faithfulness.options:FaithfulnessOptions",
        "commands.faithfulness.command:main",
        door="commands.faithfulness.options:first_look",
    ),
    "attention_statistics": Command(
        "commands.attention_statistics.options:AttentionStatisticsOptions",
        "commands.attention_statistics.command:main",
        door="commands.attention_statistics.options:first_look",
    ),
    "receptive_field": Command(
        "commands.receptive_field.options:ReceptiveFieldOptions",
        "commands.receptive_field.command:main",
        door="commands.receptive_field.options:first_look",
    ),
    "compare": Command(
        "commands.compare.options:CompareOptions",
        "commands.compare.command:main",
        door="commands.compare.options:first_look",
    ),
    "check_data": Command("commands.check_data.options:CheckDataOptions", "commands.check_data.command:main"),
    "prepare": Command("commands.prepare.options:PrepareOptions", "commands.prepare.command:main"),
    "submit": Command(
        "commands.submit.options:SubmitOptions",
        "commands.submit.command:main",
        door="commands.submit.options:first_look",
    ),
    "samples": Command("commands.samples.options:SamplesOptions", "commands.samples.command:main"),
    "instances": Command("commands.instances.options:InstancesOptions", "commands.instances.command:main"),
    "features": Command("commands.features.options:FeaturesOptions", "commands.features.command:main"),
    "report": Command("commands.report.options:ReportOptions", "commands.report.command:main"),
    "complexity": Command(
        "commands.complexity.options:ComplexityOptions",
        "commands.complexity.command:main",
        door="commands.complexity.options:parsed",
    ),
    "convert": Command("commands.convert.options:ConvertOptions", "commands.convert.command:main"),
}
