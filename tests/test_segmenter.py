"""The network around a head: labels of any image size, an auxiliary head for training only, oracles."""

import inspect

import pytest
import torch
from torch import nn

from contextseg import create_model
from contextseg.contract import SegOutput
from contextseg.layers.resize import resize
from contextseg.recipe import head_classes
from contextseg.segmenter import Segmenter

HEADS = head_classes()
K = 12


def settings(name, size):
    """Constructor settings of a small head for images of `size`."""
    known = inspect.signature(HEADS[name]).parameters
    wanted = {"channels": 16, "crop_size": size}
    return {key: value for key, value in wanted.items() if key in known}


def network(name, size=(64, 64)):
    """Tiny backbone, the head's neck, the head."""
    return create_model(name, backbone="tiny", num_classes=K, **settings(name, size))


def images(batch=2, size=(64, 64)):
    return torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8)


def test_every_head_labels_an_odd_image_unless_it_is_an_oracle():
    size = (65, 97)
    for name, kind in HEADS.items():
        model, (image,) = network(name, size).eval(), images(1, size)
        if kind.needs_mask:
            with pytest.raises(ValueError, match="needs the ground truth"):
                model.predict(image)
        else:
            assert model.predict(image).shape == size, name


def test_the_auxiliary_head_is_for_training_only():
    model = create_model("fcn", backbone="tiny", num_classes=K, aux_head=True, channels=16).eval()
    image = images()
    output = model(image)
    assert output.extras["aux_logits"].shape == (2, K, 16, 16)  # the last map but one
    assert torch.equal(model.logits(image), output.logits)
    calls = []
    model.aux_head.register_forward_hook(lambda *_: calls.append(1))
    model.logits(image)
    model.predict(image)
    assert not calls


def test_predict_gives_labels_at_image_size():
    model, image = network("ocr").eval(), images(2, (65, 97))
    labels = model.predict(image)
    assert (labels.dtype, labels.shape) == (torch.uint8, (2, 65, 97))
    assert torch.equal(labels, resize(model(image).logits, (65, 97)).argmax(1))
    assert torch.equal(model.predict(image[1]), labels[1])
    assert not labels.requires_grad


def test_predict_puts_every_module_back_into_its_mode():
    model = network("ocr").train()
    model.backbone.stem[1].eval()  # a frozen batch norm
    before = {key: module.training for key, module in model.named_modules()}
    statistics = model.backbone.stages[0].shortcut[1].running_mean.clone()
    model.predict(images())
    assert {key: module.training for key, module in model.named_modules()} == before
    assert torch.equal(model.backbone.stages[0].shortcut[1].running_mean, statistics)


class Oracle(nn.Module):
    needs_mask, emits, window, frames = True, frozenset(), None, 1

    def forward(self, features, mask):
        return SegOutput(nn.functional.one_hot(mask.long() % K, K).movedim(-1, 1).float(), {})


def test_an_oracle_gets_the_mask_and_cannot_predict():
    plain = network("fcn")
    model, mask = Segmenter(plain.backbone, plain.neck, Oracle()).train(), torch.randint(0, K, (2, 64, 64))
    assert torch.equal(model(images(), mask).logits.argmax(1), mask)
    assert torch.equal(model.logits(images(), mask).argmax(1), mask)
    with pytest.raises(ValueError, match=r"Oracle.*needs the ground truth"):
        model.predict(images())
    assert model.training


# OCR by its equations, in float64, one pixel and one class at a time
