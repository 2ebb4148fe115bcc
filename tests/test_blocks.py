"""Blocks of a network, computed again or compiled alone: the same numbers, the same statistics, less kept."""

import copy

import pytest
import torch
from selected import quick

from contextseg.blocks import blocks, compile_each, compute_again, repeated
from contextseg.classes import class_set
from contextseg.commands.complexity.memory import saved_for_backward
from contextseg.commands.compose import compose
from contextseg.engine import build

MEMBERS = {"tiny": 2, "resnet18": 8, "resnet50": 16, "efficientnet_lite0": 16, "mobilenetv2": 17}


def network(*overrides):
    torch.manual_seed(0)
    cfg = compose(["width=16", "backbone.weights=none", *overrides])
    return build.network(cfg, class_set("context_scenes"), pretrained=False)[0].train()


def image(*size):
    return torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)


def gradients(model, x):
    output = model(x)
    sum(y.float().square().mean() for y in (output.logits, *output.extras.values())).backward()
    return [output.logits, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("name", quick(MEMBERS, ["tiny", "resnet18"]))
def test_the_blocks_of_a_backbone(name):
    backbone = network("head=fcn", f"backbone={name}").backbone
    assert len(repeated(backbone)) == MEMBERS[name]


@pytest.mark.parametrize("head", quick(["agln", "ccnet", "cpnet", "ctnet", "danet", "fcn", "ocr", "psp"], ["ocr"]))
@pytest.mark.parametrize("backbone", quick(["tiny", "test_resnet", "mobilenetv2"], ["tiny"]))
def test_computing_again_changes_neither_gradients_nor_statistics(head, backbone):
    """Dropout too; and a backward pass does not count the statistics of a batch a second time."""
    kept = network(f"head={head}", f"backbone={backbone}", "data.size=96").double()
    again = copy.deepcopy(kept)
    names = list(again.state_dict())
    compute_again(again)
    assert list(again.state_dict()) == names
    x, found = image(96, 96), []
    for model in (kept, again):
        torch.manual_seed(1)  # of dropout
        found.append(gradients(model, x))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(dict(again.state_dict()), dict(kept.state_dict()), rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(again.eval().logits(x), kept.eval().logits(x))


def test_less_is_kept():
    model = network("head=ocr", "backbone=resnet18")
    before = saved_for_backward(model, image(64, 64))[""]
    compute_again(model)
    assert saved_for_backward(model, image(64, 64))[""] < 0.4 * before


@pytest.mark.slow
def test_each_block_is_compiled_alone():
    graphs = []

    def counting(graph, _):
        graphs.append(graph)
        return graph.forward

    model = network("head=ocr", "backbone=resnet18")
    x = image(64, 64)
    expected = copy.deepcopy(model)(x).logits
    torch._dynamo.reset()
    compile_each(model, counting)
    torch.testing.assert_close(model(x).logits, expected, rtol=1e-4, atol=1e-5)
    assert 5 <= len(graphs) <= len(blocks(model))
