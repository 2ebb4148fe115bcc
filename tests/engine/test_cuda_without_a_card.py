"""Training and evaluation with tensors on a CUDA device that need not exist: torch keeps shapes and devices alone.

Found are tensors of two devices that meet, and numbers that the host waits for (`item`, a mask as an index), which stop
a GPU in every step. Not found: what only a card can tell (docs/performance.md).
"""

from types import SimpleNamespace

import pytest
import torch
from selected import quick
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import _disable_current_modes

from contextseg.commands.compose import compose
from contextseg.conf import CONF
from contextseg.contract import Batch
from contextseg.engine import build
from contextseg.layers import resized_rows
from contextseg.losses.affinity import AffinitySums
from contextseg.losses.resized_cross_entropy import WeightedSum

CUDA = torch.device("cuda", 0)
SIZE = 96
HEAD_OF = {  # of a loss, by the first of its terms that is here
    "edge+regions": ["head=ce2p", "head.context=ocr"],
    "ccl+edge": ["head=ce2p", "head.context=rcca", "head.embedding_channels=16"],
    "edge": ["head=ce2p"],
    "affinity": ["head=cpnet"],
    "ccl": ["head=ccnet"],
    "cp": ["head=ctnet"],
    "se": ["head=encnet"],
    "": ["head=fcn"],
}


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def prepared(*overrides):
    """A module and a batch on the device, and the mode in which they live."""
    # `to` would move parameters, which the mode cannot
    cfg = compose(["width=16", f"data.size={SIZE}", "trainer.channels_last=false", *overrides])
    data = build.datamodule(cfg)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        with CUDA:
            module = build.module(cfg, data)
        frames = module.segmenter.head.frames
        image = torch.zeros(2, *(frames,) * (frames > 1), 3, SIZE, SIZE, dtype=torch.uint8, device=CUDA)
        mask = torch.zeros(2, SIZE, SIZE, dtype=torch.uint8, device=CUDA)
    return module, Batch(image, mask, ["", ""]), mode


@pytest.fixture(autouse=True)
def plain_attention(monkeypatch):
    """To choose among its kernels torch would ask the card, and end the process where there is none."""
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v, scale: (scale * q @ k.mT).softmax(-1) @ v)


@pytest.mark.parametrize("head", quick(options("head"), ["ctnet"]))
def test_a_step_of_every_head_stays_on_the_device(head):
    module, batch, mode = prepared(f"head={head}")
    with mode:
        assert module.training_step(batch, 0)["loss"].device == CUDA


@pytest.mark.parametrize("loss", quick(sorted({*options("loss")} - {"term"}), ["ohem+affinity+aux"]))
def test_a_step_of_every_loss_stays_on_the_device(loss):
    head = next(head for terms, head in HEAD_OF.items() if terms in loss)
    module, batch, mode = prepared(*head, f"loss={loss}")
    with mode:
        assert module.training_step(batch, 0)["loss"].device == CUDA


@pytest.mark.parametrize("option", quick(options("eval"), ["ss"]))
def test_labels_of_every_evaluation_stay_on_the_device(option, monkeypatch):
    def outside(*given):
        with _disable_current_modes():
            return taps(*given)

    taps = resized_rows.taps  # plain numbers, found on the CPU
    monkeypatch.setattr(resized_rows, "taps", outside)
    if option == "agln_paper":
        pytest.skip("its random scales depend on the pixels")
    module, batch, mode = prepared("head=fcn", f"eval={option}")
    with mode, torch.no_grad():
        labels = module.predictor(module.eval().segmenter.logits, batch.image, (70, 90))
    assert (labels.shape, labels.dtype, labels.device) == ((2, 70, 90), torch.uint8, CUDA)


def gradients(function, gradient_of, *inputs):
    """Call the two passes of a function of our own: no engine of torch runs a backward pass without the card."""
    kept = SimpleNamespace(needs_input_grad=[True])
    kept.save_for_backward = lambda *given: setattr(kept, "saved_tensors", given)
    output = function.forward(kept, *inputs)
    backward = function.backward.__wrapped__  # without `once_differentiable`
    return backward(kept, *gradient_of(output))


def test_our_gradients_stay_on_the_device():
    with FakeTensorMode():
        logits = torch.zeros(2, 5, 6, 7, device=CUDA)
        target, weights = torch.zeros(2, 48, 56, dtype=torch.int64, device=CUDA), torch.zeros(2, 48, 56, device=CUDA)
        of_logits, *_ = gradients(WeightedSum, lambda loss: [loss], logits, target, weights, False)
        pairs, group = torch.zeros(2, 42, 42, device=CUDA), torch.zeros(2, 42, dtype=torch.int64, device=CUDA)
        of_pairs, *_ = gradients(AffinitySums, lambda sums: sums, pairs, group, 5)
    assert (of_logits.shape, of_logits.device) == (logits.shape, CUDA)
    assert (of_pairs.shape, of_pairs.device) == (pairs.shape, CUDA)


def test_what_it_is_to_find_is_found():
    with FakeTensorMode():
        x = torch.zeros(3, device=CUDA)
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.ones(3)
        with pytest.raises(RuntimeError):
            x.sum().item()
        with pytest.raises(RuntimeError):
            x[x > 0]
