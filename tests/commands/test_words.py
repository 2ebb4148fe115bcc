"""Words at which Hydra breaks, or which it takes and which change nothing, are refused in a line that names them."""

import pytest

from contextseg.commands.compose import compose, options
from contextseg.commands.explain_error import explain
from contextseg.errors import ConfigError

WRONG = {  # a word -> what the refusal says
    "data=1": "data=1: give the name of an option of the group",
    "+data=inf": "data=inf: give the name",
    "data=[1,null]": "data=[1,null]: give the name",
    "data=null": "data=null: an option of the group is needed; to omit the group, write  '~data'",
    "~data=7": "~data=7: to omit the group, write  '~data'",
    "=true": "cannot read '=true': write key=value",
    "~": "cannot read '~': write key=value",
    "+choices.data=ade20k": "choices are filled in",
    "data={}": "data={}: an empty mapping changes nothing",
    "splits.a=1": "cannot read splits.a=1: it sets nothing that there is",
    "output=${nope}": "output: Interpolation key 'nope' not found",
    "output=${oc.env:NOPE_NO_SUCH}": "output: KeyError raised",
    "data=${.}": "cannot read data=${.}",
    "data=..": "data=..: no such option",
    "data=../debug": "data=../debug: no such option",
    "data.size.a.b=1": "data.size.a.b",
    "--resolve": "--resolve: goes with --cfg job",
    "splits=a\nb": "cannot read splits=a b",
}


def refusal(command, *words):
    """The line of a refusal, as a command prints it."""
    cfg = None
    try:
        cfg = compose(words, command)
        options(words, command)
    except Exception as error:
        said, code = explain(error, command, words if cfg is None else ())
        assert code == 2
        return said
    raise AssertionError(f"{words} are taken")


@pytest.mark.parametrize("word", WRONG)
def test_a_wrong_word_is_refused_by_name(word):
    said = refusal("check_data", "splits=[train]", word)
    assert WRONG[word] in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "word", "says"),
    [
        ("predict", "~ckpt", "ckpt is missing"),
        ("evaluate", "ckpt=null", "ckpt is missing"),
        ("features", "~cache", "cache=features: no such folder"),
        ("prepare", "~root", "root=null: give the folder"),
        ("predict", "~eval", "eval=null: evaluation protocol; not that of the training needed; choose one of"),
        ("train", "~trainer", "'trainer.log_every_steps' not found"),
        ("train", "~callbacks", "callbacks=null: callbacks needed; choose one of"),
        ("samples", "~data", "data=null: data set needed; choose one of"),
        ("train", "rows=${nope}", "rows: Interpolation key"),
        ("attend", "image=/", "cannot read image=/: it is a folder"),
    ],
)
def test_what_is_left_out_is_its_default_or_missing(command, word, says, tmp_path):
    (tmp_path / "a.ckpt").touch()
    needed = {
        "predict": (f"ckpt={tmp_path}/a.ckpt", f"input={tmp_path}", f"output={tmp_path}"),
        "attend": (f"ckpt={tmp_path}/a.ckpt", "point=[1,1]"),
        "prepare": ("data=camvid", f"source={tmp_path}", f"root={tmp_path}"),
    }
    assert says in refusal(command, *needed.get(command, ()), word)


def test_loggers_may_be_left_out():
    options(["~logger"])


def test_an_error_that_no_word_causes_is_no_refusal():
    assert explain(ValueError("a bug"), "train", ["seed=1"]) == ("", 1)


def test_nothing_else_is_refused():
    with pytest.raises(ConfigError, match="steps=1"):
        options(["runs=.", "steps=1", "~learnt.iou_scene"], "report")
