"""The released OCR networks, written out once more: those of openseg.pytorch and of HRNet-Semantic-Segmentation."""

import pytest
import torch
from released import Plain, close, parameters, randomise, released
from selected import quick, slow
from torch.nn import functional as F

K = 5
OPENSEG_HRNET = ("head=ocr_hrnet_official", "head.coarse_kernel=3", "head.bias=true")


@pytest.mark.parametrize(
    ("overrides", "counts"),
    [
        (("head=ocr_official", "backbone=resnet101s"), (57_988_838, 58_029_878, 58_030_904, 58_123_244)),
        (
            ("head=ocr_official", "backbone=resnet101s", "head.transform_layers=1"),
            (57_856_230, 57_897_270, 57_898_296, 57_990_636),
        ),
        (("head=ocr_hrnet_official", "backbone=hrnet_w48"), (70_372_678, 70_422_038, 70_423_272, 70_534_332)),
        slow(((*OPENSEG_HRNET, "backbone=hrnet_w48"), (74_522_182, 74_571_542, 74_572_776, 74_683_836))),
        (
            (
                "head=fcn",
                "neck=concat",
                "backbone=hrnet_w48",
                "head.channels=0",
                "+head.kernel_size=1",
                "+head.bias=true",
            ),
            (65_859_379, 65_888_219, 65_888_940, 65_953_830),
        ),
        (("head=fcn", "backbone=resnet101s"), (52_071_891, 52_092_411, 52_092_924, 52_139_094)),
    ],
)
def test_they_have_the_parameters_of_the_released_networks(overrides, counts):
    assert parameters(*overrides) == counts


def gather(regions, x):
    """Regions (B, N, hw) and x (B, C, h, w) -> region vectors as an image (B, C, N, 1)."""
    return torch.einsum("bnp,bcp->bcn", regions, x.flatten(2)).unsqueeze(-1)


def transform(plain, name, x):
    return plain.block(f"{name}.1", plain.block(f"{name}.0", x))


def distribute(plain, x, vectors, relation=None):
    """Relation (B, hw, N), OCR's own if it is not given -> context (B, C, h, w)."""
    name = "head.attention"
    if relation is None:
        query, key = (transform(plain, f"{name}.{part}", y) for part, y in (("phi", x), ("psi", vectors)))
        scores = torch.einsum("bcp,bcn->bpn", query.flatten(2), key.flatten(2)) / query.shape[1] ** 0.5
        relation = scores.softmax(-1)
    value = plain.block(f"{name}.delta", vectors).flatten(2)
    context = torch.einsum("bpn,bcn->bcp", relation, value).unflatten(-1, x.shape[-2:])
    return plain.block(f"{name}.rho", context)


def coarse_maps(plain, features):
    return plain.conv("head.coarse.2", plain.block("head.coarse.0", features))


def ocr(plain, coarse, features):
    """Coarse maps and features of one size -> logits."""
    x = plain.block("head.reduce", features)
    vectors = gather(coarse.flatten(2).softmax(-1), x)
    plain.turn("head.fuse.0.weight", x.shape[1], x.shape[1])
    z = plain.block("head.fuse", torch.cat([distribute(plain, x, vectors), x], dim=1))
    return plain.conv("head.classifier", z)


@pytest.mark.parametrize("training", quick([False, True], ["True"]))
def test_the_resnet_of_openseg(training):
    """It contracts the dilation, and its pooling rounds up: 32 -> 17 -> 9 rows."""
    network = randomise(released(K, "head=ocr_official", "backbone=resnet50s", "width=16")).train(training)
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    plain = Plain(network, training)
    stage3, stage4 = plain.resnet((image - network.backbone.mean) / network.backbone.std, (1, 2))
    coarse = coarse_maps(plain, stage3)
    output = network(image)
    assert coarse.shape == (2, K, 9, 9)
    close(output.extras["aux_logits"], coarse)
    close(output.logits, ocr(plain, coarse, stage4))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("overrides", [("head=ocr_hrnet_official",), OPENSEG_HRNET])
def test_hrnet(overrides, training):
    """The head on branches of odd sizes, brought together with align_corners."""
    network = randomise(released(K, *overrides, "backbone=timm", "backbone.model=hrnet_w18_small", "width=16"))
    network.train(training)
    sizes = [(17, 23), (9, 12), (5, 6), (3, 3)]
    maps = [torch.randn(2, c, *s, dtype=torch.double) for c, s in zip(network.backbone.channels, sizes, strict=True)]
    plain = Plain(network, training)
    large = [F.interpolate(x, sizes[0], mode="bilinear", align_corners=True) for x in maps[1:]]
    features = torch.cat([maps[0], *large], dim=1)
    coarse = coarse_maps(plain, features)
    assert plain.tensors["head.coarse.0.0.weight"].shape[0] == features.shape[1]
    output = network.head(network.neck(maps))
    close(output.extras["aux_logits"], coarse)
    close(output.logits, ocr(plain, coarse, features))


@pytest.mark.parametrize("align_corners", [False, True])
def test_hrnet_fuses_its_branches_bilinearly(align_corners):
    fusion = "bilinear_corners" if align_corners else "bilinear"
    given = ("head=fcn", "backbone=timm", "backbone.model=hrnet_w18_small", f"+backbone.fusion={fusion}")
    backbone = randomise(released(K, *given)).eval().backbone
    module, plain = backbone.network.stage3[0], Plain(backbone)
    sizes = [(17, 23), (9, 12), (5, 6)]
    maps = [torch.randn(1, c, *s, dtype=torch.double) for c, s in zip(backbone.channels[:3], sizes, strict=True)]
    branches = [branch(x) for branch, x in zip(module.branches, maps, strict=True)]
    name = "network.stage3.0.fuse_layers.1"
    finer = plain.norm(f"{name}.0.0.1", plain.conv(f"{name}.0.0.0", branches[0], stride=2))
    coarser = plain.norm(f"{name}.2.1", plain.conv(f"{name}.2.0", branches[2]))
    coarser = F.interpolate(coarser, sizes[1], mode="bilinear", align_corners=align_corners)
    close(module([*maps])[1], F.relu(finer + branches[1] + coarser))
    names = released(K, *given[:-1], device="meta").state_dict().keys()
    assert names == released(K, *given, device="meta").state_dict().keys()
    image = torch.zeros(1, 3, 65, 97, dtype=torch.uint8)
    assert [x.shape[-2:] for x in backbone(image)] == [(17, 25), (9, 13), (5, 7), (3, 4)]


@pytest.mark.parametrize("training", [False, True])
def test_asp_ocr(training):
    """The context is one of five branches, in front; everything is a quarter of what the maps have."""
    network = randomise(released(K, "head=ocr_aspp_official", "width=16")).train(training)
    stage3, stage4 = (torch.randn(2, c, 9, 7, dtype=torch.double) for c in (48, 96))
    plain, head = Plain(network, training), "head.fuse"
    coarse = coarse_maps(plain, stage3)
    x = plain.block("head.reduce", stage4)
    assert x.shape[1] == 8
    branches = [distribute(plain, x, gather(coarse.flatten(2).softmax(-1), x))]
    branches.append(plain.block(f"{head}.branches.0", stage4))
    for index, rate in enumerate((12, 24, 36), 1):
        branches.append(plain.block(f"{head}.branches.{index}", stage4, dilation=rate))
    z = plain.block(f"{head}.fuse", torch.cat(branches, dim=1))
    output = network.head([stage3, stage4])
    close(output.extras["aux_logits"], coarse)
    close(output.logits, plain.conv("head.classifier", z))


def test_asp_ocr_has_the_released_widths():
    head = released(K, "head=ocr_aspp_official", "backbone=resnet101s", device="meta").head
    assert head.fuse.fuse[0].weight.shape == (256, 1280, 1, 1)
    assert head.attention.phi[0][0].weight.shape == (128, 256, 1, 1)


@pytest.mark.parametrize("ideal", ["both", "gather", "distribute"])
def test_the_ground_truth_networks(ideal):
    """Void is a region of its own; where the regions are those of the classes, it counts as the last class."""
    network = randomise(released(K, "head=ocr_ground_truth_official", f"head.ideal={ideal}", "width=16")).eval()
    stage3, stage4 = (torch.randn(2, c, 9, 7, dtype=torch.double) for c in (48, 96))
    mask = torch.randint(0, K - 2, (2, 70, 50), dtype=torch.uint8)  # two classes are absent
    mask[:, :20, :20] = 255
    plain = Plain(network)
    rows, columns = torch.arange(9) * 70 // 9, torch.arange(7) * 50 // 7  # "nearest" rounds down
    labels = mask[:, rows][:, :, columns].long()
    count = K if ideal == "distribute" else K + 1
    onehot = F.one_hot(labels.masked_fill(labels == 255, count - 1).flatten(1), count).double()  # (B, hw, N)
    x = plain.block("head.reduce", stage4)
    if ideal == "distribute":
        coarse = coarse_maps(plain, stage3)
        close(network.head([stage3, stage4], mask).extras["aux_logits"], coarse)
        regions = coarse.flatten(2).softmax(-1)
    else:
        regions = F.normalize(onehot.mT, p=1, dim=-1)
    y = distribute(plain, x, gather(regions, x), None if ideal == "gather" else onehot)
    plain.turn("head.fuse.0.weight", x.shape[1], x.shape[1])
    z = plain.block("head.fuse", torch.cat([y, x], dim=1))
    close(network.head([stage3, stage4], mask).logits, plain.conv("head.classifier", z))
    assert (network.aux_head is None) is (ideal == "distribute")


@pytest.mark.slow
def test_dropouts():
    def rates(*overrides):
        head = released(K, *overrides, device="meta").head
        return head.coarse[1].p, head.dropout.p

    assert rates("head=ocr_official") == (0.05, 0.05)
    assert rates("head=ocr_aspp_official") == (0.1, 0.1)
    assert rates("head=ocr_hrnet_official", "backbone=hrnet_w18") == (0.0, 0.05)
    assert released(K, "head=ocr_ground_truth_official", device="meta").aux_head.dropout.p == 0.05
