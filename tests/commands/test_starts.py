"""What a start costs: nothing is imported before it is needed. `benchmarks/starts.py` measures it."""

import gc
import subprocess
import sys

import pytest
from harness import subprocess_environment

from contextseg.commands.importing import named, uncollected

SCRIPT = """
import sys
from contextseg.commands.__main__ import main
try:
    main("train", {words})
finally:
    print("imported", *sorted({unwanted} & sys.modules.keys()))
"""
UNUSED = {  # by a training without W&B, TensorBoard, torch.compile, a packaged backbone, SLURM and a notebook
    "wandb",
    "tensorboard",
    "timm",
    "submitit",
    "pycocotools",
    "IPython",
    "ipywidgets",
    "starlette",
    "uvicorn",
    "pandas",
    "contextseg.instances",
    "torch._inductor.compile_fx",
}


def imported(words: list[str], unwanted: set[str], tmp_path) -> list[str]:
    """Those of `unwanted` that `train <words>` imports."""
    command = [sys.executable, "-c", SCRIPT.format(words=words, unwanted=unwanted)]
    done = subprocess.run(command, cwd=tmp_path, env=subprocess_environment(), capture_output=True, text=True)
    return done.stdout.splitlines()[-1].split()[1:]


def test_help_needs_neither_torch_nor_hydra(tmp_path):
    heavy = {"torch", "numpy", "hydra", "omegaconf", "lightning", "rich", "yaml"}
    assert imported(["--help"], heavy, tmp_path) == []


@pytest.mark.slow  # imports Lightning in a process of its own
def test_a_training_imports_nothing_that_it_does_not_use(tmp_path):
    small = ["debug=fast", "data.train_size=8", "data.val_size=2", "data.size=96", "trainer=cpu", "width=16"]
    assert imported([*small, "trainer.max_steps=1", "callbacks.pictures.count=0"], UNUSED, tmp_path) == []
    assert list(tmp_path.glob("runs/*/*/checkpoints/last.ckpt"))


def test_the_collector_rests_while_something_is_imported(monkeypatch):
    def look(name):
        assert not gc.isenabled()
        return pytest

    monkeypatch.setattr("contextseg.commands.importing.import_module", look)
    assert gc.isenabled()
    assert named("any:mark") is pytest.mark
    assert gc.isenabled()
    with pytest.raises(AttributeError):
        named("any:nothing")
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
