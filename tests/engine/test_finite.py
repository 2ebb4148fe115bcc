"""A run whose numbers stop being finite fails, and leaves the last good checkpoint."""

import json

import pytest
import torch
from harness import SMALL, call, disturb, folders, last_checkpoint, train
from selected import slow

from contextseg.engine.finite import NonFinite, refuse_non_finite
from contextseg.errors import ConfigError

POISON = "+callbacks.poison={_target_:harness.Poison,step:%d}"


def test_every_kind_of_tensor_is_looked_at():
    good = {"count": torch.tensor(3), "weight": torch.ones(2, 2), "half": torch.full((3,), 6e4, dtype=torch.float16)}
    good |= {"large": torch.full((2,), 3e38), "none": torch.empty(0)}
    refuse_non_finite(good, 1)
    refuse_non_finite({}, 1)
    for value in (torch.nan, torch.inf, -torch.inf):
        bad = good | {"bias": torch.tensor([0, value]), "mean": torch.tensor(value, dtype=torch.bfloat16)}
        with pytest.raises(NonFinite, match=r"2 of 6 tensors are not finite at step 7, first bias; .* lower optim\.lr"):
            refuse_non_finite(bad, 7)


@pytest.mark.parametrize(
    ("settings", "good"),
    [
        (["trainer.max_steps=9", "trainer.save_every_steps=3", POISON % 6], 6),
        (["trainer.max_steps=9", "trainer.save_every_steps=3", POISON % 7], 6),  # no save before the end
        slow((["trainer.max_steps=9", "trainer.save_every_steps=5", "trainer.val_every_steps=7", POISON % 6], 5)),
        slow((["trainer.max_steps=9", POISON % 8, "trainer.save_every_steps=4", "trainer.max_device_batch=2"], 8)),
    ],
    ids=["at a save", "at the end", "at an evaluation", "two batches per step"],
)
def test_the_last_good_checkpoint_stays(tmp_path, settings, good):
    """The loss is looked at too seldom to notice."""
    code, said = call("train", *SMALL, f"paths.runs={tmp_path}", "callbacks.finite_loss.every_steps=100", *settings)
    assert code == 1
    assert "tensors are not finite at step" in " ".join(said.split())
    (folder,) = folders(tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["status"] == "failed"
    assert metrics["error"].startswith("NonFinite: ")
    saved = last_checkpoint(folder)
    assert saved["global_step"] == good
    for file in (folder / "checkpoints").iterdir():
        assert all(value.isfinite().all() for value in torch.load(file, weights_only=True)["state_dict"].values())


def test_a_signal_saves_nothing_that_is_not_finite(tmp_path):
    """The run failed, whatever else happened at that step."""
    with pytest.raises(NonFinite):
        train(tmp_path, POISON % 6, disturb(6, "SIGUSR1"))
    (folder,) = folders(tmp_path)
    assert last_checkpoint(folder)["global_step"] == 5
    assert json.loads((folder / "metrics.json").read_text())["status"] == "failed"


def test_a_wild_learning_rate_fails(tmp_path):
    with pytest.raises(NonFinite):
        train(tmp_path, "trainer.max_steps=9", "optim=sgd", "optim.lr=1e30", "schedule=constant")
    assert not list(tmp_path.rglob("*.ckpt"))
    with pytest.raises(ConfigError, match=r"optim\.lr=inf: give a number, above 0"):
        train(tmp_path, "optim.lr=inf")


def test_the_state_of_the_optimizer_is_looked_at(tmp_path, trained):
    """By its names, which say what went wrong first: a gradient, then a weight."""
    module = trained.module
    state = {0: {"exp_avg": torch.tensor([torch.nan]), "step": torch.tensor(1.0)}}
    checkpoint = {"global_step": 4, "state_dict": {}, "optimizer_states": [{"state": state}]}
    first = module._optimized(module.trainer.optimizers[0])[0]
    with pytest.raises(NonFinite, match=f"1 of 2 .* first exp_avg of {first};"):
        module.on_save_checkpoint(checkpoint)
