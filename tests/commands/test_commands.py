"""The commands as a user meets them: exit codes, one line for each mistake, sweeps, and what a run leaves behind."""

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from harness import COMMANDS, SMALL, PowerCut, call, disturb, folders, subprocess_environment, train
from omegaconf import OmegaConf
from PIL import Image

from contextseg.commands import __main__, entry
from contextseg.commands.compose import compose
from contextseg.commands.explain_error import explain
from contextseg.commands.help import command_help
from contextseg.commands.table import COMMANDS as TABLE
from contextseg.runs import folder as run_folder
from contextseg.runs import opening

SHORT = (*SMALL, "trainer.max_steps=2", "trainer.save_every_steps=2")


@pytest.fixture
def checkpoint(trained):
    return trained.folder / "checkpoints/last.ckpt"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test in a folder of its own, which also takes the runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def status(folder):
    return json.loads((folder / "metrics.json").read_text())["status"]


def refused(command, *arguments):
    """What a command says in refusing its arguments: one line, with exit code 2."""
    code, said = call(command, *arguments)
    assert code == 2, said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said
    assert "Traceback" not in said
    assert "miou" not in said, "nothing was trained"
    return errors[0]


# what a run leaves


def test_a_finished_run(trained):
    written = {str(path.relative_to(trained.folder)) for path in trained.folder.rglob("*") if path.is_file()}
    best = {path for path in written if path.startswith("checkpoints/best-")}
    assert len(best) == 1
    tables = {"config.yaml", "metrics.json", "metrics.csv", "per_class.csv", "confusion.npz", "train.log"}
    tables |= {"per_class.png", "confusion.png", "per_image/val_ss.npz"}
    pictures = {"predictions/scene_2_00000.png", "context/scene_2_00000.png"}
    assert written == tables | best | pictures | {"checkpoints/last.ckpt"}
    for drawn in ("per_class.png", "confusion.png"):
        assert min(Image.open(trained.folder / drawn).size) > 300
    metrics = json.loads((trained.folder / "metrics.json").read_text())
    assert metrics["status"] == "finished"
    assert metrics["best"] == {"step": 4, "miou": metrics["miou"]}
    assert metrics.keys() > {"pix_acc", "mean_acc", "iou", "protocol", "split", "steps", "seconds", "seed", "versions"}
    assert (trained.folder / "per_class.csv").read_text().startswith("class,iou,acc,pixels\nfoliage,")
    assert not set("=, []") & set(str(trained.folder.relative_to(trained.folder.parents[1])))


def test_the_final_weights_may_be_the_best(tmp_path):
    """Step 10 is evaluated within the fit although the interval leads past it."""
    run = train(tmp_path, "trainer.val_every_steps=4")
    with (run.folder / "metrics.csv").open() as file:
        evaluated = [row.split(",")[0] for row in file if row.split(",")[-1].strip()]
    assert evaluated == ["step", "4", "8", "10"]
    assert run.metrics["best"]["miou"] >= run.metrics["miou"]


def assert_stopped(here, code, said, expected):
    """The command finished its step, ended with the code of the signal, said how to go on, and its run recorded it."""
    assert code == expected, said
    assert "resume=auto" in said
    assert "Traceback" not in said
    (folder,) = folders(here)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["status"], metrics["steps"]) == ("stopped", 8)


def test_a_terminated_run_says_so(here, warm):
    command = [sys.executable, str(COMMANDS / "train.py"), *SMALL, disturb(7, "SIGTERM")]
    done = subprocess.run(command, env=subprocess_environment(), capture_output=True, text=True, timeout=300)
    assert_stopped(here, done.returncode, done.stderr, 128 + signal.SIGTERM)


def test_an_interrupted_run_says_so(here):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    try:
        code, said = call("train", *SMALL, disturb(7, "SIGINT"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert_stopped(here, code, said, 128 + signal.SIGINT)


def test_a_failed_run_says_so(here):
    code, said = call("train", *SHORT, disturb(1))
    (folder,) = folders(here)
    assert code == 1
    assert f"error: PowerCut: at step 1 (the traceback is in {folder}/train.log)" in said
    assert "Traceback" not in said
    assert "Traceback" in (folder / "train.log").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["status"], metrics["error"]) == ("failed", "PowerCut: at step 1")


def test_an_error_in_a_notebook_is_the_error_itself(tmp_path):
    with pytest.raises(PowerCut) as caught:
        train(tmp_path, disturb(1))
    assert "train.log" in caught.value.__notes__[0]


# mistakes


MISTAKES = {
    "a typo": (["optim.lrr=1"], "unknown option optim.lrr: did you mean optim.lr?"),
    "no such group": (["hed=fcn"], "did you mean head?"),
    "no such option": (["head=nope"], "head=nope: no such option; choose one of"),
    "an option of another choice": (["data=camvid"], "the chosen data does not list it; there are data.root, "),
    "a term for a sum of terms": (["loss=term/affinity"], "loss=term/affinity: this is one term; choose affinity"),
    "no loss": (["~loss"], "loss=null: loss terms needed; choose one of affinity, "),
    "no such term": (["loss/term=[ce,nope]"], "loss/term=nope: no such option; choose one of"),
    "a term that the head does not serve": (["loss=cp"], "FCNHead emits nothing"),
    "a negative rate": (["optim.lr=-1"], "optim.lr=-1"),
    "a rate that is no number": (["optim.lr=fast"], "optim.lr=fast: give a number"),
    "an empty batch": (["data.batch_size=0"], "data.batch_size=0"),
    "a batch that does not divide": (["trainer.devices=2", "data.batch_size=3"], "data.batch_size=3"),
    "too few maps": (["head=label_refinement", "neck=concat"], "reads more maps than the 1 it gets"),
    "parts that do not fit": (
        ["backbone=timm", "backbone.model=vit_tiny_patch16_224", "backbone.output_stride=8"],
        "vit_tiny_patch16_224 cannot give it",
    ),
    "no training images": (["data.train_size=0"], "data.train_size=0: give a whole number, 1 or more"),
    "a negative seed": (["seed=-1"], "seed=-1: give a whole number, 0 or more"),
    "no steps": (["trainer.max_steps=0"], "trainer.max_steps=0: give a whole number, 1 or more"),
    "a name with a space": (["name='my run'"], "name='my run': use letters, digits"),
    "a stride that the backbone has not": (["backbone.output_stride=7"], "backbone.output_stride=7"),
    "an argument that the head has not": (["+head.colour=red"], "colour"),
    "a share above 1": (["schedule.warmup=3"], "schedule.warmup=3"),
    "a switch that is neither on nor off": (["frozen_batch_norm=maybe"], "frozen_batch_norm=maybe: give true or false"),
    "an argument that the trainer has not": (["+trainer.lightning.colour=red"], "keyword argument 'colour'"),
    "float16 on the CPU": (["trainer.precision=16"], "needs a GPU; use trainer.precision=bf16"),
    "a run that is not there": (["resume=nowhere"], "resume=nowhere: there is no checkpoints/last.ckpt"),
    "an unquoted =": (["name=a=b"], """needs two pairs of quotes:  'name="a=b"'"""),
    "an unquoted ,": (["paths.runs=a,b"], """needs two pairs of quotes:  'paths.runs="a,b"'"""),
    "an unquoted [": (["paths.runs=a[b"], """needs two pairs of quotes:  'paths.runs="a[b"'"""),
    "an unquoted ~": (["paths.runs=~a"], """needs two pairs of quotes:  'paths.runs="~a"'"""),
    "an unquoted space": (["name=my", "run"], "cannot read run: write key=value; a value with spaces needs quotes"),
    "no option of a group": (
        ["experiment=null"],
        "experiment=null: an option of the group is needed; to omit the group, write  '~experiment'",
    ),
}


@pytest.mark.parametrize(("arguments", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(arguments, says):
    assert says in refused("train", *SHORT, *arguments)


def test_a_mistake_on_a_real_terminal(here):
    command = [sys.executable, str(COMMANDS / "train.py"), "head=fnc"]
    done = subprocess.run(command, env=subprocess_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: head=fnc: no such option; choose one of ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not os.listdir(here)


@pytest.mark.parametrize("option", ["optim.lr=-1", "head.regions=7"])  # refused by the door, and when it is built
def test_a_refused_run_leaves_no_folder(here, option):
    assert option in refused("train", "head=ocr", *SHORT[1:], option)
    assert not [path for path in here.rglob("*") if path.is_dir() and path.name != "runs"]


CAMVID = [option for option in SHORT if not option.startswith("data.")] + ["data=camvid", "data.batch_size=2"]
CAMVID += ["data.transform.crop_size=[64,64]"]


def camvid(root, *, labels=11, mask_size=(80, 64)):
    """A folder like CamVid's with 4 images of 80x64 per split."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for part in (split, f"{split}annot"):
            (root / part).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng.integers(0, 255, (64, 80, 3), np.uint8)).save(root / split / f"{i}.png")
            mask = rng.integers(0, labels + 1, mask_size[::-1], np.uint8)
            Image.fromarray(mask).save(root / f"{split}annot/{i}.png")
    return root


def test_mistakes_in_the_data_name_the_file(here):
    assert "nowhere/train does not exist. CamVid is expected as" in refused("train", *CAMVID, "data.root=nowhere")
    (here / "empty/train").mkdir(parents=True)
    assert "empty/train holds no images" in refused("train", *CAMVID, "data.root=empty")
    camvid(here / "labels", labels=40)
    assert "are outside 0..10 and not 255" in refused("train", *CAMVID, "data.root=labels")
    camvid(here / "sizes", mask_size=(70, 64))
    said = refused("train", *CAMVID, "data.root=sizes")
    assert "trainannot/0.png has size 70x64 and its image 80x64" in said
    broken = camvid(here / "broken") / "train/2.png"
    broken.write_bytes(broken.read_bytes()[:100])
    assert "cannot read broken/train/2.png" in refused("train", *CAMVID, "data.root=broken")
    (here / "broken/valannot/3.png").unlink()
    broken.unlink()
    (here / "broken/trainannot/2.png").unlink()
    assert "1 files have no mask of the same name" in refused("train", *CAMVID, "data.root=broken")


# evaluating and predicting


def test_mistakes_in_a_checkpoint(here, checkpoint):
    camvid(here / "camvid")
    for command, rest in (("evaluate", []), ("predict", ["input=.", f"output={here}/out"])):
        if command == "predict":
            Image.new("RGB", (80, 80)).save(here / "image.png")
        assert "no such file" in refused(command, "ckpt=nowhere.ckpt", *rest)
        (here / "text.ckpt").write_text("not a checkpoint")
        assert "text.ckpt: cannot be read" in refused(command, "ckpt=text.ckpt", *rest)
        torch.save({"state_dict": {}}, here / "foreign.ckpt")
        assert "not a contextseg checkpoint" in refused(command, "ckpt=foreign.ckpt", *rest)
        contents = torch.load(checkpoint, weights_only=True)
        contents["recipe"]["head"] = {"_target_": "contextseg.heads.ocr.OCRHead"}
        torch.save(contents, here / "other.ckpt")
        assert "weights and recipe do not fit" in refused(command, "ckpt=other.ckpt", *rest)
        assert "ckpt is missing: give ckpt=" in refused(command, *rest)
    said = refused("evaluate", f"ckpt={checkpoint}", "data=camvid", "data.root=camvid")
    assert "was trained for foliage, sand" in said
    for split in ("nope", "train"):
        assert f"split={split}: give one of val, test" in refused("evaluate", f"ckpt={checkpoint}", f"split={split}")
    assert "evaluate has no such group" in refused("evaluate", f"ckpt={checkpoint}", "head=fcn")


def test_evaluating_again_gives_the_same_numbers(here, trained, checkpoint):
    before = {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*")}
    code, said = call("evaluate", f"ckpt={checkpoint}")
    assert code == 0, said
    (folder,) = folders(here)
    assert folder.name.endswith("_evaluate")
    again = json.loads((folder / "metrics.json").read_text())
    assert {name: again[name] for name in ("miou", "pix_acc", "iou")} == {
        name: json.loads((trained.folder / "metrics.json").read_text())[name] for name in ("miou", "pix_acc", "iou")
    }
    after = {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*")}
    assert after == before, "nothing is written into the run that is read"
    assert (folder / "predictions/scene_2_00000.png").is_file()


def test_evaluating_another_split_way_and_size(here, checkpoint):
    other = ["split=test", "eval=slide", "eval.predictor.crop=[64,64]", "data.num_workers=0", "name=other"]
    code, said = call("evaluate", f"ckpt={checkpoint}", *other)
    assert code == 0, said
    (folder,) = folders(here)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["split"], metrics["protocol"], folder.parent.name) == ("test", "slide", "other")
    assert "95 % interval" in said
    assert metrics["interval"]["images"] == 6
    assert (folder / "per_image/test_slide.npz").is_file()
    pixels = np.load(folder / "confusion.npz")["confusion"].sum()
    assert 5 * 80 * 80 < pixels < 6 * 80 * 80, "the 6 test images of the training configuration, without void"


@pytest.mark.parametrize("name", ["with space", "a=b", "a,b", "[a]{b}", "~a", "it's", "ümläut"])
def test_quoted_paths(here, checkpoint, name):
    """'ckpt="..."' in a shell: the outer quotes are the shell's, the inner ones reach the command."""
    folder = here / name
    folder.mkdir()
    (folder / "last.ckpt").write_bytes(checkpoint.read_bytes())
    Image.new("RGB", (90, 80)).save(folder / "one.png")
    code, said = call("predict", f'ckpt="{name}/last.ckpt"', f'input="{name}"', f'output="{name}/out"')
    assert code == 0, said
    assert Image.open(folder / "out/labels/one.png").size == (90, 80)
    assert (folder / "out/overlays/one.png").is_file()


def test_a_sheet_of_samples(here):
    code, _ = call("samples", "count=2", "output=sheet.png")
    assert code == 0
    assert Image.open("sheet.png").size[0] > 256
    assert "count=0: give a whole number, 1 or more" in refused("samples", "count=0")
    assert "split=nope: give one of train, val, test" in refused("samples", "split=nope")
    assert "output=sheet.nope: unknown file extension" in refused("samples", "count=1", "output=sheet.nope")


def test_a_picture_of_attention(here, checkpoint):
    Image.new("RGB", (80, 80)).save("image.png")
    given = (f"ckpt={checkpoint}", "image=image.png")
    code, said = call("attend", *given, "point=[9,7]", "output=new/folder/a.png")
    assert code == 0, said
    assert Image.open("new/folder/a.png").size[0] > 160
    for point in ("5", "[a,b]", "[1.5,2]", "[1,2,3]"):
        assert "give a list of 2" in refused("attend", *given, f"point={point}")


def test_help_lists_the_groups_without_heavy_imports(here):
    command = [sys.executable, "-X", "importtime", str(COMMANDS / "train.py"), "--help"]
    done = subprocess.run(command, env=subprocess_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0
    for line in ("head: ", "backbone: ", "loss: ", "data: ", "experiment: ", "trainer: "):
        assert f"\n{line}" in done.stdout
    for option in ("auto, cpu, ddp, ddp_cpu, gpu", "ocr/cityscapes_r101", "trainer.max_steps: ", "seed: "):
        assert option in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "contextseg" in imported
    assert imported.isdisjoint({"torch", "lightning", "matplotlib"})


@pytest.mark.parametrize("command", TABLE)
def test_help_describes_what_a_plain_command_line_accepts(command):
    """Each setting under "Settings of every" composes without a choice of that group."""
    text = command_help(command)
    cfg = compose(config_name=command)
    for setting in re.findall(r"^  ([a-z_]+\.[a-z_.]+): ", text, re.MULTILINE):
        assert OmegaConf.select(cfg, setting, default="absent") != "absent", setting
    assert not re.search(r"\bterm/|bf16-mixed|more or null", text)


def test_help_names_the_defaults_of_an_evaluation():
    text = command_help("evaluate")
    assert re.findall(r"^  trainer\.(\w+)", text, re.MULTILINE) == ["accelerator", "devices", "precision"]
    assert re.findall(r"^  data\.(\w+)", text, re.MULTILINE) == ["root", "num_workers", "val_size", "test_size"]
    assert "(a whole number, 1 or more; default: as trained)" in text
    assert "backbone.freeze: " in command_help("train")
    assert "eval.batch_size" not in command_help("predict")


# sweeps


def test_a_sweep_leaves_complete_folders_and_a_table(here, warm):
    code, said = call("train", "-m", "head=fcn,ocr", *SHORT[1:], "seed=3")
    assert code == 0, said
    one, two = folders(here / "runs/sweeps")
    assert [one.name, two.name] == ["000_fcn_tiny_s3", "001_ocr_tiny_s3"]
    assert one.parents[2] == here / "runs/sweeps"
    assert folders(here) == [one, two]
    for folder in (one, two):
        assert status(folder) == "finished"
        assert {"last.ckpt", "confusion.npz", "per_class.csv"} <= {path.name for path in folder.rglob("*")}
        assert not set("=, []") & set(str(folder.relative_to(here)))
        assert f"{folder.name} │ finished" in said


@pytest.mark.slow
def test_a_failing_job_does_not_stop_a_sweep(here, warm):
    code, said = call("train", "head.regions=7,null", "-m", "head=ocr", *SHORT[1:])  # overrides on both sides of -m
    assert code == 1
    assert "error: 000_ocr_tiny_s0: " in said
    assert "head.regions=7" in said
    assert "Traceback" not in said
    one, two = sorted(path.parent for path in here.rglob("metrics.json"))
    assert (status(one), status(two)) == ("failed", "finished")
    assert "ConfigError" in (one / "train.log").read_text()


def test_no_job_starts_if_the_options_of_one_are_wrong(here):
    assert "optim.lr=-1: give a number" in refused("train", "optim.lr=0.001,-1", "-m", *SHORT)
    assert not folders(here)


@pytest.mark.slow
def test_a_sweep_in_processes_of_its_own_has_one_folder_and_a_table(here):
    pytest.importorskip("submitit")
    command = [sys.executable, str(COMMANDS / "train.py"), "-m", "hydra/launcher=submitit_local", "head=fcn,ocr"]
    done = subprocess.run([*command, *SHORT[1:]], env=subprocess_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [folder.name for folder in folders(here / "runs/sweeps")] == ["000_fcn_tiny_s0", "001_ocr_tiny_s0"]
    assert "001_ocr_tiny_s0" in done.stderr


def test_what_a_sweep_cannot_do_is_refused(here):
    assert "use resume=auto" in refused("train", "-m", "seed=0,1", *SHORT, "resume=nowhere")
    assert "hydra.launcher.jobs=0: give" in refused("train", "-m", "seed=0,1", *SHORT, "hydra.launcher.jobs=0")
    code, said = call("evaluate", "-m", "ckpt=nope.ckpt", "split=val,test")
    assert code == 2
    assert re.fullmatch(r"error: -m is for train: run .*evaluate.* once for each value\n", said)
    assert not folders(here)


def test_runs_of_one_second_have_folders_of_their_own(here):
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: run_folder.new_folder(here / "name"), range(50)))
    assert len(set(made)) == 50
    assert all(path.is_dir() for path in made)


def test_a_process_started_by_torchrun_is_told_how(here, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match="start one process without torchrun"):
        opening.open_folder(here)


def test_the_configuration_is_stored_resolved(trained):
    stored = run_folder.RunFolder(trained.folder).read_config()
    assert "${" not in (trained.folder / "config.yaml").read_text()
    assert stored["choices"] == {
        "data": "context_scenes",
        "backbone": "tiny",
        "head": "fcn",
        "loss": "ce",
        "eval": "ss",
    }
    assert stored["optim"] == compose(SMALL).optim


@pytest.mark.parametrize(("given", "then"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(monkeypatch, given, then):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    monkeypatch.setattr(entry, "run_command", lambda name, words: 0 if os.environ["OMP_WAIT_POLICY"] == then else 1)
    with pytest.raises(SystemExit, match=r"^0$"):
        __main__.main("train", [])


@pytest.mark.parametrize("option", ["paths.runs=file/runs", "paths.runs=file"])
@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_place_that_cannot_be_written_is_refused_before_anything_runs(tmp_path, monkeypatch, option, sweep):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    code, said = call("train", *SMALL, *sweep, option)
    assert code == 2
    assert said.count("\n") == 1, said
    assert "file" in said
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "a/b"), "a/b: No space left on device; free some space, or give"),
        (OSError(28, "No space left on device"), "the disk: No space left on device; free some space, or give"),
        (PermissionError(13, "Permission denied", "a"), "a: Permission denied; give another place"),
    ],
)
def test_an_error_of_the_disk_is_one_line(error, said):
    message, code = explain(error, "train")
    assert message.startswith(said)
    assert code == 2
    error.add_note(f"{run_folder.LOGGED} train.log")
    message, code = explain(error, "train")
    assert message.endswith(f"({run_folder.LOGGED} train.log)")
    assert code == 1
