"""The edge loss: which pixels are edges, pixel by pixel; how they are balanced; void."""

import pytest
import torch

from contextseg.commands.compose import compose
from contextseg.contract import SegOutput
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.losses.edge import Edge, edges

VOID = 255


def slow_edges(mask, width):
    h, w = mask.shape

    def differs(i, j, k, m):
        inside = 0 <= k < h and 0 <= m < w
        return inside and mask[i, j] != mask[k, m] and VOID not in (mask[i, j], mask[k, m])

    marked = {
        (i, j)
        for i in range(h)
        for j in range(w)
        if any(differs(i, j, i + a, j + b) for a, b in ((-1, 0), (0, 1), (1, 1), (1, -1)))
    }
    found = torch.zeros(h, w, dtype=torch.uint8)
    for i in range(h):
        for j in range(w):
            near = any(max(abs(i - a), abs(j - b)) <= width // 2 for a, b in marked)
            found[i, j] = VOID if mask[i, j] == VOID else near
    return found


@pytest.mark.parametrize("width", [1, 3, 5])
def test_edges_are_where_labels_change(width):
    torch.manual_seed(0)
    blocks = torch.randint(0, 3, (2, 3, 4), dtype=torch.uint8).repeat_interleave(4, 1).repeat_interleave(3, 2)
    blocks[0, 2:5, 3:9] = VOID
    blocks[1, 0, 0] = 7
    expected = torch.stack([slow_edges(mask, width) for mask in blocks])
    assert {0, 1, VOID} == set(expected.flatten().tolist())
    assert edges(blocks, width).equal(expected)


def test_void_has_no_edge():
    mask = torch.full((1, 4, 6), VOID, dtype=torch.uint8)
    assert (edges(mask) == VOID).all()
    mask[..., :3] = 2
    assert edges(mask)[..., :3].eq(0).all()


def test_edges_weigh_as_much_as_all_other_pixels():
    mask = torch.zeros(1, 4, 8, dtype=torch.uint8)
    mask[..., 6:] = 1
    mask[:, 0, :2] = VOID
    logits = torch.randn(1, 2, 4, 8, requires_grad=True)
    target, log_p = edges(mask), logits.log_softmax(1)
    means = [-log_p[:, kind][target == kind].mean() for kind in (0, 1)]
    loss = Edge()(SegOutput(torch.zeros(1, 3, 4, 8), {"edge_logits": logits}), mask)
    torch.testing.assert_close(loss, sum(means) / 2)
    loss.backward()
    assert not logits.grad[:, :, 0, :2].any()


@pytest.mark.parametrize("label", [0, VOID])
def test_a_batch_without_edges_gives_zero_and_zero_gradient(label):
    logits = torch.randn(1, 2, 2, 3, requires_grad=True)
    mask = torch.full((1, 8, 12), label, dtype=torch.uint8)
    loss = Edge(label_stride=2)(SegOutput(logits, {"edge_logits": logits}), mask)
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_an_edge_has_a_middle():
    with pytest.raises(ConfigError, match=r"loss\.term\.edge\.width=4: give an odd number, such as 5"):
        Edge(width=4)


def test_ce2p_adds_its_losses_up():
    cfg = compose(["head=ce2p", "head.context=rcca", "loss=ccl+edge+aux"])
    weights = {name: term.weight for name, term in build.loss(cfg).term.items()}
    assert weights == {"ce": 1.0, "aux": 1.0, "edge": 1.0, "ccl": 1.0}
    assert (cfg.head.edge, cfg.head.parsing, cfg.head.embedding_channels) == (True, True, 16)
    cfg = compose(["head=ce2p", "loss=aux"])
    assert (cfg.head.edge, cfg.head.parsing, cfg.head.embedding_channels) == (False, False, 0)
