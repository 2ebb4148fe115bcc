"""The recipe of a network: plain settings that are saved with its weights and rebuild it.

    {"format": 2, "backbone": node, "neck": node, "head": node, "aux_head": node or None,
     "align_corners": bool, "attention": str, "classes": {...}, "versions": {...},
     and where they are not the default "value_range": [low, high], "fill": [r, g, b]}

A node names a part and its settings (`parts`). Format 1 named the modules of the parts too, and had settings for the
order of maps in a concatenation, which is fixed now (`block_order`); `upgrade` reads it.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from contextseg import heads, parts, typed
from contextseg.attention_control import ATTENTIONS, control
from contextseg.backbones.base import Backbone
from contextseg.block_order import Rules, reordered, retired_rules
from contextseg.classes import ClassSet
from contextseg.contract import Head, Neck
from contextseg.errors import ConfigError
from contextseg.inference import PAD_COLOUR
from contextseg.segmenter import Segmenter

FORMAT = 2
PARTS = ("backbone", "neck", "head", "aux_head")
KINDS = {
    "format": Literal[1, 2],
    "backbone": dict[str, Any],
    "neck": dict[str, Any],
    "head": dict[str, Any],
    "aux_head": dict[str, Any] | None,
    "align_corners": bool,
    "attention": Literal[ATTENTIONS],
    "classes": dict[str, Any],
    "value_range": tuple[float, float] | None,
    "fill": typed.Colour,
}
OPTIONAL = ("format", "align_corners", "attention", "value_range", "fill")  # in some formats, or if not the default


def network(recipe: Mapping[str, Any], reads: Mapping[str, str] | None = None) -> Segmenter:
    """Build the network of a recipe, with the auxiliary head if a loss term reads what the head does not emit.

    `reads`: what each loss term reads, by the term's name. Raises `ConfigError` if that is nothing the head emits.
    """
    classes = ClassSet.from_dict(recipe["classes"])
    backbone = parts.make(recipe["backbone"], "backbone", Backbone)
    neck = parts.make(recipe["neck"], "neck", Neck, in_channels=backbone.channels, strides=backbone.strides)
    kind = parts.find(recipe["head"]["_target_"], "head", Head)
    try:
        head = parts.make(recipe["head"], "head", Head, num_classes=len(classes), **maps_known(kind, neck))
    except IndexError as error:
        raise ConfigError(
            f"{kind.__name__} reads more maps than the {len(neck.channels)} it gets; use neck=none"
        ) from error
    missing = {name: term for term, name in (reads or {}).items() if name not in head.emits | {"logits"}}
    aux_head = None
    if "aux_logits" in missing:
        aux_head = parts.make(
            recipe["aux_head"], "aux_head", Head, in_channels=backbone.channels, num_classes=len(classes)
        )
    for name in missing.keys() - {"aux_logits"}:
        fitting = sorted(other for other, kind in head_classes().items() if name in kind.can_emit)
        raise ConfigError(
            f"loss term {missing[name]} reads {name!r}, but head {type(head).__name__} emits "
            f"{', '.join(sorted(head.emits)) or 'nothing'}; heads that emit it: {', '.join(fitting) or 'none'}; "
            "or choose another loss"
        )
    control(head, recipe.get("attention", "learned"))
    values = recipe.get("value_range")
    return Segmenter(
        *(backbone, neck, head, aux_head),
        classes=classes,
        align_corners=recipe.get("align_corners", False),
        value_range=values and (values[0], values[1]),
        fill=tuple(recipe.get("fill", PAD_COLOUR)),
    )


def backbone_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the backbone's maps depend on: all but where its first weights came from."""
    return {name: value for name, value in recipe["backbone"].items() if name != "weights"}


def maps_known(kind: Callable[..., Head], neck: Neck) -> dict[str, Sequence[int]]:
    """Return what a head needs to know of its neck's maps: channels, and strides if its constructor takes them."""
    facts = {"in_channels": neck.channels}
    return facts | ({"strides": neck.strides} if "strides" in inspect.signature(kind).parameters else {})


def head_classes() -> dict[str, type[Head]]:
    """Return the one head of every file in `contextseg.heads`, by the file's name."""
    names = sorted(info.name for info in pkgutil.iter_modules(heads.__path__))
    return {name: only_class(f"contextseg.heads.{name}", Head) for name in names}


def only_class(module: str, base: type) -> type:
    """Return the one subclass of `base` that a module defines."""
    found = importlib.import_module(module)
    (kind,) = (
        kind
        for _, kind in inspect.getmembers(found, inspect.isclass)
        if issubclass(kind, base) and kind.__module__ == found.__name__
    )
    return kind


def upgrade(checkpoint: dict[str, Any], file: str, parameters: Sequence[str] = ()) -> dict[str, Any]:
    """Bring the contents of a checkpoint to the present format.

    `parameters`: names of the weights in the order of the optimizer, if its state is needed. Raises `ConfigError` for a
    format newer than this code, and for a recipe that lacks something or holds another kind of thing there.
    """
    version = checkpoint["recipe"].get("format", 1)
    if isinstance(version, int) and version > FORMAT:
        raise ConfigError(
            f"{file}: its recipe has format {version}, newer than {FORMAT}, which this version reads; update contextseg"
        )
    refuse_wrong(checkpoint["recipe"], file)
    if version < 2:
        checkpoint = in_present_order(checkpoint, parameters)
        recipe = {"format": FORMAT} | parts.upgrade_config(checkpoint["recipe"])
        checkpoint |= {"recipe": recipe, "config": parts.upgrade_config(checkpoint.get("config", {}))}
    return checkpoint


def refuse_wrong(recipe: Mapping[str, Any], file: str) -> None:
    """Raise `ConfigError` for a recipe, of any format, without one of its `KINDS` or with another kind there."""
    for name, kind in KINDS.items():
        if name in recipe:
            typed.check(kind, recipe[name], f"{file}: recipe.{name}")
        elif name not in OPTIONAL:
            raise ConfigError(f"{file}: its recipe has no {name}, so no network can be built from it")
    for part in PARTS:
        if recipe[part] is not None and not isinstance(recipe[part].get("_target_"), str):
            raise ConfigError(f"{file}: recipe.{part}={typed.shown(recipe[part])}: names no part (_target_)")
    ClassSet.check(recipe["classes"], f"{file}: recipe.classes")


def in_present_order(checkpoint: dict[str, Any], parameters: Sequence[str]) -> dict[str, Any]:
    """Return a checkpoint of format 1, its weights and the optimizer's momenta in the order that networks have now."""
    weights, nodes = checkpoint["state_dict"], filter(None, map(checkpoint["recipe"].get, ("neck", "head")))
    rules = [rule for node in nodes for rule in retired_rules(parts.short(node["_target_"]), node, weights)]
    ordered = checkpoint | {"state_dict": {name: reordered(name, value, rules) for name, value in weights.items()}}
    if parameters:
        ordered["optimizer_states"] = [
            one | {"state": {i: momenta(kept, parameters[i], rules) for i, kept in one["state"].items()}}
            for one in checkpoint["optimizer_states"]
        ]
    return ordered


def momenta(kept: Mapping[str, Any], parameter: str, rules: Rules) -> dict[str, Any]:
    """Return what an optimizer keeps of a parameter, in the order of its channels."""
    return {
        key: reordered(parameter, value, rules) if isinstance(value, Tensor) else value for key, value in kept.items()
    }
