"""Weights made for the reverse order of a concatenation: brought to ours, they give the same numbers."""

import pytest
import torch
from released import randomise
from torch import nn

from contextseg.block_order import RETIRED, reordered, retired_rules, reversed_blocks
from contextseg.classes import class_set
from contextseg.heads.agln import AGLNHead
from contextseg.heads.ccnet import CCNetHead
from contextseg.heads.ctnet import CTNetHead
from contextseg.heads.fpn import FPNHead
from contextseg.heads.ocr import OCRHead
from contextseg.heads.ocr_ground_truth import OCRGroundTruthHead
from contextseg.necks.jpu import JPU
from contextseg.parts import upgrade_config
from contextseg.recipe import upgrade

K, C = 5, 4
CHANNELS, STRIDES = (6, 7, 8, 9), (4, 8, 16, 32)
REST = {  # of a recipe
    "backbone": {"_target_": "Tiny"},
    "neck": {"_target_": "NoNeck"},
    "head": {"_target_": "FCNHead"},
    "aux_head": None,
    "classes": class_set("camvid").to_dict(),
}
HALVES = ("head.fuse", [C, C])
PYRAMID = ("head.fusion.fuse", [C] * 4)
NETWORKS = {  # what makes it, and of each module behind a concatenation: what came first, by its channels
    "OCRHead": (lambda: OCRHead(CHANNELS, K, channels=C), [HALVES]),
    "OCRGroundTruthHead": (lambda: OCRGroundTruthHead(CHANNELS, K, channels=C), [HALVES]),
    "CTNetHead": (lambda: CTNetHead(CHANNELS, K, channels=C), [HALVES]),
    "CCNetHead": (lambda: CCNetHead(CHANNELS, K, channels=C, key_channels=2), [("head.fuse", [C, CHANNELS[-1]])]),
    "FPNHead": (lambda: FPNHead(CHANNELS, K, channels=C, strides=STRIDES), [PYRAMID]),
    "AGLNHead": (lambda: AGLNHead(CHANNELS, K, channels=C, strides=STRIDES, num_descriptors=3), [PYRAMID]),
    "JPU": (lambda: JPU(CHANNELS, STRIDES, channels=C), [(f"neck.dilated.{i}", [C] * 3) for i in range(4)]),
}


def network(part: str) -> nn.ModuleDict:
    """A part under the name that it has in a network."""
    torch.manual_seed(0)
    return randomise(nn.ModuleDict({"neck" if part == "JPU" else "head": NETWORKS[part][0]()})).eval()


def output(net: nn.ModuleDict) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    sizes = [(12, 16), (6, 8), (3, 4), (2, 2)]
    maps = [
        torch.randn(2, c, *size, generator=generator, dtype=torch.double)
        for c, size in zip(CHANNELS, sizes, strict=True)
    ]
    mask = torch.randint(0, K, (2, 24, 32), generator=generator, dtype=torch.uint8)
    if "neck" in net:
        return net["neck"](maps)[-1]
    return net["head"](maps, *[mask] * net["head"].needs_mask).logits


def other_order(net: nn.ModuleDict, part: str) -> None:
    """Give the modules behind the concatenations their inputs in the reverse order."""
    for name, sizes in NETWORKS[part][1]:
        net.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, sizes=sizes: torch.cat(inputs[0].split(sizes, dim=1)[::-1], dim=1)
        )


def test_every_part_that_had_a_setting_is_tested():
    assert NETWORKS.keys() == RETIRED.keys()


@pytest.mark.parametrize("part", NETWORKS)
@torch.no_grad()
def test_weights_of_the_reverse_order_give_the_same_numbers(part):
    old = network(part)
    other_order(old, part)
    setting = RETIRED[part]
    node = {"_target_": f"contextseg.somewhere.{part}", setting.name: not setting.kept, "channels": C}
    weights = {f"segmenter.{name}": value for name, value in old.state_dict().items()}
    place = "neck" if part == "JPU" else "head"
    upgraded = upgrade({"recipe": REST | {place: node}, "state_dict": weights}, "ckpt=old.ckpt")
    assert upgraded["recipe"] == REST | {"format": 2, place: {"_target_": part, "channels": C}}
    new = network(part)
    new.load_state_dict({name.removeprefix("segmenter."): value for name, value in upgraded["state_dict"].items()})
    torch.testing.assert_close(output(new), output(old))
    assert not torch.allclose(output(network(part)), output(old)), "the order did not matter here"


@pytest.mark.parametrize("part", NETWORKS)
@pytest.mark.parametrize("given", [True, False])
def test_weights_of_our_order_stay(part, given):
    weights = {f"segmenter.{name}": value for name, value in network(part).state_dict().items()}
    assert not retired_rules(part, {RETIRED[part].name: RETIRED[part].kept} if given else {}, weights)


def test_a_network_without_the_concatenation_stays():
    """ASPP-OCR beside its context, and CTNet's OCCM."""
    for part, head in (
        ("OCRHead", OCRHead(CHANNELS, K, channels=8, aspp_rates=(2,), aspp_beside=True)),
        ("CTNetHead", CTNetHead(CHANNELS, K, channels=C, modules="ccm")),
    ):
        weights = {f"segmenter.head.{name}": value for name, value in head.state_dict().items()}
        rules = retired_rules(part, {"context_first": True}, weights)
        assert all(torch.equal(reordered(name, value, rules), value) for name, value in weights.items())


def test_the_momenta_of_an_optimizer_follow_their_weights():
    net = nn.ModuleDict({"segmenter": network("CCNetHead")})
    optimizer = torch.optim.AdamW(net.parameters())
    sum(p.sum() for p in net.parameters()).backward()
    optimizer.step()
    for parameter, kept in optimizer.state.items():
        kept["exp_avg"] = parameter.detach().clone()  # to be recognised
    node = {"_target_": "CCNetHead", "context_first": False}
    old = {
        "recipe": REST | {"head": node},
        "state_dict": net.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
    }
    names = [name for name, _ in net.named_parameters()]
    new = upgrade(old, "resume", names)
    for index, kept in new["optimizer_states"][0]["state"].items():
        assert torch.equal(kept["exp_avg"], new["state_dict"][names[index]])
        assert kept["step"] == 1
    changed = {name for name in names if not torch.equal(new["state_dict"][name], old["state_dict"][name])}
    assert changed == {"segmenter.head.fuse.0.weight"}


def test_the_memory_format_stays():
    weight = torch.randn(3, 8, 2, 2).to(memory_format=torch.channels_last)
    for value in (weight, weight.contiguous()):
        assert reordered("a", value, [("a", 2)]).stride() == value.stride()


def test_blocks_that_do_not_fit_are_refused():
    assert reversed_blocks(5, [2, 3]) == [2, 3, 4, 0, 1]
    for blocks in (2, [2, 2]):
        with pytest.raises(ValueError, match="do not make 5 channels"):
            reversed_blocks(5, blocks)


def test_saved_configurations_lose_the_setting():
    """So that a run of an older version and a present one differ in nothing."""
    old = {"head": {"_target_": "contextseg.heads.ccnet.CCNetHead", "context_first": True, "channels": None}}
    assert upgrade_config(old) == {"head": {"_target_": "CCNetHead", "channels": None}}
    own = {"head": {"_target_": "my_package.Head", "context_first": True}}
    assert upgrade_config(own) == own
