"""Whole commands in processes of their own: exit code 0, or one line `error: ...` and 2, whatever they are given."""

import random
import subprocess
import sys
from pathlib import Path

from harness import COMMANDS as SCRIPTS
from harness import subprocess_environment
from warm_python import WarmPopen

from contextseg.commands.table import COMMANDS
from contextseg.errors import ConfigError
from fuzzing import archives, checkpoints, options, pictures, records
from fuzzing.case import Case, Fault, damaged
from fuzzing.world import World

LIMIT = 120  # seconds that a command may take
TRAIN = (
    *("head=fcn", "width=16", "data.size=80", "data.train_size=8", "data.val_size=2", "data.batch_size=2"),
    *("trainer=cpu", "trainer.precision=32", "trainer.max_steps=1", "callbacks.pictures.count=0"),
)
SMALL = {
    "train": TRAIN,
    "evaluate": ("data.val_size=2", "data.num_workers=0"),
    "complexity": ("backbone=tiny", "size=[32,32]"),
    "samples": ("data.train_size=4", "count=2"),
    "check_data": ("data.train_size=4", "data.val_size=2", "data.test_size=2", "workers=0"),
    "report": ("least_steps=0", "resamples=100", "tables=ctnet_t5"),
    "prepare": ("workers=0",),
    "compare": ("images=2", "device=cpu"),
    "faithfulness": ("images=1", "pixels=1", "steps=2", "device=cpu"),
    "attention_statistics": ("images=1", "device=cpu"),
    "instances": ("trunk=resnet18", "train_size=2", "val_size=1", "batch_size=2", "max_steps=1", "accelerator=cpu"),
}
LONG = (
    "size",
    "count",
    "steps",
    "workers",
    "devices",
    "serve",
    "batch",
    "resamples",
    "costs",
    "port",
    "width",
    "sweep",
)
FAR = ("=/", "..", "webcam", "9999", "4294967296", "e300")  # values that reach outside, or take for ever


def draw(rng: random.Random, world: World) -> Case:
    """Draw a command with odd words, or with a damaged file."""
    how = rng.choice(("words", "words", "file", "file", "file"))
    if how == "file":
        command, words = rng.choice(FILES)(rng, world)
    else:
        world.empty()
        command = rng.choice(list(COMMANDS))
        words = [*world.needed(command), *SMALL.get(command, ())]
        words += [
            one for one, name, _ in (options.word(rng, command) for _ in range(2)) if harmless(command, one, name)
        ]
        if rng.random() < 0.1:
            words.append(rng.choice(("-m", "--multirun", "--cfg", "--nope", "-h", "--resolve", "--config-dir", "job")))
    cold = rng.random() < 0.1
    start = subprocess.Popen if cold else WarmPopen
    return Case(f"{'cold ' * cold}{command} {words}", lambda: ask(command, words, world.scratch, start))


def harmless(command: str, word: str, name: str) -> bool:
    """Tell whether a word keeps a command short and in its folder."""
    big = any(part in name.lower() for part in LONG) or any(part in word for part in FAR) or "\0" in word
    chosen = name in options.groups_of(command) and "nope" not in word
    return not big and not chosen and not word.startswith("hydra")


def with_checkpoint(rng: random.Random, world: World) -> tuple[str, list[str]]:
    checkpoints.draw(rng, world)
    command = rng.choice(("predict", "attend", "evaluate", "submit"))
    words = [word for word in world.needed(command) if not word.startswith("ckpt=")]
    return command, [*words, *SMALL.get(command, ()), f"ckpt={world.scratch}/one.ckpt"]


def with_image(rng: random.Random, world: World) -> tuple[str, list[str]]:
    case = pictures.draw_image(rng, world)
    command = rng.choice(("predict", "attend"))
    option = {"predict": "input", "attend": "image"}[command]
    words = [word for word in world.needed(command) if not word.startswith(f"{option}=")]
    return command, [*words, f"{option}={case.named[0]}"]


def with_mask(rng: random.Random, world: World) -> tuple[str, list[str]]:
    case = pictures.draw_mask(rng, world)
    return "attend", [*world.needed("attend"), f"mask={case.named[0]}"]


def with_folder(rng: random.Random, world: World) -> tuple[str, list[str]]:
    """Check or train on a folder with one damaged file."""
    world.image  # noqa: B018, made when first asked for
    root = world.empty() / "data"
    for file in [*world.folder.glob("images/*/*"), *world.folder.glob("masks/*/*"), world.folder / "classes.yaml"]:
        place = root / file.relative_to(world.folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    broken = rng.choice(sorted(file for file in root.rglob("*") if file.is_file()))
    broken.write_bytes(damaged(rng, broken.read_bytes())[1])
    command = rng.choice(("check_data", "train", "samples"))
    small = [word for word in SMALL[command] if "data." not in word or ("batch" in word and command == "train")]
    crop = ["data.transform.crop_size=[32,32]"] if command == "train" else []
    return command, [*world.needed(command), *small, "data=folder", f"data.root={root}", *crop]


def with_runs(rng: random.Random, world: World) -> tuple[str, list[str]]:
    records.draw_run(rng, world)
    return "report", [f"runs={world.scratch}", f"output={world.scratch}/report", *SMALL["report"]]


def with_archive(rng: random.Random, world: World) -> tuple[str, list[str]]:
    archives.draw_set(rng, world)
    name = next((world.folder / "archives").iterdir()).name.partition("_")[0]
    return "prepare", [f"data={name}", f"source={world.scratch}/archives", f"root={world.scratch}/root", "workers=0"]


def with_weights(rng: random.Random, world: World) -> tuple[str, list[str]]:
    """Convert what is no released file."""
    checkpoints.draw(rng, world)
    source = rng.choice(("openseg", "hrnet", "ccnet", "agln", "contextprior", "mmseg", "ctnet"))
    return "convert", [f"from={source}", f"input={world.scratch}/one.ckpt", f"output={world.scratch}/out.ckpt"]


FILES = (with_checkpoint, with_image, with_mask, with_folder, with_runs, with_archive, with_weights)


def ask(command: str, words: list[str], folder: Path, start: type[subprocess.Popen]) -> None:
    """Run the command, from the beginning or as a fork; look at its exit code and at what it says."""
    below = folder / "a" / "b"
    below.mkdir(parents=True, exist_ok=True)
    env = subprocess_environment() | {"CUDA_VISIBLE_DEVICES": ""}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    line = [sys.executable, str(SCRIPTS / f"{command}.py"), *words]
    process = start(line, cwd=below, env=env, text=True, errors="replace", start_new_session=True, **pipes)
    try:
        out, said = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Fault(f"hang: no end within {LIMIT} s") from None
    check(command, process.returncode, out, said)


def check(command: str, code: int, out: str, said: str) -> None:
    """Raise `ConfigError` for a refusal, `Fault` for a traceback, a wrong exit code or an error of several lines."""
    if "Traceback (most recent call last)" in out + said:
        raise Fault(f"traceback: exit code {code}: {(out + said).strip().splitlines()[-1][:300]}")
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("error: ", "usage: "))]
    found = code == 1 and (command == "check_data" or errors)  # it did its work, and found mistakes
    if code != 0 and not found and (code != 2 or not errors):
        raise Fault(f"exit code {code}: {' / '.join(lines)[-300:]}")
    if code:
        raise ConfigError(errors[-1] if errors else "there are errors in the data")
