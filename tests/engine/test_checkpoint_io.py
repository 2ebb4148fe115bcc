"""Checkpoints are written beside their name: no other disk is needed, and an error leaves the old file."""

import errno
import tempfile

import pytest
import torch

from contextseg.engine.checkpoint_io import CheckpointFile


def test_the_temporary_folder_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    CheckpointFile().save_checkpoint({"a": torch.ones(3)}, tmp_path / "run/last.ckpt")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["last.ckpt"]
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["a"].tolist() == [1, 1, 1]


def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path, monkeypatch):
    file = tmp_path / "last.ckpt"
    CheckpointFile().save_checkpoint({"step": 1}, file)

    def full(contents, file):
        """As torch does it: its own error hides that of the disk."""
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        CheckpointFile().save_checkpoint({"step": 2}, file)
    assert caught.value.filename == str(file)
    assert list(tmp_path.iterdir()) == [file]
    assert torch.load(file, weights_only=True) == {"step": 1}
