"""The released CCNet (github.com/speedinghzl/CCNet, networks/ccnet.py), written out once more."""

import pytest
import torch
from released import Plain, close, parameters, randomise, released
from selected import quick
from torch.nn import functional as F

from contextseg.commands.compose import compose
from contextseg.contract import SegOutput
from contextseg.engine import build

K = 5
OFFICIAL = ("head=ccnet_official", "backbone=resnet50s")


@pytest.mark.parametrize(
    ("backbone", "loss", "counts"),
    [
        ("resnet101s", "aux", (71_287_911, 71_328_951, 71_329_977, 71_422_317)),
        ("resnet101s", "ce", (66_558_036, 66_578_556, 66_579_069, 66_625_239)),
        ("resnet101", "aux", (71_164_135, 71_205_175, 71_206_201, 71_298_541)),
    ],
)
def test_it_has_the_parameters_of_the_released_network(backbone, loss, counts):
    given = ("head=ccnet_official", f"backbone={backbone}", f"loss={loss}")
    assert parameters(*given) == counts


def attention(plain, x):
    """gamma * sum + x; for each pixel one softmax over its column without itself, and its row."""
    query, key, value = (plain.conv(f"head.attention.{part}", x) for part in ("query", "key", "value"))
    sums = torch.zeros_like(x)
    height, width = x.shape[-2:]
    for i in range(height):
        for j in range(width):
            others = [k for k in range(height) if k != i]
            keys = torch.cat([key[:, :, others, j], key[:, :, i]], dim=-1)  # (B, C', h + w - 1)
            values = torch.cat([value[:, :, others, j], value[:, :, i]], dim=-1)
            weights = torch.einsum("bc,bcn->bn", query[:, :, i, j], keys).softmax(-1)
            sums[:, :, i, j] = torch.einsum("bn,bcn->bc", weights, values)
    return plain.tensors["head.attention.gate"] * sums + x


def written_out(plain, stage3, stage4, loops=2):
    aux = plain.conv("aux_head.classifier", plain.block("aux_head.reduce", stage3, 0.01))
    x = plain.block("head.reduce", stage4, 0.01)
    for _ in range(loops):
        x = attention(plain, x)
    x = plain.block("head.refine", x, 0.01)
    plain.turn("head.fuse.0.weight", x.shape[1], stage4.shape[1])
    x = plain.block("head.fuse", torch.cat([stage4, x], dim=1), 0.01)
    return plain.conv("head.classifier", x), aux


@pytest.mark.parametrize("training", quick([False, True], ["True"]))
def test_it_is_the_released_forward(training):
    """On 64 x 64 the stem's map is even, so that the pooling rounds up: 32 -> 17 -> 9 rows."""
    network = randomise(released(K, *OFFICIAL, "width=16")).train(training)
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    plain = Plain(network, training)
    stage3, stage4 = plain.resnet((image - network.backbone.mean) / network.backbone.std, (2, 4))
    logits, aux = written_out(plain, stage3, stage4)
    output = network(image)
    assert logits.shape == (2, K, 9, 9)
    close(output.logits, logits)
    close(output.extras["aux_logits"], aux)


def test_its_dropouts():
    network = released(K, *OFFICIAL, device="meta")
    assert (network.head.dropout.p, network.aux_head.dropout.p) == (0.1, 0.1)


def test_its_loss():
    """Both up-sampled with align_corners, 1 and 0.4, no category-consistent loss."""
    cfg = compose([*OFFICIAL, "label_stride=1"])
    assert set(cfg.loss.term) == {"ce", "aux"}
    logits, aux = torch.randn(2, K, 9, 9), torch.randn(2, K, 9, 9)
    mask = torch.randint(0, K, (2, 65, 65), dtype=torch.uint8)
    mask[:, :9] = 255
    total, _ = build.loss(cfg)(SegOutput(logits, {"aux_logits": aux}), mask)
    large = [F.interpolate(x, (65, 65), mode="bilinear", align_corners=True) for x in (logits, aux)]
    main, auxiliary = (F.cross_entropy(x, mask.long(), ignore_index=255) for x in large)
    torch.testing.assert_close(total, main + 0.4 * auxiliary)


def test_the_ohem_of_its_command_line():
    cfg = compose([*OFFICIAL, "loss=ohem+aux"])
    assert (cfg.loss.term.ohem.threshold, cfg.loss.term.ohem.min_kept) == (0.7, 100_000)
    assert build.loss(cfg).term["ohem"].align_corners is True
