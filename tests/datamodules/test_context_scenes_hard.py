"""The scenes of each factor: what its cues change, that nothing else decides, and what makes it what it claims."""

import hashlib
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, label
from scipy.stats import binom

from contextseg.classes import ClassSet, class_set
from contextseg.commands.compose import compose
from contextseg.data.factors.distractors import Distractors
from contextseg.data.factors.facts import Facts
from contextseg.data.factors.matching import Matching
from contextseg.data.factors.neighbours import Neighbours
from contextseg.data.factors.off_cross import OffCross
from contextseg.data.factors.scales import Scales
from contextseg.datamodules import context_scenes
from contextseg.datamodules.context_scenes_hard import ContextScenesHard
from contextseg.engine import build
from contextseg.errors import ConfigError

ALL = class_set("context_scenes_hard")
FACTORS = tuple(compose(["data=context_scenes_hard"]).data.factors)
OPPOSITES = {  # classes that a cue tells apart, one side and the other
    "facts": (["light_tile"], ["dark_tile"]),
    "matching": (["light_field"], ["dark_field"]),
    "distractors": (["decoy"], ["disc", "square", "diamond", "cross", "triangle"]),
    "neighbours": (["light_area"], ["dark_area"]),
    "off_cross": (["sand", "sea", "parasol"], ["road", "glass", "car"]),
    "scales": (["sand", "sea", "parasol", "pole"], ["road", "glass", "car", "rail"]),
}
SCENES = range(40)
VOID = 255
every_factor = pytest.mark.parametrize("name", FACTORS)


@cache
def data(*overrides):
    return build.datamodule(compose(["data=context_scenes_hard", *overrides]))


def of(name, *overrides):
    return data(f"data.factor={name}", *overrides)


def unlit(factor, index, flip=False, size=96):
    """A scene before light and noise, without void: image float32, positions in the factor's `paints`."""
    return factor.draw(np.random.default_rng([1, index]), size, flip)


def factor_of(name):
    """The factor with the settings of the configuration."""
    return of(name).draw.keywords["factors"][0]


def ids(factor, names):
    return [factor.paints.index(name) for name in names]


# every factor


@every_factor
def test_seed_and_index_decide_the_scene(name):
    draw = of(name).draw
    image, mask = draw(3, 7)
    again, mask_again = draw(3, 7)
    assert (image.dtype, image.shape, mask.dtype, mask.shape) == (np.uint8, (96, 96, 3), np.uint8, (96, 96))
    assert np.array_equal(image, again)
    assert np.array_equal(mask, mask_again)
    assert not np.array_equal(image, draw(3, 8)[0])
    assert not np.array_equal(image, draw(4, 7)[0])


@every_factor
def test_a_flip_repaints_the_cues_alone_and_relabels_what_looks_the_same(name):
    draw, flipped = of(name).draw, of(name, "data.flip=true").draw
    for index in SCENES:
        image, mask = draw(1, index)
        other_image, other_mask = flipped(1, index)
        repainted = (image != other_image).any(2)
        assert 100 < repainted.sum() < 0.1 * mask.size
        context = (mask != other_mask) & ~repainted
        assert context.sum() > (400 if name == "distractors" else 3000)  # its objects are small


@every_factor
def test_a_flip_draws_the_same_random_numbers(name):
    states = []
    for flip in (False, True):
        rng = np.random.default_rng([1, 0])
        factor_of(name).draw(rng, 96, flip)
        states.append(rng.bit_generator.state)
    assert states[0] == states[1]


@every_factor
def test_a_flip_exchanges_opposites_and_nothing_else(name):
    factor = factor_of(name)
    one, other = (ids(factor, names) for names in OPPOSITES[name])
    for index in SCENES:
        parts, flipped = (unlit(factor, index, flip)[1] for flip in (False, True))
        cues = ids(factor, {"parasol", "car"} & set(factor.paints))
        same = ~np.isin(parts, cues) & ~np.isin(flipped, cues)  # a parasol has not the outline of a car
        assert np.array_equal(np.isin(parts, one)[same], np.isin(flipped, other)[same])
        assert np.array_equal(np.isin(parts, other)[same], np.isin(flipped, one)[same])
        fixed = same & ~np.isin(parts, one + other)
        assert np.array_equal(parts[fixed], flipped[fixed])


@every_factor
def test_every_class_is_painted_and_no_other(name):
    found = np.unique([of(name).draw(1, index)[1] for index in SCENES])
    assert found.tolist() == [*range(len(of(name).classes)), VOID]


@every_factor
def test_the_cues_are_fair(name):
    factor = factor_of(name)
    parts = np.stack([unlit(factor, index)[1] for index in range(120)])
    one, other = (np.isin(parts, ids(factor, names)).sum() for names in OPPOSITES[name])
    assert 0.43 < one / (one + other) < 0.57


@every_factor
def test_void_lies_along_borders_and_never_on_thin_classes(name):
    factor, classes = factor_of(name), of(name).classes
    for index in SCENES:
        mask, parts = of(name).draw(1, index)[1], unlit(factor, index)[1]
        assert 0 < (mask == VOID).mean() < 0.1
        for position, painted in enumerate(factor.paints):
            left, whole = (mask == classes.names.index(painted)).sum(), (parts == position).sum()
            assert left == whole if painted in factor.thin else left <= whole


@every_factor
def test_a_larger_image(name):
    image, mask = of(name, "data.size=160").draw(1, 0)
    assert (image.shape, mask.shape) == ((160, 160, 3), (160, 160))


# what each claims


def test_facts_tiles_are_equally_bright_whatever_the_cards_say():
    factor, tiles = factor_of("facts"), {1: [], 2: []}
    for index in SCENES:
        image, parts = unlit(factor, index)
        for kind, found in tiles.items():
            found.extend(image[factor.strip :].mean(2)[parts[factor.strip :] == kind])
        flipped = unlit(factor, index, flip=True)[0]
        repainted = (image != flipped).any(2)
        assert set(np.concatenate([image[repainted], flipped[repainted]]).mean(1).round()) == {68, 188}  # of the cards
    light, dark = (np.array(found) for found in tiles.values())
    assert light.mean() == pytest.approx(128, abs=0.5)
    assert light.mean() == pytest.approx(dark.mean(), abs=0.5)
    assert light.std() == pytest.approx(dark.std(), rel=0.05)


def test_facts_are_independent_of_each_other():
    """So many of the cards are dark as of coins that are thrown."""
    factor = factor_of("facts")
    counts = np.zeros(factor.materials + 1, int)
    for index in range(160):
        image, parts = unlit(factor, index)
        cards = image[: factor.strip].mean(2)
        dark = label((cards.round() == 68) & (parts[: factor.strip] == 2))[1]
        light = label((cards.round() == 188) & (parts[: factor.strip] == 1))[1]
        assert dark + light == factor.materials
        counts[dark] += 1
    assert counts / 160 == pytest.approx(binom.pmf(range(len(counts)), factor.materials, 0.5), abs=0.08)


def cards(factor, index):
    """Of `matching`: colour (5, 3) and label (5,) of the cards, and the grey of their frames (5,)."""
    image, parts = (array[: factor.strip] for array in unlit(factor, index))
    regions, count = label((parts > 0) & (image.std(2) > 0))  # without the frames
    assert count == factor.colours
    found = [np.argwhere(regions == number) for number in range(1, count + 1)]
    assert all((image[tuple(region.T)] == image[tuple(region[0])]).all() for region in found)
    places = np.stack([region[0] for region in found])
    frames = image[tuple((places - 1).T)]
    assert (frames.std(1) == 0).all()
    return image[tuple(places.T)], parts[tuple(places.T)], frames[:, 0]


def test_matching_colours_are_apart_and_a_frame_names_the_class_of_its_colour():
    factor = factor_of("matching")
    for index in SCENES:
        colours, kinds, frames = cards(factor, index)
        distances = np.linalg.norm(colours[:, None] - colours, axis=2)[~np.eye(len(colours), dtype=bool)]
        assert distances.min() >= 0.9 * factor.distance
        assert np.array_equal(frames, np.array([240, 15])[kinds - 1])
        image, parts = (array[factor.strip :] for array in unlit(factor, index))
        nearest = np.linalg.norm(image[:, :, None] - colours, axis=3).argmin(2)
        assert (parts == kinds[nearest]).mean() > 0.9  # but for the grain


def test_distractors_flip_turns_decoys_into_shapes_and_back():
    factor, shapes = factor_of("distractors"), {}
    for index in SCENES:
        parts, flipped = (unlit(factor, index, flip)[1] for flip in (False, True))
        objects, count = label(parts >= 3)
        assert count == 5
        assert np.array_equal(parts >= 3, flipped >= 3)
        seen = []
        for number in range(1, 6):
            (kind,), (turned,) = (np.unique(mask[objects == number]) for mask in (parts, flipped))
            assert (kind == 3) != (turned == 3)
            seen.append(max(kind, turned))
            rows, columns = np.where(objects == number)
            outline = frozenset(zip(rows - rows.min(), columns - columns.min(), strict=True))
            assert shapes.setdefault(seen[-1], outline) == outline
        assert sorted(seen) == [4, 5, 6, 7, 8]  # one of each shape
    assert len(set(shapes.values())) == 5


def test_distractors_signs_show_the_shapes_that_are_present():
    """The shape in a sign has the outline of the objects of its class; as many signs are empty as there are decoys."""
    factor = factor_of("distractors")
    for index in SCENES:
        image, parts = unlit(factor, index)
        shapes, count = label((parts == 2) & (image != 210).any(2))
        shown = sorted([*np.bincount(shapes.ravel())[1:], *[0] * (5 - count)])
        objects = label(parts >= 3)[0]
        kinds = [parts[objects == number] for number in range(1, 6)]
        assert shown == sorted(len(kind) if kind[0] > 3 else 0 for kind in kinds)


@pytest.mark.parametrize("settings", [{}, {"groups": 6, "cells": 14, "radius": 6}])
def test_neighbours_half_of_the_rings_are_light_and_the_mean_tint_in_them_is_that_of_the_others(settings):
    factor, touching = Neighbours(**settings), np.ones((3, 3))
    for index in SCENES:
        image, parts = unlit(factor, index)
        for grey, kind in ((240, 0), (15, 1)):
            ring = (image == grey).all(2)
            assert label(ring, touching)[1] == factor.groups // 2
            assert (parts[ring] == kind).all()
        rings = label((image == 240).all(2) | (image == 15).all(2), touching)
        tints = {0: [], 1: []}
        for number in range(1, factor.groups + 1):
            row, column = np.argwhere(rings[0] == number).mean(0).round().astype(int)
            tints[parts[row, column]].append(image[row, column])  # of one colour up to the ring
        assert np.mean(tints[0], axis=0) == pytest.approx(np.mean(tints[1], axis=0), abs=1e-3)


@pytest.mark.parametrize("settings", [{}, {"angle": 0.31, "radius": 12}, {"angle": 0.25, "radius": 9}])
def test_off_cross_no_decided_pixel_shares_row_or_column_with_the_cue(settings):
    factor = OffCross(**settings)
    for index in SCENES:
        parts = unlit(factor, index)[1]
        cue = np.isin(parts, ids(factor, ["parasol", "car"]))
        decided = np.isin(parts, ids(factor, ["sand", "road", "sea", "glass"]))
        assert cue.any()
        assert decided.any()
        for axis in (0, 1):
            assert not (cue.any(axis) & decided.any(axis)).any()


def test_scales_are_large_areas_and_thin_things():
    """One fact decides all areas; lines and pebbles hold no square of 7 pixels."""
    factor = factor_of("scales")
    parts = np.stack([unlit(factor, index)[1] for index in SCENES])
    areas = (ids(factor, [name for name in names if name not in factor.thin]) for names in OPPOSITES["scales"])
    one, other = (np.isin(parts, labels).any((1, 2)) for labels in areas)
    assert np.array_equal(one, ~other)
    assert np.isin(parts, ids(factor, ["pole", "rail"])).mean() < 0.08
    assert np.isin(parts, ids(factor, ["sand", "road", "sea", "glass"])).mean() > 0.5
    for name in factor.thin:
        thin = parts == factor.paints.index(name)
        assert thin.any()
        assert not binary_erosion(thin, np.ones((1, 7, 7))).any()


def test_scales_dark_lines_are_poles_by_the_parasol_and_rails_by_the_car():
    factor, dark = factor_of("scales"), {}
    for index in SCENES:
        image, parts = unlit(factor, index)
        lines = np.isin(parts, ids(factor, ["pole", "rail"]))
        cue = "parasol" if (parts == factor.paints.index("parasol")).any() else "car"
        for grey in np.unique(image[lines]):
            kinds = {factor.paints[part] for part in parts[lines & (image == grey).all(2)]}
            dark.setdefault((cue, int(grey)), set()).update(kinds)
    assert dark == {
        ("parasol", 25): {"pole"},
        ("parasol", 235): {"rail"},
        ("car", 25): {"rail"},
        ("car", 235): {"pole"},
    }


# the choice of factors


@pytest.mark.parametrize(
    ("choice", "painted", "groups"),
    [
        ("facts", Facts.paints, ["facts"]),
        ("matching", Matching.paints, ["matching"]),
        ("distractors", Distractors.paints, ["distractors"]),
        ("neighbours", Neighbours.paints, ["neighbours"]),
        ("off_cross", OffCross.paints, ["off_cross"]),
        ("scales", Scales.paints, ["scales"]),
        ("[facts,scales]", (*Facts.paints, *Scales.paints[1:]), ["facts", "scales"]),
        ("[scales,facts]", (*Facts.paints, *Scales.paints[1:]), ["facts", "scales"]),
        ("null", ALL.names, list(ALL.groups)),
    ],
)
def test_the_classes_are_those_of_the_chosen_factors(choice, painted, groups):
    classes = of(choice).classes
    assert classes.names == painted
    assert list(classes.groups) == groups
    assert classes.palette == tuple(ALL.palette[ALL.names.index(name)] for name in painted)
    assert classes.name == "context_scenes_hard"
    assert of(choice).source("val").num_classes == len(painted)


def test_every_class_of_the_set_is_painted_by_a_factor():
    assert {name for factor in of("null").draw.keywords["factors"] for name in factor.paints} == set(ALL.names)
    assert set(FACTORS) == set(ALL.groups) == set(OPPOSITES)


def test_the_factors_take_turns():
    chosen = ("facts", "scales")
    for index in range(4):
        image, mask = of("[facts,scales]").draw(1, index)
        alone, own = of(chosen[index % 2]).draw(1, index)
        assert np.array_equal(image, alone)
        names, own_names = (np.array([*of(choice).classes.names]) for choice in ("[facts,scales]", chosen[index % 2]))
        assert np.array_equal(mask == VOID, own == VOID)
        assert np.array_equal(names[mask[mask != VOID]], own_names[own[own != VOID]])
    for index, name in enumerate((*FACTORS, *FACTORS)):
        assert np.array_equal(of("null").draw(1, index)[0], of(name).draw(1, index)[0])


def test_a_fingerprint_tells_scenes_apart():
    def fingerprint(*overrides):
        built = build.datamodule(compose(["data=context_scenes_hard", *overrides]))
        return built.source("val").fingerprint(0)

    plain = fingerprint("data.factor=facts")
    others = [
        fingerprint("data.factor=facts", "data.flip=true"),
        fingerprint("data.factor=facts", "data.noise=3"),
        fingerprint("data.factor=facts", "data.factors.facts.materials=3"),
        fingerprint("data.factor=matching"),
        of("facts").source("val").fingerprint(1),
        of("facts").source("test").fingerprint(0),
    ]
    assert fingerprint("data.factor=facts", "data.val_size=7") == plain
    assert len({plain, *others}) == 1 + len(others)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("data.factor=colour", rf"data\.factor=colour: choose one or several of {', '.join(FACTORS)}"),
        ("data.factor=[facts,colour]", r"data\.factor=\['facts', 'colour'\]: choose one or several of facts"),
        ("data.factor=[facts,facts]", r"each once"),
        ("data.factor=3", r"data\.factor=3: give text"),
        ("data.factor=[[facts]]", r"data\.factor=\[\[facts\]\]: give text or a list"),
        ("data.noise=much", r"data\.noise=much: give a number, 0 or more"),
        ("data.factors.matching.distance=-5", r"matching\.distance=-5: give a number, above 0, at most 120"),
        ("data.factor=[]", r"data\.factor=\[\]: choose one or several of facts"),
        ("data.size=96.5", r"data\.size=96\.5: give a whole number"),
        ("data.noise=-5", r"data\.noise=-5: give a number, 0 or more"),
        ("data.flip=maybe", r"data\.flip=maybe: .*true or false"),
        ("data.factors.facts.radius=8.5", r"data\.factors\.facts\.radius=8\.5: give a whole number"),
        ("data.size=95", r"data\.size=95 does not make a scene; give 96 to 512 pixels"),
        ("data.size=513", r"data\.size=513 .*96 to 512"),
        ("data.factors.facts.materials=1", r"data\.factors\.facts\.materials=1: give a whole number, 2 or more"),
        ("data.factors.facts.cells=5", r"data\.factors\.facts \(.*cells=5,.*\) makes no scene; give materials >= 2"),
    ],
)
def test_a_configuration_that_makes_no_scene_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        build.datamodule(compose(["data=context_scenes_hard", wrong]))


IMPOSSIBLE = [
    (Facts, {"materials": 1}, "materials >= 2"),
    (Facts, {"cells": 3}, "as many cells"),
    (Facts, {"radius": 1}, "2 <= radius"),
    (Facts, {"radius": 13}, "radius <= strip / 2"),
    (Facts, {"strip": 60}, "strip / 2 <= 24"),
    (Facts, {"materials": 9}, "2 radius materials <= 96"),
    (Matching, {"colours": 1}, "colours >= 2"),
    (Matching, {"cells": 4}, "as many cells"),
    (Matching, {"radius": 4}, "5 <= radius"),
    (Matching, {"radius": 14}, "radius <= strip / 2"),
    (Matching, {"colours": 7}, "2 radius colours <= 96"),
    (Distractors, {"copies": 0}, "1 to 3 copies"),
    (Distractors, {"copies": 4}, "1 to 3 copies"),
    (Distractors, {"radius": 8}, "radius <= 7"),
    (Distractors, {"strip": 17}, "strip >= 2 radius"),
    (Distractors, {"copies": 3, "strip": 25}, "strip \\+ 24 copies <= 96"),
    (Neighbours, {"groups": 2}, "an even number of groups from 4"),
    (Neighbours, {"groups": 5}, "an even number of groups"),
    (Neighbours, {"cells": 4}, "more cells"),
    (Neighbours, {"tint": 0}, "0 < tint"),
    (Neighbours, {"radius": 4}, "5 <= radius"),
    (Neighbours, {"radius": 10}, "radius groups < 38.4"),
    (OffCross, {"angle": 0.2}, "0.25 <= angle"),
    (OffCross, {"angle": 0.8}, "angle <= 0.75"),
    (OffCross, {"radius": 13}, "radius <= 12"),
    (OffCross, {"angle": 0.25, "radius": 10}, "2 radius \\+ 5 <= 96 angle"),
    (Scales, {"lines": 0}, "one pair of lines or more"),
    (Scales, {"gap": 1}, "2 <= gap"),
    (Scales, {"gap": 9}, "gap <= 8"),
    (Scales, {"radius": 4}, "5 <= radius"),
    (Scales, {"strip": 19}, "2 radius \\+ 2 <= strip"),
    (Scales, {"strip": 49}, "strip <= 48"),
]


@pytest.mark.parametrize(("kind", "wrong", "wanted"), IMPOSSIBLE)
def test_settings_that_make_no_scene_are_named(kind, wrong, wanted):
    settings = ".*".join(f"{name}={value}" for name, value in sorted(wrong.items()))
    with pytest.raises(
        ConfigError, match=rf"data\.factors\.[a-z_]+ \(.*{settings}.*\) makes no scene; give .*{wanted}"
    ):
        kind(**wrong)


LIMITS = [
    Facts(materials=6, cells=6, radius=8, strip=16),
    Facts(materials=2, cells=2, radius=24, strip=48),
    Facts(materials=24, cells=24, radius=2),
    Matching(colours=2, cells=2, radius=24, strip=48),
    Matching(colours=9, cells=9, radius=5, strip=10),
    Distractors(copies=3, strip=24),
    Distractors(copies=1, radius=4, strip=72),
    Neighbours(groups=4, cells=5, radius=9, tint=60),
    Neighbours(groups=6, cells=7, radius=6, tint=1),
    OffCross(angle=0.75, radius=12),
    OffCross(angle=0.25, radius=9),
    Scales(lines=1, pebbles=0, radius=12, strip=26),
    Scales(lines=20, gap=2, radius=5, strip=48),
]


@pytest.mark.parametrize("factor", LIMITS, ids=repr)
def test_settings_at_the_limit_make_scenes(factor):
    data = ContextScenesHard(factors={"facts": factor})
    for index in range(8):
        mask = data.draw(1, index)[1]
        assert set(np.unique(mask)) - {VOID} <= set(range(len(factor.paints)))
        image, parts = unlit(factor, index)
        other, flipped = unlit(factor, index, flip=True)
        assert (image != other).any()
        assert (parts != flipped).any()


# the rest


def test_a_part_of_a_class_set():
    colours = ((1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4))
    pairs = {"left": ("left_arm",), "arms": ("left_arm", "right_arm"), "all": ("head", "left_arm", "right_arm", "leg")}
    whole = ClassSet("body", ("head", "left_arm", "leg", "right_arm"), colours, groups=pairs, flip_pairs=((1, 3),))
    part = whole.subset(["right_arm", "left_arm", "leg"])
    assert part == ClassSet(
        "body",
        ("left_arm", "leg", "right_arm"),
        colours[1:],
        groups={"left": ("left_arm",), "arms": ("left_arm", "right_arm")},
        flip_pairs=((0, 2),),
    )
    assert part.ids("arms") == [0, 2]
    assert whole.subset(whole.names) == whole
    one = whole.subset(["head", "left_arm"])
    assert (one.groups, one.flip_pairs) == ({"left": ("left_arm",)}, ())
    assert ClassSet.from_dict(part.to_dict()) == part


def test_context_scenes_are_what_they_were():
    """Runs of `context_scenes` are compared across versions: their pixels stay."""
    digest = hashlib.sha256()
    for index in range(4):
        for array in context_scenes.draw_scene(1, index):
            digest.update(array.tobytes())
    assert digest.hexdigest() == "53b9f3e0f8308e50d7731a2074458a3f2bdd931b86f1e6edbd60b109f3b510be"
