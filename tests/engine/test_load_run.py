"""What is wrong in the `config.yaml` of a run folder is a refusal that names the file."""

import shutil

import pytest
import yaml

from contextseg import load_run
from contextseg.errors import ConfigError


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": None}, "data=null"),
        ({"data": {"_target_": "ContextScenes", "size": "a"}}, "data.size=a: give a whole number"),
        ({"seed": "1"}, "seed=1: give"),
        ({"trainer": 7}, "trainer=7: give"),
        ({"eval": {"batch_size": 0}}, "eval.batch_size=0: give"),
    ],
)
def test_a_wrong_configuration_is_refused_by_file(trained, tmp_path, change, says):
    shutil.copytree(trained.folder / "checkpoints", tmp_path / "checkpoints")
    config = yaml.safe_load((trained.folder / "config.yaml").read_text()) | change
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError) as refusal:
        load_run(tmp_path)
    assert str(refusal.value).startswith(f"{tmp_path / 'config.yaml'}: ")
    assert says in str(refusal.value)


def test_a_configuration_that_was_cut_is_refused_in_words(trained, tmp_path):
    folder = shutil.copytree(trained.folder, tmp_path / "cut")
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config[: config.index("\ntrainer:") + 1])
    with pytest.raises(ConfigError, match=r"config\.yaml: lacks trainer.*; restore the whole file"):
        load_run(folder)
