"""The contract of every head (found by themselves), and OCR against its equations, pixel by pixel."""

import inspect
from functools import cache

import pytest
import torch
from torch import nn

from contextseg import create_model
from contextseg.commands.compose import compose
from contextseg.conf import CONF
from contextseg.contract import KNOWN_EXTRAS, SegOutput
from contextseg.engine import build
from contextseg.explain import record_attention
from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.region_attention import RegionAttention
from contextseg.layers.resize import resize
from contextseg.recipe import head_classes, only_class
from contextseg.segmenter import Segmenter

HEADS = head_classes()
K = 12
CHANNELS = (24, 48, 96)
every_head = pytest.mark.parametrize("name", HEADS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def settings(name, size):
    """Constructor settings of a small head for images of `size`."""
    known = inspect.signature(HEADS[name]).parameters
    wanted = {"channels": 16, "crop_size": size}
    return {key: value for key, value in wanted.items() if key in known}


def network(name, size=(64, 64)):
    """Tiny backbone, the head's neck, the head."""
    return create_model(name, backbone="tiny", num_classes=K, **settings(name, size))


@cache
def criterion(name):
    """The loss of conf/head/<name>.yaml, or of another option with the same head."""
    options = [path.stem for path in (CONF / "head").glob("*.yaml") if f"heads.{name}." in path.read_text()]
    return build.loss(compose([f"head={min(options, key=lambda option: (option != name, option))}"]))


def images(batch=2, size=(64, 64)):
    return torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8)


def masks(batch=2, size=(64, 64)):
    """Squares of 8 px of one class each, the top row of squares void."""
    squares = torch.randint(0, K, (batch, -(-size[0] // 8), -(-size[1] // 8)), dtype=torch.uint8)
    squares[:, 0] = 255
    return squares.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, : size[0], : size[1]]


def maps(count, batch=2):
    """`count` maps for a 64 px image, strides up to 8, the last two alike from four on (a dilated ResNet)."""
    strides = {2: (4, 8), 3: (2, 4, 8), 4: (4, 8, 8, 8)}[count]
    channels = [6 * (i + 1) for i in range(count)]
    return channels, strides, [torch.randn(batch, c, 64 // s, 64 // s) for c, s in zip(channels, strides, strict=True)]


def close(a, b, **tolerance):
    torch.testing.assert_close(a, b, **({"rtol": 1e-5, "atol": 1e-5} | tolerance))


@every_head
def test_output_is_what_the_contract_says(name):
    model, image, mask = network(name), images(), masks()
    sizes = {tuple(m.shape[-2:]) for m in model.backbone(image)}
    for mode in (True, False):
        output = model.train(mode)(image, mask)
        assert type(output) is SegOutput
        assert output.logits.shape[:2] == (2, K)
        assert tuple(output.logits.shape[-2:]) in sizes
        assert output.logits.dtype == torch.float32
        assert set(output.extras) == model.head.emits <= KNOWN_EXTRAS
        hw = output.logits[0, 0].numel()
        shapes = {"class_probability": (2, K), "prior_logits": (2, hw, hw)}
        for extra, tensor in output.extras.items():
            assert tensor.shape == shapes.get(extra, tensor.shape)
            assert tensor.shape[0] == 2
            assert extra != "aux_logits" or tensor.shape[1] == K


@pytest.mark.parametrize("name", ["fcn", "ocr"])
def test_logits_have_the_size_of_the_last_map(name):
    assert network(name).eval()(images()).logits.shape == (2, K, 8, 8)


@every_head
def test_odd_sizes_and_a_single_image(name):
    size = (65, 97)
    model = network(name, size).eval()
    image, mask = images(1, size), masks(1, size)
    sizes = {tuple(m.shape[-2:]) for m in model.backbone(image)}
    logits = model(image, mask).logits
    assert tuple(logits.shape[-2:]) in sizes
    assert torch.isfinite(logits).all()
    if not HEADS[name].needs_mask:
        assert model.predict(image[0]).shape == size


@every_head
def test_images_of_a_batch_do_not_mix_in_evaluation(name):
    model, image, mask = network(name).eval(), images(), masks()
    both = model(image, mask).logits
    close(model(image[1:], mask[1:]).logits, both[1:], atol=1e-4)
    assert not torch.allclose(both[0], both[1])


@every_head
def test_every_parameter_gets_a_gradient(name):
    model, loss = network(name), criterion(name)
    if "aux_logits" in {term.reads for term in loss.term.values()} - model.head.emits:
        model = create_model(name, backbone="tiny", num_classes=K, aux_head=True, **settings(name, (64, 64)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() == 1 and not parameter.any():  # a learnt scale that starts at zero hides its branch
                parameter.fill_(0.5)
    total, _ = loss(model(images(4), masks(4)), masks(4))
    total.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.any(), key


@every_head
@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_head_takes_the_last_of_any_number_of_maps(name, count):
    kind = HEADS[name]
    channels, strides, features = maps(count)
    neck = only_class(f"contextseg.necks.{kind.neck}", build.Neck)(channels, strides)
    head = kind(num_classes=K, **build.maps_known(kind, neck), **settings(name, (64, 64))).eval()
    given = (neck(features), masks()) if kind.needs_mask else (neck(features),)
    assert head(*given).logits.shape[:2] == (2, K)


@every_head
def test_autocast_gives_bfloat16_logits_near_the_exact_ones(name):
    model, image, mask = network(name).eval(), images(), masks()
    exact = model(image, mask).logits
    with torch.autocast("cpu", torch.bfloat16):
        output = model(image, mask)
        total, _ = criterion(name)(output._replace(extras={"aux_logits": output.logits, **output.extras}), mask)
    assert output.logits.dtype == torch.bfloat16
    assert (output.logits - exact).norm() < 0.05 * exact.norm()
    assert total.dtype == torch.float32
    assert torch.isfinite(total)


@every_head
def test_listening_changes_nothing(name):
    model, image, mask = network(name).eval(), images(), masks()
    before = model(image, mask).logits
    if not any(isinstance(module, AttentionTap) for module in model.modules()):
        with pytest.raises(ValueError, match="no AttentionTap"), record_attention(model):
            pass
        return
    with record_attention(model) as heard:
        close(model(image, mask).logits, before)
    for tap, entries in heard.items():
        assert entries, f"{tap} heard nothing"
        assert all(len(entry) == 2 and torch.isfinite(entry).all() for entry in entries)
        assert all((entry >= 0).all() for entry in entries)
    assert not any(module._forward_hooks for module in model.modules() if isinstance(module, AttentionTap))


def test_the_maps_of_ocr_sum_to_one():
    model = network("ocr").eval()
    with record_attention(model) as heard:
        model(images())
    (relation,), (regions,) = heard["head.attention.pixel_region"], heard["head.regions"]
    assert (relation.shape, regions.shape) == ((2, 64, K), (2, K, 64))
    for rows in (relation, regions):
        close(rows.sum(-1), torch.ones(rows.shape[:-1]))
        assert rows.std() > 0


@pytest.mark.parametrize("name", ["fcn", "ocr"])
def test_export_and_compile_keep_the_numbers(name):
    model, image = network(name).eval(), images()
    expected = model(image)
    exported = torch.export.export(model, (image,)).module()(image)
    compiled = torch.compile(model, backend="eager", fullgraph=True)(image)
    for found in (exported, compiled):
        assert type(found) is SegOutput
        close(found.logits, expected.logits)
        assert found.extras.keys() == expected.extras.keys()


# The segmenter around them


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
    needs_mask, emits, window = True, frozenset(), None

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


@pytest.mark.parametrize("name", [name for name, kind in HEADS.items() if kind.needs_mask])
def test_the_oracles_among_the_heads_cannot_predict(name):
    with pytest.raises(ValueError, match="needs the ground truth"):
        network(name).predict(images())


# OCR by its equations, in float64, one pixel and one class at a time


def slow_block(block, vector):
    """1x1 conv -> BN (running statistics) -> ReLU of one pixel's vector (C,)."""
    convolution, norm, _ = block
    y = convolution.weight[:, :, 0, 0] @ vector
    y = (y - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    return y.clamp(min=0)


def slow_ocr(head, features):
    """Eq. 3-6 for one image: maps, the last two (1, C, h, w) of one size -> logits (1, K, h, w)."""
    attention = head.attention
    coarse = head.coarse(features[-2])[0]  # M_k, before the spatial softmax
    x = head.reduce(features[-1])[0]
    h, w = x.shape[-2:]
    pixels = [(i, j) for i in range(h) for j in range(w)]
    regions = []
    for k in range(K):  # Eq. 4: f_k = sum_i m_ki x_i
        total = sum(coarse[k, i, j].exp() for i, j in pixels)
        regions.append(sum(coarse[k, i, j].exp() / total * x[:, i, j] for i, j in pixels))
    keys = [slow_block(attention.psi, f) for f in regions]
    values = [slow_block(attention.delta, f) for f in regions]
    logits = torch.zeros(1, K, h, w, dtype=torch.float64)
    for i, j in pixels:
        query = slow_block(attention.phi, x[:, i, j])
        scores = [(query @ key).exp() for key in keys]  # Eq. 5
        y = slow_block(attention.rho, sum(s / sum(scores) * v for s, v in zip(scores, values, strict=True)))  # Eq. 3
        z = slow_block(head.fuse, torch.cat([x[:, i, j], y]))  # Eq. 6
        logits[0, :, i, j] = head.classifier.weight[:, :, 0, 0] @ z + head.classifier.bias
    return logits


def randomise_norms(module):
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight.data, norm.running_var, norm.bias.data):  # bias > 0: few ReLUs are shut
                tensor.uniform_(0.5, 1.5)
            norm.running_mean.normal_()


def test_ocr_is_equations_3_to_6():
    head = HEADS["ocr"]([5, 6], K, channels=8).double().eval()
    randomise_norms(head)
    features = [torch.randn(1, c, 3, 4, dtype=torch.float64, requires_grad=True) for c in (5, 6)]
    leaves = [*features, *head.parameters()]
    direction = torch.randn(1, K, 3, 4, dtype=torch.float64)
    fast, slow = head(features).logits, slow_ocr(head, features)
    close(fast, slow, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad((logits * direction).sum(), leaves) for logits in (fast, slow)]
    for found, expected in zip(*gradients, strict=True):
        assert expected.any()
        close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_rho_before_the_sum_is_rho_after_it(training):
    """The paper applies rho to every pixel, the code to the K region vectors."""
    block, plain = RegionAttention(8, 4).double(), RegionAttention(8, 4).double()
    randomise_norms(block)
    plain.load_state_dict(block.state_dict())
    for module in (block, plain):
        module.train(training)
    x = torch.randn(2, 8, 5, 6, dtype=torch.float64)
    vectors = torch.randn(2, 8, K, dtype=torch.float64)
    relation = plain.relation(x, vectors, None)
    summed = (plain.delta(vectors[..., None]).flatten(2) @ relation.mT).unflatten(-1, (5, 6))
    close(block(x, vectors), plain.rho(summed), atol=1e-9)
    for name, tensor in plain.state_dict().items():
        close(block.state_dict()[name], tensor, atol=1e-9)
