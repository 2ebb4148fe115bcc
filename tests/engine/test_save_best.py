"""`best` is one file, and runs of earlier versions go on with theirs."""

from lightning.pytorch.callbacks import ModelCheckpoint

from contextseg.engine.callbacks.save_best import SaveBest


def test_the_state_is_that_of_earlier_runs(tmp_path):
    assert SaveBest(str(tmp_path)).state_key == ModelCheckpoint(monitor="miou", mode="max").state_key


def test_only_the_best_stay(tmp_path):
    best, second, lost = (tmp_path / f"best-00000{step}-50.00.ckpt" for step in (3, 6, 9))
    for file in (best, second, lost, tmp_path / "last.ckpt"):
        file.touch()
    callback = SaveBest(str(tmp_path))
    callback.remove_others()
    assert lost.exists(), "nothing has been evaluated"
    callback.best_model_path, callback.best_k_models = str(best), {str(second): 50.0}
    callback.remove_others()
    assert {file.name for file in tmp_path.iterdir()} == {best.name, second.name, "last.ckpt"}


def test_a_run_that_was_moved_keeps_its_best(tmp_path):
    (tmp_path / "new").mkdir()
    moved = tmp_path / "new/best-000003-50.00.ckpt"
    moved.touch()
    callback = SaveBest(str(moved.parent))
    callback.best_model_path = str(tmp_path / "old" / moved.name)
    callback.remove_others()
    assert moved.exists()
