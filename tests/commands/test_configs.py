"""Every option of every group composes and builds; what overrides what."""

import inspect
import re
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from hydra.errors import HydraException
from omegaconf import OmegaConf
from selected import PAPERS, quick

from contextseg import parts
from contextseg.classes import class_set
from contextseg.commands.compose import compose
from contextseg.commands.table import COMMANDS as TABLE
from contextseg.commands.train.options import checked
from contextseg.conf import CONF
from contextseg.door import REQUIRED, defaults, groups
from contextseg.engine import build
from contextseg.engine.build import plain
from contextseg.engine.loggers import loggers as loggers_of
from contextseg.engine.options import TrainOptions
from contextseg.engine.trainer import trainer
from contextseg.errors import ConfigError
from contextseg.inference import Predictor
from contextseg.metrics import SegMetrics
from contextseg.recipe import head_classes

COMMANDS = sorted(TABLE)


PROMISED = ["trainer.max_steps", "trainer.devices", "optim.lr", "seed", "name", "width", "paths.runs", "resume"]
PROMISED += ["data.batch_size", "data.num_workers", "data.train_size", "data.val_size"]
PROMISED += ["backbone.output_stride", "backbone.weights"]


@cache
def composed(*overrides):
    """As `compose`, once for each list, complete and resolvable as a run would see it; not to be changed."""
    cfg = compose(overrides)
    whole = OmegaConf.to_container(OmegaConf.merge(cfg, {"run": {"dir": "run", "id": "id"}}), resolve=True)
    assert "???" not in str(whole), f"{' '.join(overrides)} leaves a value open"
    assert whole["head"]["_target_"] in parts.index()
    return cfg


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def each(group, *chosen):
    """All options of a group; if some are `chosen`, the others are slow."""
    return pytest.mark.parametrize("option", quick(options(group), chosen or options(group)))


def load(path):
    return yaml.safe_load((CONF / path).read_text())


def compose_groups():
    """The groups of `train`."""
    return set(groups(TrainOptions))


def test_every_option_composes():
    """Of the groups that no other test composes one by one; the tables of `ablation` are in test_paper_rows."""
    backbones, necks, aux_heads = (options(group) for group in ("backbone", "neck", "aux_head"))
    for index, backbone in enumerate(backbones):
        chosen = [f"neck={necks[index % len(necks)]}", f"aux_head={aux_heads[index % len(aux_heads)]}"]
        composed(f"backbone={backbone}", *chosen, *(["backbone.model=resnet18"] if backbone == "timm" else []))
    for schedule in options("schedule"):
        composed(f"schedule={schedule}")
    apart = {"ablation", "hydra", "backbone", "neck", "aux_head", "schedule"}
    text = Path(__file__).read_text()
    assert all(f'@each("{path.name}"' in text for path in CONF.iterdir() if path.is_dir() and path.name not in apart)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command):
    cfg = compose(config_name=command)
    required = {name for name, declared in defaults(TABLE[command].options_class()).items() if declared == REQUIRED}
    assert set(OmegaConf.missing_keys(cfg)) == required


def test_every_target_exists_and_parts_have_names_of_their_own():
    for path in CONF.rglob("*.yaml"):
        for target in re.findall(r"_target_: *([\w.]+)", path.read_text()):
            assert callable(parts.find(target, str(path)))
            assert "." not in target or not target.startswith("contextseg."), f"{path}: a part is named by its class"
    defined = [
        name
        for folder in parts.FOLDERS
        for file in (parts.HERE / folder).rglob("*.py")
        for name in re.findall(r"^class (\w+)", file.read_text(), re.MULTILINE)
    ]
    assert len(defined) == len(set(defined)), "two parts share a name"


def test_the_promised_names_exist():
    cfg = compose(["head=ocr", "backbone=resnet50"])
    for key in PROMISED:
        assert OmegaConf.select(cfg, key, default="absent") != "absent", key
    assert "root" in compose(["data=camvid"]).data
    assert "ckpt" in compose(config_name="evaluate").keys()  # noqa: SIM118, a missing value is not "in"
    assert {"auto", "cpu", "gpu", "ddp", "ddp_cpu"} <= set(options("trainer"))
    for group in ("head", "backbone", "neck", "loss", "data", "eval", "experiment", "logger"):
        assert group in compose_groups()


# Heads and losses


def network(*overrides):
    cfg = composed(*overrides)
    return build.network(cfg, class_set(parts.find(cfg.data._target_, "data").name))[0]


@each("head", *PAPERS, "fcn", "fpn", "psanet", "ocr_ground_truth")
def test_every_head_learns_with_its_loss_on_tiny(option):
    """Each parameter gets a gradient from the loss of the head's file, or DDP stops."""
    model = network(f"head={option}", "data.size=64", "width=16")
    assert model.backbone.strides == (2, 4, 8)
    squares = torch.randint(0, len(model.classes), (4, 8, 8), dtype=torch.uint8)
    squares[:, 0] = 255
    mask = squares.repeat_interleave(8, 1).repeat_interleave(8, 2)
    total, _ = build.loss(composed(f"head={option}"))(
        model(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8), mask), mask
    )
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@each("head", *PAPERS)
def test_every_head_has_its_width_from_the_paper(option):
    node = composed(f"head={option}", "width=null").head
    with torch.device("meta"):
        head = build.instantiate(node, "head", in_channels=(256, 512, 1024, 2048), num_classes=12)
    if load(f"head/{option}.yaml")["head"].get("channels") == "${width}":
        default = inspect.signature(type(head)).parameters["channels"].default
        assert any(default in parameter.shape for parameter in head.parameters())


def test_resnet101_with_ocr():
    with torch.device("meta"):
        model = network("head=ocr", "backbone=resnet101", "width=null")
        output = model(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert output.logits.shape == output.extras["aux_logits"].shape == (2, 12, 8, 8)
    assert model.backbone.channels == (256, 512, 1024, 2048)


@each("head")
def test_a_head_and_its_file_agree(option):
    """`create_model` takes neck, output stride and settings from the class, the commands from the yaml."""
    text, raw = (CONF / f"head/{option}.yaml").read_text(), load(f"head/{option}.yaml")
    assert text.startswith("# @package _global_\n# ")
    cfg = composed(f"head={option}")
    kind = parts.find(cfg.head._target_, "head")
    settings = inspect.signature(kind).parameters
    assert set(cfg.head) - {"_target_"} <= set(settings)
    companions = {key for entry in raw["defaults"] if isinstance(entry, dict) for key in entry}
    assert companions <= {"override /loss", "override /neck"}
    if kind.__module__ != f"contextseg.heads.{option}":  # a variant of another head, or its released code
        return
    assert parts.index()[cfg.neck._target_] == f"contextseg.necks.{kind.neck}"
    assert cfg.backbone.output_stride == kind.output_stride
    for name, value in raw["head"].items():
        if name == "_target_" or value is None or str(value).startswith("${"):
            continue  # nothing is said that the constructor does not say
        default = settings[name].default
        assert value == (list(default) if isinstance(default, tuple) else default), f"{name} is not the paper's"
    assert raw["head"].get("channels", "${width}") == "${width}"


def test_every_head_has_a_file():
    used = {parts.index()[composed(f"head={option}").head._target_].split(".")[-1] for option in options("head")}
    assert used == head_classes().keys()


def test_head_constructors_take_settings_by_name():
    for kind in head_classes().values():
        in_channels, num_classes, *others = inspect.signature(kind).parameters.values()
        assert (in_channels.name, num_classes.name) == ("in_channels", "num_classes")
        for parameter in others:
            assert parameter.kind is parameter.KEYWORD_ONLY
            assert parameter.default is not parameter.empty


@each("loss", "ce", "affinity+aux", "cp+aux", "ccl+aux", "ohem")
def test_a_loss_is_named_after_its_terms(option):
    cfg = composed(f"loss={option}")
    names = {name.removesuffix("_official") for name in option.split("+")}
    assert set(cfg.loss.term) == names | ({"ce"} if "ohem" not in names else set())
    criterion = build.loss(cfg)
    for name, term in criterion.term.items():
        assert term.weight == cfg.loss.term[name].weight > 0
    assert set(load(f"loss/{option}.yaml")) == {"defaults"}


def test_weights_of_terms_live_in_their_files_only():
    for path in CONF.rglob("*.yaml"):
        says = re.search(r"^\s*weight:", path.read_text(), re.MULTILINE) is not None
        released = path.stem.endswith("_official")  # the weights are the papers'
        assert says is (path.parent == CONF / "loss/term" and not released), path
    assert compose(["loss=aux", "loss.term.aux.weight=0.1"]).loss.term.aux.weight == 0.1
    assert compose(["loss=aux"]).loss.term.aux.weight == 0.4


# The other groups


@each("data")
def test_every_data_set_builds(option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("classes.yaml").write_text("names: [background, thing]")  # of data=folder
    data = build.datamodule(composed(f"data={option}"))
    assert data.name in (option, option.removesuffix("_clips"))  # clips of CamVid are CamVid
    assert len(data.classes) > 1
    assert (data.transform.flip_pairs or ()) == data.classes.flip_pairs


@pytest.mark.parametrize("schedule", options("schedule"))
@each("optim")
def test_every_optimizer_steps_with_every_schedule(option, schedule):
    cfg = compose([f"optim={option}", f"schedule={schedule}"])
    model = torch.nn.Conv2d(1, 1, 1)
    optimizer = build.instantiate(cfg.optim, "optim", model=model)
    scheduler = build.instantiate(cfg.schedule, "schedule", optimizer=optimizer, max_steps=2)
    before = model.weight.detach().clone()
    for _ in range(2):
        model(torch.ones(1, 1, 1, 1)).sum().backward()
        optimizer.step()
        scheduler.step()
    assert not torch.equal(model.weight, before)


@each("eval", "ss", "slide_ms_flip", "encoding", "agln_paper", "ocr_lip")
def test_every_evaluation_predicts(option):
    cfg = composed(f"eval={option}")
    predictor = build.instantiate(cfg.eval.predictor, "eval.predictor")
    assert isinstance(predictor, Predictor)
    image = torch.randint(0, 256, (1, 3, 100, 130), dtype=torch.uint8)
    labels = predictor(lambda view: view.float(), image)
    assert labels.shape == (1, 100, 130)
    assert cfg.eval.batch_size >= 1


def trainer_of(cfg):
    options, _ = checked(cfg)
    return trainer(options.trainer, 8, [], [], enable_checkpointing=False)


@each("trainer")
def test_every_trainer_builds_or_says_what_is_missing(option):
    cfg = composed(f"trainer={option}")
    gpus = torch.cuda.device_count()
    wanted = cfg.trainer.devices if cfg.trainer.accelerator == "gpu" else 0
    if wanted > gpus:
        with pytest.raises(ConfigError, match=r"CUDA|GPUs"):
            trainer_of(cfg)
        return
    built = trainer_of(cfg)
    assert built.max_steps == cfg.trainer.max_steps
    assert built.num_devices == cfg.trainer.devices
    assert type(built.strategy).__name__ == ("DDPStrategy" if cfg.trainer.devices > 1 else "SingleDeviceStrategy")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("option", ["gpu", "ddp"])
def test_a_gpu_that_is_not_there_is_refused(option):
    with pytest.raises(ConfigError, match=r"accelerator=gpu: torch sees no CUDA device; use trainer=cpu"):
        trainer_of(composed(f"trainer={option}"))
    with pytest.raises(ConfigError, match=r"accelerator=cuda: torch sees no CUDA device; use trainer=cpu"):
        trainer_of(compose(["trainer.accelerator=cuda"]))


@each("logger")
def test_every_logger_writes_into_the_run_folder(option, tmp_path, small):
    cfg = OmegaConf.merge(small(f"logger={option}"), {"run": {"dir": str(tmp_path), "id": "id"}})
    assert "history" in cfg.logger  # csv always
    if option == "wandb":
        assert cfg.logger.wandb.save_dir == str(tmp_path)
        return  # opened in test_loggers.py
    with loggers_of(plain(cfg.logger), plain(cfg), 0) as loggers:
        for logger in loggers:
            logger.log_metrics({"train/loss": 1.0}, step=1)
            logger.save()
    assert "1.0" in (tmp_path / "metrics.csv").read_text()
    if option == "tensorboard":
        assert list((tmp_path / "tensorboard").glob("events*"))


@each("callbacks")
def test_every_callback_builds(option, tmp_path):
    import lightning as L

    cfg = OmegaConf.merge(composed(f"callbacks={option}"), {"run": {"dir": str(tmp_path), "id": "id"}})
    for name, node in cfg.callbacks.items():
        assert isinstance(build.instantiate(node, f"callbacks.{name}"), L.Callback)


@each("experiment", "camvid_frozen")
def test_every_experiment_builds(option):
    cfg = composed(f"experiment={option}")
    text = (CONF / f"experiment/{option}.yaml").read_text()
    assert text.startswith("# @package _global_\n# ")
    assert "python src/train.py" in text or option == "context_scenes"
    with torch.device("meta"):
        module = build.module(cfg, build.datamodule(cfg))
    assert isinstance(module.metrics["seg"], SegMetrics)
    optimizer = module.optimizer(module.segmenter)
    module.schedule(optimizer, cfg.trainer.max_steps)
    weights = cfg.class_weights
    assert weights is None or len(weights) == len(module.segmenter.classes)


@each("debug")
def test_a_debug_option_wins_over_the_experiment(option):
    cfg = composed(f"debug={option}")
    assert cfg.trainer.max_steps == load(f"debug/{option}.yaml")["trainer"]["max_steps"] < 100
    trainer_of(cfg)


# Precedence


def test_a_head_brings_its_companions():
    assert set(composed("head=fcn").loss.term) == {"ce"}
    assert set(composed("head=ocr").loss.term) == {"ce", "aux"}
    assert compose(["head=ocr", "backbone=resnet50"]).backbone.output_stride == 8


def test_command_line_beats_experiment_beats_head(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/probe.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /loss: ohem\n  - override /schedule: constant\n"
        "optim: {lr: 0.5}\nbackbone: {output_stride: 16}\n"
    )
    given = [f"hydra.searchpath=[file://{tmp_path}]", "experiment=probe", "head=ocr", "backbone=resnet50"]
    cfg = compose(given)
    assert set(cfg.loss.term) == {"ohem"}
    assert cfg.optim.lr == 0.5
    assert cfg.backbone.output_stride == 16
    assert cfg.schedule._target_.endswith("constant")
    cfg = compose([*given, "loss=ce", "optim.lr=0.1", "backbone.output_stride=32", "schedule=poly"])
    assert set(cfg.loss.term) == {"ce"}
    assert cfg.optim.lr == 0.1
    assert cfg.backbone.output_stride == 32
    assert cfg.schedule._target_.endswith("poly")


def test_choices_are_written_down():
    cfg = compose(["head=fcn", "data=camvid", "loss=ohem+aux", "experiment=camvid"])
    assert cfg.choices == {"data": "camvid", "backbone": "tiny", "head": "fcn", "loss": "ohem+aux", "eval": "ss"}
    assert cfg.name == "fcn_tiny_camvid"
    assert compose(["head=fcn", "name=mine"]).name == "mine"


def test_the_data_root_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("CONTEXTSEG_DATA", "somewhere")
    assert compose(["data=camvid"]).data.root == "somewhere/camvid"
    assert compose(["data=camvid", "data.root=else"]).data.root == "else"
    monkeypatch.delenv("CONTEXTSEG_DATA")
    assert compose(["data=camvid"]).data.root == "data/camvid"


@pytest.mark.parametrize("override", ["heda=ocr", "head=orc", "optim.learning_rate=1", "loss=lovasz+nothing"])
def test_a_misspelt_override_is_refused_by_hydra(override):
    with pytest.raises(HydraException):
        compose([override])


def test_no_file_names_a_machine():
    """No path of somebody's computer stands in a file of the repository."""
    path = re.compile("(?<![\\w.~}])/(home|root|Users|work|mnt)" + "/[a-z_]")  # in two parts, for this file
    assert path.search("root: /home" + "/me/x")
    root = Path(__file__).parents[2]
    files = [file for folder in ("conf", "src", "tests", "docs", "benchmarks") for file in (root / folder).rglob("*")]
    for file in [*files, *root.glob("*.*"), root / "Makefile"]:
        if file.suffix in (".py", ".yaml", ".md", ".toml", ".txt", ".csv", ".json", "") and file.is_file():
            found = path.search(file.read_text(errors="ignore"))
            assert found is None, f"{file.relative_to(root)}: {found[0]}"
