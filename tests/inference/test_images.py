"""What `model.predict` and `contextseg.predict` take as an image, and what they refuse in words."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import contextseg
from contextseg import create_model
from contextseg import recipe as recipes
from contextseg.classes import class_set
from contextseg.commands.compose import compose
from contextseg.commands.train.options import checked
from contextseg.engine import build
from contextseg.errors import ConfigError


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("fcn", backbone="tiny", num_classes=3, channels=8)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def test_every_kind_of_image_gives_the_same_labels(model, pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    planes = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = model.predict(planes)
    assert (expected.dtype, expected.shape) == (torch.uint8, (40, 56))
    for image in (pixels, Image.fromarray(pixels), tmp_path / "photo.png", str(tmp_path / "photo.png")):
        assert torch.equal(model.predict(image), expected)
        assert torch.equal(contextseg.predict(model, image), expected)


def test_batches(model, pixels):
    one, other = pixels, pixels[:, ::-1].copy()
    expected = torch.stack([model.predict(one), model.predict(other)])
    assert torch.equal(model.predict(np.stack([one, other])), expected)
    assert torch.equal(model.predict(torch.from_numpy(np.stack([one, other])).permute(0, 3, 1, 2)), expected)
    small = pixels[:33, :47]
    first, second = model.predict([one, small])  # of two sizes: a list
    assert torch.equal(first, expected[0])
    assert torch.equal(second, model.predict(small))
    assert model.predict([]) == []


def test_probabilities_on_request(model, pixels):
    found = model.predict(pixels, probabilities=True)
    assert (found.dtype, found.shape) == (torch.float32, (3, 40, 56))
    torch.testing.assert_close(found.sum(0), torch.ones(40, 56))
    assert torch.equal(found.argmax(0).to(torch.uint8), model.predict(pixels))


def test_the_mode_of_the_network_is_left_alone(model, pixels):
    model.train()
    model.predict(pixels)
    assert model.training
    assert model.backbone.stem.training
    model.eval()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.rand(3, 8, 8), r"float32 pixels.* uint8, 0 to 255.*\* 255"),
        (np.zeros((8, 8, 3)), "float64 pixels"),
        (np.zeros((8, 8, 3), np.uint16), "uint16 pixels.*/ 257"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64 pixels"),
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\).*\(H, W, 3\)"),
        (np.zeros((3, 8, 9), np.uint8), r"shape \(3, 8, 9\)"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"shape \(8, 8, 3\).*\(3, H, W\)"),
        (7, "takes no int"),
        ("/nowhere/photo.png", "cannot read /nowhere/photo.png"),
    ],
)
def test_anything_else_is_refused_in_words(model, image, words):
    with pytest.raises(ConfigError, match=words):
        model.predict(image)


def test_more_classes_than_labels_hold_are_refused():
    for number in (0, 256):
        with pytest.raises(ConfigError, match=f"num_classes={number}: give 1 to 255"):
            create_model("fcn", backbone="tiny", num_classes=number)


def test_a_checkpoint_knows_the_range_of_its_training():
    classes = class_set("context_scenes")
    options, _ = checked(compose(["data=folder", "data.value_range=[200,3500]", "head=fcn", "width=8"]))
    recipe = build.recipe(options, classes)
    assert recipes.network(recipe).value_range == (200, 3500)
    options, _ = checked(compose(["data=folder", "head=fcn", "width=8"]))
    recipe = build.recipe(options, classes)
    assert "value_range" not in recipe
    assert recipes.network(recipe).value_range is None


@pytest.mark.slow  # tests/test_layering.py looks at our imports; this one at those of the packages too
def test_the_library_needs_neither_hydra_nor_lightning(tmp_path):
    code = (
        "import sys, contextseg, torch\n"
        "assert {'create_model', 'load_checkpoint', 'load_run', 'predict'} <= set(dir(contextseg))\n"
        "model = contextseg.create_model('ocr', backbone='tiny', num_classes=3, channels=8)\n"
        "contextseg.predict(model, torch.zeros(3, 32, 32, dtype=torch.uint8))\n"
        "import contextseg.checkpoint, contextseg.explain\n"
        "print(sorted({'hydra', 'omegaconf', 'lightning'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
