"""The door of `train`: a setting of the wrong type or out of range is refused, by name, before anything is built."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from contextseg import parts
from contextseg.commands.compose import compose
from contextseg.commands.train.options import checked
from contextseg.conf import CONF
from contextseg.errors import ConfigError

GENERATED = ("experiment=none", "head=ocr", "loss=ohem+aux", "optim=sgd", "schedule=poly", "eval=ms")
FILES = (*GENERATED, "data=camvid", "data.root=camvid", "eval=slide")
REFUSED = {  # option and value -> what to give instead
    "data.train_size=1.5": "a whole number, 1 or more",
    "data.train_size=0": "a whole number, 1 or more",
    "data.num_workers=1.5": "a whole number, 0 or more",
    "data.strip=[24]": "a list of 2, [a,b], each a whole number, 1 or more",
    "data.flip=[true]": "a list of 2, [a,b], each true or false",
    "data.noise=-1": "a number, 0 or more",
    "data.furniture_share=1": "a number, above 0, below 1",
    "label_stride=1000": "a whole number, 1 or more, at most 32",
    "class_weights=[1,inf,1]": "each a number, above 0",
    "class_weights=[1,-1,1]": "each a number, above 0",
    "class_weights=[0,0]": "each a number, above 0",
    "loss.term.ohem.min_kept=-5": "a whole number, 0 or more",
    "loss.term.ohem.threshold=0": "a number, above 0, at most 1",
    "loss.term.aux.weight=-0.4": "a number, 0 or more",
    "loss.term.aux.reads=embeding": "one of logits, aux_logits",
    "head.channels=abc": "a whole number, 1 or more",
    "head.channels=true": "a whole number, 1 or more",
    "head.regions=1.5": "a whole number, 1 or more, or null",
    "head.relation=foo": "one of ocr, double_attention, acf",
    "head.region_source=0": "at most -1",
    "head.dropout=1.5": "a number, 0 or more, at most 1",
    "head.aspp_rates=12": "a list [a,b,...], each a whole number, 1 or more",
    "trainer.precision=64": "give one of auto, 32, bf16, 16",
    "backbone.output_stride=7": "one of 8, 16, 32",
    "backbone.weights=imagenet": "give none",
    "optim.lr=abc": "a number, above 0",
    "optim.lr=-1": "a number, above 0",
    "optim.lr=inf": "a number, above 0",
    "optim.lr=nan": "a number, above 0",
    "optim.momentum=2": "a number, 0 or more, below 1",
    "schedule.power=-1": "a number, 0 or more",
    "eval.batch_size=1.5": "a whole number, 1 or more",
    "eval.predictor.scales=foo": "a list [a,b,...], each a number, above 0",
    "eval.predictor.scales=[]": "not empty",
    "eval.predictor.scores=sofmax": "one of softmax, exp, logits",
    "callbacks.pictures.count=1.5": "a whole number, 0 or more",
    "callbacks.context.point=[1]": "a list of 2, [a,b], each a whole number, 0 or more, or null",
    "callbacks.finite_loss.every_steps=0": "a whole number, 1 or more",
}
REFUSED_WITH_FILES = {
    "data.layout=voc": "one of segnet, official",
    "data.transform.crop_size=abc": "a list of 2, [a,b], each a whole number, 1 or more",
    "data.transform.crop_size=[96]": "a list of 2, [a,b], each a whole number, 1 or more",
    "data.transform.scale=[2]": "a list of 2, [a,b], each a number, above 0",
    "data.transform.hue=0.6": "a number, 0 or more, at most 0.5",
    "data.transform.fill=[0,0,256]": "a list of 3, [a,b,c], each a whole number, 0 or more, at most 255",
    "eval.predictor.crop=[96]": "a list of 2, [a,b], each a whole number, 1 or more",
    "eval.predictor.pad=foo": "true or false or grid",
}


@pytest.fixture(scope="module")
def composed():
    """Composing takes longest: once for each set of groups."""
    return {overrides: compose(overrides) for overrides in (GENERATED, FILES)}


@pytest.mark.parametrize(
    ("overrides", "setting"), [(GENERATED, one) for one in REFUSED] + [(FILES, one) for one in REFUSED_WITH_FILES]
)
def test_a_wrong_setting_is_refused(composed, overrides, setting):
    cfg = composed[overrides].copy()
    given = OverridesParser.create().parse_override(setting)
    OmegaConf.update(cfg, given.key_or_group, given.value())
    with pytest.raises(ConfigError) as refusal:
        checked(cfg)
    said = str(refusal.value)
    assert said.startswith(f"{given.key_or_group}={setting.partition('=')[2]}")
    assert ": give " in said
    assert (REFUSED | REFUSED_WITH_FILES)[setting] in said


def test_the_right_settings_pass(composed):
    for cfg in composed.values():
        checked(cfg)


def test_every_setting_that_configuration_names_has_a_type():
    """An annotation that the door cannot read, a name of its own file say, would let everything pass."""
    targets = {
        name for file in CONF.rglob("*.yaml") for name in re.findall(r"_target_: (\w+)$", file.read_text(), re.M)
    }
    assert {"OCRHead", "CamVid", "sgd", "Distractors"} <= targets
    built_by_code = {"transform", "inner", "factors", "model", "optimizer", "words"}
    for target in targets:
        for name, setting in parts.declared(target).settings.items():
            known = "Any" not in str(setting.annotation)
            assert known or name in built_by_code, f"{target}.{name}: {setting.annotation}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("+loss.class_weights=[1,2]", r"loss\.class_weights=\[1, 2\]: nothing reads it; give class_weights="),
        ("+loss.foo=1", r"loss\.foo=1: nothing reads it; give loss\.term\.NAME\.foo="),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        checked(compose([*GENERATED, given]))


@pytest.mark.parametrize("words", [("head=fcn", "loss=ccl"), ("head=ctnet", "loss=cp+aux")])
def test_what_a_loss_tells_the_head_is_none(words):
    checked(compose(words))
