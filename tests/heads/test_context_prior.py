"""CPNet's blocks against dense sums in float64, its options and counts, and prediction in windows of the crop."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from contextseg import create_model
from contextseg.checkpoint import load_checkpoint
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.explain import record_attention
from contextseg.heads.cpnet import CPNetHead
from contextseg.heads.fcn import FCNHead
from contextseg.inference import PAD_COLOUR, SlidingWindow, WholeImage
from contextseg.layers.aggregation import AggregationModule
from contextseg.layers.context_prior import ContextPrior

K = 5
CROP = (32, 48)  # 4 x 6 cells


def unlike_the_start(module):
    """Evaluation mode in float64, with batch statistics and scales that are not 0 and 1."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
                tensor.normal_()
            norm.running_var.uniform_(0.5, 2)
    return module.double().eval()


def head(**settings):
    return CPNetHead([4, 6], K, **{"crop_size": CROP, "channels": 8, **settings})


def maps(batch=2, size=(4, 6)):
    return [torch.randn(batch, 4, 8, 12), torch.randn(batch, 6, *size).relu()]


def same_with_gradient(ours, reference, inputs):
    torch.testing.assert_close(ours, reference)
    direction = torch.randn_like(ours)
    gradients = (torch.autograd.grad(y, inputs, direction, retain_graph=True) for y in (ours, reference))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


# the aggregation module


def line(x, weights, bias, across):
    """One channel (h, w) under a window of one row (`across`) or column, pixel by pixel; nothing outside the map."""
    x = x if across else x.T
    reach = len(weights) // 2
    total = torch.full_like(x, bias)
    for j in range(x.shape[1]):
        for tap, weight in enumerate(weights):
            if 0 <= j + tap - reach < x.shape[1]:
                change = torch.zeros_like(x)
                change[:, j] = 1
                total = total + change * weight * x[:, [j + tap - reach]]
    return total if across else total.T


def branch(x, convolutions):
    for conv in convolutions:
        across = conv.kernel_size[0] == 1
        biases = [0.0] * len(conv.weight) if conv.bias is None else conv.bias.tolist()
        x = torch.stack(
            [
                torch.stack([line(image[c], conv.weight[c].flatten(), biases[c], across) for c in range(len(image))])
                for image in x
            ]
        )
    return x


@pytest.mark.parametrize("size", [(6, 4), (1, 1), (3, 13)])
@pytest.mark.parametrize(("kernel_size", "bias"), [(11, False), (3, True), (1, False)])
def test_aggregation_is_two_orders_of_two_lines(size, kernel_size, bias):
    module = unlike_the_start(AggregationModule(3, 3, kernel_size=kernel_size, entry=None, bias=bias))
    assert [conv.kernel_size for conv in module.down_across] == [(kernel_size, 1), (1, kernel_size)]
    assert [conv.kernel_size for conv in module.across_down] == [(1, kernel_size), (kernel_size, 1)]
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    summed = branch(x, module.down_across) + branch(x, module.across_down)
    norm = module.norm_act[0]
    mean, scale = norm.running_mean.view(-1, 1, 1), (norm.weight / (norm.running_var + norm.eps).sqrt()).view(-1, 1, 1)
    reference = ((summed - mean) * scale + norm.bias.view(-1, 1, 1)).clamp(min=0)
    weights = [parameter for name, parameter in module.named_parameters() if "bias" not in name]
    same_with_gradient(module(x), reference, [x, *weights])


@pytest.mark.parametrize("kernel_size", [3, 5, 11, 15])
def test_aggregation_sees_a_square_of_its_kernel_size(kernel_size):
    module = AggregationModule(2, 2, kernel_size=kernel_size).eval()
    nn.init.ones_(module.norm_act[0].bias)  # keeps the ReLU open
    x = torch.zeros(1, 2, 33, 33, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(x + 0.01 * torch.rand_like(x))[0, :, 16, 16].sum(), x)
    rows, columns = gradient[0].abs().sum(0).nonzero().T
    assert rows.max() - rows.min() == columns.max() - columns.min() == kernel_size - 1


def test_aggregation_refuses_what_cannot_be():
    with pytest.raises(ConfigError, match="kernel_size=4"):
        AggregationModule(8, 8, kernel_size=4)
    with pytest.raises(ConfigError, match="entry=null"):
        AggregationModule(8, 4, entry=None)
    assert sum(p.numel() for p in AggregationModule(16, 16, entry=None).parameters()) == 4 * 11 * 16 + 2 * 16


# the context prior layer


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("contexts", ["both", "intra", "inter"])
@pytest.mark.parametrize("size", [(4, 6), (1, 1), (3, 1)])
def test_contexts_are_sums_over_partners(size, contexts, normalise):
    n = size[0] * size[1]
    layer = unlike_the_start(ContextPrior(3, size, contexts=contexts, normalise=normalise))
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    found, logits = layer(x)
    conv, norm, _ = layer.relate
    pixels = x.flatten(2)
    rows = []
    for i in range(n):  # the row of pixel i: one number for each partner
        row = pixels[:, :, i] @ conv.weight[:, :, 0, 0].T
        rows.append((row - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias)
    same_with_gradient(logits, torch.stack(rows, 1), [x, conv.weight])
    divisor = n if normalise else 1
    intra, inter = [], []
    for row in rows:
        p = row.sigmoid()
        intra.append(sum(p[:, j, None] * pixels[:, :, j] for j in range(n)) / divisor)
        inter.append(sum((1 - p[:, j, None]) * pixels[:, :, j] for j in range(n)) / divisor)
    expected = {"both": [intra, inter], "intra": [intra], "inter": [inter]}[contexts]
    assert len(found) == len(expected)
    for ours, reference in zip(found, expected, strict=True):
        same_with_gradient(ours, torch.stack(reference, -1).view_as(ours), [x, *conv.parameters()])


def test_the_tap_hears_the_prior_row_by_row():
    layer, x = ContextPrior(3, (2, 3)).eval(), torch.randn(2, 3, 2, 3)
    with record_attention(layer) as heard:
        (intra, inter), logits = layer(x)
    (prior,) = heard["prior"]
    torch.testing.assert_close(prior, logits.sigmoid())
    torch.testing.assert_close(intra.flatten(2), x.flatten(2) @ prior.mT / 6)
    torch.testing.assert_close(inter.flatten(2), x.flatten(2) @ (1 - prior).mT / 6)


# the head

ROWS = {  # what must differ between the rows of Tables 1 to 3
    "both": {},
    "intra": {"contexts": "intra"},
    "inter": {"contexts": "inter"},
    "sums": {"normalise": False},
    "ppm": {"aggregation": "ppm"},
    "aspp": {"aggregation": "aspp"},
    **{f"k={k}": {"kernel_size": k} for k in (3, 5, 7, 9, 13, 15)},
    "released": {"entry": 3, "bias": True, "project": True, "fuse": 3, "dropout": 0.1},
}


def test_no_two_forms_are_the_same_function():
    """With weights copied by name wherever the shapes agree, the outputs still differ."""
    features, source = maps(), head().state_dict()
    outputs = {}
    for name, settings in ROWS.items():
        torch.manual_seed(0)
        model = head(**settings).eval()
        own = model.state_dict()
        model.load_state_dict(own | {k: v for k, v in source.items() if k in own and own[k].shape == v.shape})
        outputs[name] = model(features).logits
    for (first, a), (second, b) in pairwise(outputs.items()):
        assert not torch.allclose(a, b, atol=1e-5), (first, second)
    assert not torch.allclose(outputs["both"], outputs["inter"])


@pytest.mark.parametrize(
    ("crop", "classes", "without_aux", "aux"),
    [
        (480, 150, 49_601_558, 2_398_358),
        (512, 59, 49_809_819, 2_374_971),
        (768, 19, 52_420_979, 2_364_691),
    ],
)
def test_parameter_counts_of_the_released_graph(crop, classes, without_aux, aux):
    """The released network on ResNet-50 (its trunk, a deep stem of 32 channels, has 23,527,264)."""
    with torch.device("meta"):
        model = CPNetHead(
            [1024, 2048], classes, crop_size=(crop, crop), entry=3, bias=True, project=True, fuse=3, dropout=0.1
        )
        auxiliary = FCNHead([1024, 2048], classes, channels=256, source=-2)
    assert 23_527_264 + sum(p.numel() for p in model.parameters()) == without_aux
    assert sum(p.numel() for p in auxiliary.parameters()) == aux


def test_parameter_count_of_the_paper_form():
    """1x1 entry, four lines of 11, the prior of 60 x 60 partners, one classifier on 2048 + 512 + 512 channels."""
    with torch.device("meta"):
        count = sum(p.numel() for p in CPNetHead([1024, 2048], 150).parameters())
    entry, lines = 2048 * 512 + 2 * 512, 4 * 11 * 512 + 2 * 512
    assert count == entry + lines + 512 * 3600 + 2 * 3600 + (2048 + 2 * 512 + 1) * 150


def test_other_sizes_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"maps of 4x6 \(crop 32x48\), got 6x4.*SlidingWindow\(\[32, 48\], pad=True\)"):
        head()(maps(size=(6, 4)))


@pytest.mark.parametrize(
    ("settings", "message"), [({"contexts": "none"}, "contexts=none"), ({"aggregation": "x"}, "aggregation=x")]
)
def test_unknown_choices_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        head(**settings)


def test_the_context_of_a_pixel_is_its_row_of_the_prior():
    model = head().eval()
    with record_attention(model) as heard:
        prior = model(maps(1)).extras["prior_logits"].sigmoid()[0]
    found = model.context(heard, (2, 1), (4, 6))
    torch.testing.assert_close(found["intra"], prior[2 * 6 + 1].view(4, 6))
    torch.testing.assert_close(found["inter"], 1 - found["intra"])


# prediction at any size, in windows of the training crop


def network(crop=(64, 48)):
    return create_model("cpnet", backbone="tiny", num_classes=K, channels=8, crop_size=crop).eval()


def images(height, width, batch=2):
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8)


@pytest.mark.parametrize("size", [(64, 48), (20, 30), (64, 100), (150, 40), (97, 131)])
def test_predict_takes_any_size(size):
    model, batch = network(), images(*size)
    labels = model.predict(batch)
    assert labels.shape == (2, *size)
    assert torch.equal(labels, SlidingWindow((64, 48), pad=True)(model.logits, batch))
    assert torch.equal(model.predict(batch[1]), labels[1])


def test_an_image_of_the_crop_is_one_pass():
    model, batch = network(), images(64, 48)
    assert torch.equal(model.predict(batch), WholeImage()(model.logits, batch))


def test_a_smaller_image_is_enlarged_by_the_mean_colour_and_cut_back():
    image = images(10, 20)
    seen = []

    def watched(crops):
        seen.append(crops)
        return torch.stack([crops[:, 0], 255 - crops[:, 0]], 1).float() / 64  # (B, 2, 16, 16)

    result = SlidingWindow(16, pad=True).probabilities(watched, image, (10, 20))
    assert [len(crops) for crops in seen] == [2, 2]  # image by image
    crops = torch.cat(seen)
    assert crops.shape == (4, 3, 16, 16)
    assert torch.equal(crops[0, :, :10], image[0, :, :, :16])
    assert (crops[:, :, 10:] == torch.tensor(PAD_COLOUR).view(3, 1, 1)).all()
    red = image[:, 0].float()
    torch.testing.assert_close(result, torch.stack([red, 255 - red], 1).div(64).softmax(1))
    assert SlidingWindow(16, pad=True)(watched, image, (5, 7)).shape == (2, 5, 7)


def test_without_padding_windows_shrink():
    shapes = []
    SlidingWindow(16)(lambda crops: shapes.append(crops.shape) or torch.zeros(len(crops), 2, 2, 2), images(10, 20))
    assert set(shapes) == {(2, 3, 10, 16)}


def test_predictors_within_a_window():
    assert isinstance(WholeImage().within(None), WholeImage)
    inner = WholeImage().within((16, 24))
    assert (inner.crop, inner.pad) == ((16, 24), True)
    sliding = SlidingWindow((16, 24), stride=0.5, window_batch=2)
    assert sliding.within(None) is sliding
    inner = sliding.within([16, 24])
    assert (inner.crop, inner.stride, inner.window_batch, inner.pad) == ((16, 24), 0.5, 2, True)
    with pytest.raises(ConfigError, match=r"eval\.predictor\.crop=\[24, 16\]: only \[16, 24\] is taken"):
        SlidingWindow((24, 16)).within((16, 24))


# in a run


@pytest.mark.slow
def test_a_run_is_tied_to_its_crop_and_its_checkpoint_knows_it(tmp_run, caplog):
    caplog.set_level("INFO", logger="contextseg")
    result = tmp_run("head=cpnet", "trainer.max_steps=1")
    model = load_checkpoint(result.folder / "checkpoints/last.ckpt")
    assert result.module.recipe["head"]["crop_size"] == [96, 96]
    assert model.head.window == (96, 96)
    assert "takes images of 96x96 only: predicting in windows" in caplog.text
    assert isinstance(result.module.predictor, SlidingWindow)
    assert model.predict(images(50, 200)).shape == (2, 50, 200)


def test_the_crop_comes_from_the_data(small):
    assert build.crop_size(small()) == [96, 96]
    assert build.crop_size(small("+data.transform.crop_size=[64,80]")) == [64, 80]
    sizeless = small("head=cpnet")
    classes = build.datamodule(sizeless).classes
    del sizeless.data.size
    with pytest.raises(ConfigError, match=r"data\.transform\.crop_size"):
        build.recipe(sizeless, classes)


def test_a_loss_without_affinity_is_the_row_without_prior(small):
    for loss, terms in {
        "aux": {"ce", "aux"},
        "affinity": {"ce", "affinity"},
        "affinity+aux": {"ce", "affinity", "aux"},
    }.items():
        assert set(build.loss(small("head=cpnet", f"loss={loss}")).term) == terms
