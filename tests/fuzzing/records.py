"""Class files and run folders: read as they were written, or refused; one broken run hides no other."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import yaml

from contextseg import load_run
from contextseg.commands.report.command import report
from contextseg.commands.report.options import ReportOptions
from contextseg.data.class_file import ClassFile, read_class_file
from contextseg.runs import lock, store
from contextseg.runs.folder import RunFolder
from fuzzing.case import Case, Fault, damaged, mutated, plain_value
from fuzzing.world import NAMES, World

FACTS = {
    "names": list(NAMES),
    "palette": [[0, 0, 0], [200, 0, 0], [0, 0, 200]],
    "ids": {0: "background", 7: "ball", 255: "box"},
    "ignore": [3, 4],
    "groups": {"things": ["ball", "box"]},
    "flip_pairs": [["ball", "box"]],
}
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
TRICKS = {  # never right
    "a bomb": BOMB + "names: *a9\n",
    "a bomb beside": "names: [a, b]\n" + BOMB,
    "a bomb in names": BOMB.replace("a0:", "names:", 1),
    "a key twice": "names: [a, b]\nnames: [b, a]\n",
    "an id twice": "names: [a, b]\nids: {0: a, 0: b}\n",
    "an id twice, in other words": "names: [a, b]\nids: {1: a, 0x1: b}\n",
    "deep": "names: " + "[" * 5000 + "]" * 5000,
    "deep mappings": "".join(" " * i + "a:\n" for i in range(900)),
    "no date": "names: [a, 2001-99-99]\n",
    "a tag": "names: !!python/object/apply:os.system [id]\n",
    "no binary": "names: [a, !!binary '?']\n",
    "a list as a key": "names: [a, b]\n? [1, 2]\n: 3\n",
    "itself": "names: &a [b, *a]\n",
    "a number too long": f"names: [a, b]\nignore: [{'9' * 6000}]\n",
    "two documents": "names: [a, b]\n---\nnames: [b, c]\n",
    "tabs": "names:\n\t- a\n\t- b\n",
    "empty": "",
    "a list": "- a\n- b\n",
    "no": "names: [a, no]\n",
    "nothing behind": "names:\n",
}


def draw_classes(rng: random.Random, world: World) -> Case:
    """Draw a class file: another structure, damaged bytes, or a trick of YAML."""
    path = world.empty() / "classes.yaml"
    how = rng.choice(("structure", "structure", "structure", "bytes", "trick"))
    facts: Any = {key: value for key, value in FACTS.items() if key == "names" or rng.random() < 0.6}
    said = ""
    if how == "structure":
        for _ in range(rng.choice((0, 1, 1, 2))):
            one, facts = mutated(rng, facts)
            said += f" {one}"
        path.write_text(yaml.safe_dump(facts, allow_unicode=True))
    elif how == "bytes":
        said, data = damaged(rng, yaml.safe_dump(facts).encode(rng.choice(("utf-8", "utf-8", "utf-16", "latin-1"))))
        path.write_bytes(data)
    else:
        said = rng.choice(list(TRICKS))
        path.write_text(TRICKS[said])
    return Case(f"{how}: {said}", lambda: ask_classes(path, how), (str(path),), how == "structure" and not said)


def ask_classes(path: Path, how: str) -> None:
    """Read the file; compare what was read with what another reader finds."""
    found = read_class_file(path, "mine")
    if how == "trick":
        raise Fault("silent: it was taken")
    if (wanted := facts_in(yaml.safe_load(path.read_bytes()))) != (there := facts_of(found)):
        raise Fault(f"silent: {there} was read, not {wanted}")


def facts_in(raw: dict) -> tuple:
    """Return the facts of a right class file."""
    return (
        tuple(raw["names"]),
        tuple(map(tuple, raw.get("palette") or [])),
        raw.get("ids"),
        {group: tuple(names) for group, names in (raw.get("groups") or {}).items()},
        tuple(map(tuple, raw.get("flip_pairs") or [])),
        tuple(one if isinstance(one, int) else tuple(one) for one in raw.get("ignore") or []),
    )


def facts_of(found: ClassFile) -> tuple:
    """Return the same facts as contextseg read them."""
    names = found.classes.names
    return (
        names,
        found.classes.palette if found.has_palette else (),
        None if found.ids is None else {raw: names[train] for raw, train in found.ids.items()},
        found.classes.groups,
        tuple((names[a], names[b]) for a, b in found.classes.flip_pairs),
        found.ignore,
    )


FILES = ("config.yaml", "metrics.json", "metrics.csv", "run.lock", "per_image", "checkpoints/last.ckpt")


def draw_run(rng: random.Random, world: World) -> Case:
    """Draw a folder of two runs, one of them with a file that is gone, garbled, or of another structure."""
    folder = world.empty()
    whole, broken = folder / "whole" / "2026-01-01_00-00-00", folder / "broken" / "2026-01-02_00-00-00"
    for place in (whole, broken):
        shutil.copytree(world.run, place)
    name = rng.choice((*FILES, "config.yaml", "config.yaml", "metrics.json", "metrics.json"))
    file = next(iter(sorted((broken / name).glob("*"))), broken / name)
    how = rng.choice(("gone", "bytes", "structure", "structure", "structure", "a folder"))
    if how == "structure" and name in ("config.yaml", "metrics.json"):
        parse, dump = (yaml.safe_load, yaml.safe_dump) if name == "config.yaml" else (json.loads, json.dumps)
        said, content = mutated(rng, parse(file.read_text()))
        file.write_text(dump(content))
    elif how == "structure" and name == "run.lock":
        said = repr(content := {"pid": plain_value(rng), "host": plain_value(rng), "start": plain_value(rng)})
        file.write_text(json.dumps(content))
    elif how in ("bytes", "structure"):
        said, data = damaged(rng, file.read_bytes() if file.is_file() else b"{}")
        file.write_bytes(data)
    else:
        said = how
        file.unlink(missing_ok=True)
        if how == "a folder":
            file.mkdir()
    ask = rng.choice((ask_store, ask_store, ask_load, ask_lock, ask_report))
    return Case(f"{ask.__name__} {file.relative_to(broken)}: {said}", lambda: ask(whole, broken), (str(broken),))


def ask_store(whole: Path, broken: Path) -> None:
    """Find the runs and group them: the whole one is among them, as it was written."""
    runs = store.find(whole.parents[1])
    store.grouped(runs)
    [one.stands_for(two.config) for one in runs for two in runs if one.config and two.config]
    metrics = RunFolder(whole).read_metrics(strict=True)
    if [run.metrics for run in runs if run.folder == whole] != [metrics]:
        raise Fault("silent: the whole run is not found beside the broken one")


def ask_load(whole: Path, broken: Path) -> None:
    """Load the broken run."""
    load_run(broken)


def ask_lock(whole: Path, broken: Path) -> None:
    """Take the lock of the broken run."""
    lock.busy(broken)
    lock.held(broken)
    with lock.at_work(broken):
        pass


def ask_report(whole: Path, broken: Path) -> None:
    """Report on both."""
    report(ReportOptions(runs=whole.parents[1], least_steps=0, resamples=100, tables=["ctnet_t5"]))
