"""The numbers and pictures of docs/diagnostic.md: for each factor, levels by theory and scores of the runs.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/diagnostic.py [FOLDER] [--collect [SOURCE]]

It prints tables of the runs below FOLDER (docs/results/diagnostic) and draws docs/pictures/diagnostic*.png. `--collect`
first copies there the runs below SOURCE (runs/ablations/diagnostic) that ended.

A level is the expected mIoU over the factor's classes on 300 scenes of val, without void. Context decides a pixel that
the generator's `flip` labels anew, except cues; all others count as right.

    blind     guesses each pixel by a fair coin
    sight     knows the pixels that see some repainted cue, theirs or not, within 35 px: a cell of backbone=tiny with a
              3x3 head sees 27 to each side, and the interpolation of the logits adds up to 8
    simple    knows, elsewhere, what one vector says to all pixels by the simplest rules; a network may learn more. In
              facts, matching and neighbours it takes the better of two rules: what most cues say, or which is nearer,
              the mean of the colours that go with light cues or with dark ones. In scales it guesses the thin classes,
              as a sum of context and detail does. In the other factors it knows all
    one_loop  in off_cross: as sight, and pixels that share a row or column with a cell that sees the cue, give or take
              the 16 px of a 3x3 convolution and the interpolation: the most that one criss-cross step can bring

Rows on other scenes, by settings of the factor, are a study of their own. A run missed the rule if it ended no more
than half way from blind to the best run of its study.
"""

import argparse
import json
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure
from scipy.ndimage import binary_fill_holes, maximum_filter, minimum_filter, uniform_filter

from contextseg import viz
from contextseg.commands.compose import compose
from contextseg.commands.report.compare import Choice, Line, with_runs
from contextseg.commands.report.figures import BASE, OURS, THEIRS
from contextseg.commands.report.rows import by_row
from contextseg.commands.samples.command import samples
from contextseg.contract import IGNORE_INDEX
from contextseg.data.factors.scales import Scales
from contextseg.data.scenes import SEEDS
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.engine import build
from contextseg.papers import rows as paper_rows
from contextseg.runs.folder import RunFolder
from contextseg.runs.store import Run, find, mean_sd

ROOT = Path(__file__).resolve().parents[1]
NUM_SCENES = 300
CELL, SIGHT = 27, 35  # pixels to each side that a cell sees, and with interpolation a pixel
CUE_GAP, SMOOTHING = 9, 7  # pixels: gaps up to this in what `flip` repaints belong to the cue; a mean over the texture
LARGE_DIFFERENCE = 5.0  # of mIoU, which separates two rows
STYLES = {"blind": ":", "sight": "--", "simple": "-.", "one_loop": (0, (5, 1))}
BY_COLOUR = ("facts", "matching", "neighbours")  # factors in which a light or dark cue goes with a colour
PAIRS = {  # rows with / without what the factor is about
    "facts": "reference, 32 descriptors / reference, 1 descriptor; AGLN-, N=64 / AGLN-, N=1; "
    "OCR, 64 regions, no region supervision / OCR, 1 region, no region supervision; "
    "reference, 16 descriptors, 4 facts / reference, 1 descriptor, 4 facts; "
    "AGLN-, N=64, 4 facts / AGLN-, N=1, 4 facts",
    "matching": "reference, a query for each pixel / reference, one query for all; "
    "OCR / OCR, DA relation; OCR / OCR, ACF relation",
    "distractors": "reference, presence supervised / reference, presence not supervised; "
    "CTNet, alpha=0.3, beta=0.1 / CTNet, alpha=0.4, beta=0; "
    "CTNet, beta=1, sigmoid, presence as target / CTNet, alpha=0.4, beta=0",
    "neighbours": "learnt affinity, supervised / learnt affinity, not supervised; "
    "reference, ideal affinity / reference, uniform affinity; "
    "CPNet, intra prior, affinity loss / CPNet, no prior; "
    "CPNet, intra and inter prior, affinity loss / CPNet, intra prior, affinity loss; "
    "CPNet, intra and inter prior, affinity loss / CPNet, inter prior, affinity loss",
    "off_cross": "CCNet, R=2 / CCNet, R=1",
    "scales": "reference, detail gated / reference, detail added; "
    "reference, detail added / reference, no detail; AGLN- / FPN; "
    "AGLN, channel resampling and spatial gating / AGLN-",
}
Study = tuple[str, tuple[str, ...]]  # factor, overrides of its settings
Scores = Mapping[str, tuple[float, float]]  # level -> mIoU, IoU of the factor's classes


def dilated(area: np.ndarray, reach: int) -> np.ndarray:
    """Grow an area, bool (H, W), by `reach` pixels."""
    return maximum_filter(area, 2 * reach + 1)


def known(name: str, data: SegDataModule, index: int) -> dict[str, np.ndarray]:
    """Return, for the P pixels of a scene that are not void, arrays (P,) by name.

    They are the `label`, the label after `flip` (`flipped`), and whether context `decided` it. The others say whether
    a pixel is right by what it sees (`sight`), by what `most` cues say, by the `nearer` mean colour, and by what one
    criss-cross step brings (`cross`).
    """
    image, mask = data.draw(SEEDS["val"], index)
    flipped_image, flipped = data.draw(SEEDS["val"], index, flip=True)
    repainted = (image != flipped_image).any(-1)
    cue = dilated(binary_fill_holes(minimum_filter(maximum_filter(repainted, CUE_GAP), CUE_GAP)), 1)  # with its frame
    decided = (mask != flipped) & (flipped != IGNORE_INDEX) & ~cue
    near = dilated(repainted, CELL)
    right = {
        "sight": dilated(repainted, SIGHT),
        "cross": dilated(near.any(0) | near.any(1)[:, None], 2 * (SIGHT - CELL)),
    }
    if name in BY_COLOUR:
        colours = (image.astype(np.float32) + flipped_image) / 2  # a card of `facts` is its hue, whatever it says
        shown = cue & (mask != flipped) & ~dilated(repainted, 1)  # what frames and rings surround
        shown = shown if shown.any() else repainted
        light, dark = (shown & (mask == kind) for kind in np.unique(np.stack([mask, flipped])[:, decided])[[0, -1]])
        means = [colours[kind].mean(0) if kind.any() else np.full(3, np.inf) for kind in (light, dark)]
        smooth = uniform_filter(colours, (SMOOTHING, SMOOTHING, 1))
        to_light, to_dark = (np.linalg.norm(smooth - mean, axis=-1) for mean in means)
        right["nearer"] = (to_light < to_dark) == (mask < flipped)
        right["most"] = (light.sum() > dark.sum()) == (mask < flipped)
    known = {"label": mask, "flipped": flipped, "decided": decided, **right}
    return {kind: values[mask != IGNORE_INDEX].astype(int) for kind, values in known.items()}


def iou(scenes: Mapping[str, np.ndarray], classes: int, right: np.ndarray | float) -> np.ndarray:
    """Compute IoU (classes,), %, from `known` of all pixels (P,), `right` with this chance where context decides."""
    label, decided = scenes["label"], scenes["decided"]
    wrong = (1 - right) * decided
    cells = classes * label + np.stack([label, np.where(decided, scenes["flipped"], label)])  # row truth, column guess
    counts = np.bincount(cells.ravel(), np.concatenate([1 - wrong, wrong]), classes**2).reshape(classes, classes)
    return 100 * counts.diagonal() / (counts.sum(0) + counts.sum(1) - counts.diagonal())


def datamodule(study: Study) -> SegDataModule:
    """Build the scenes of a study."""
    return build.datamodule(compose(["data=context_scenes_hard", f"data.factor={study[0]}", *study[1]]))


def levels(name: str, data: SegDataModule) -> Scores:
    """Compute the levels of a factor."""
    own = [data.classes.names.index(label) for label in data.classes.groups[name]]
    found = [known(name, data, index) for index in range(NUM_SCENES)]
    scenes = {kind: np.concatenate([scene[kind] for scene in found]) for kind in found[0]}
    seen = scenes["sight"]
    rights = {"blind": [np.full(len(seen), 0.5)], "sight": [np.where(seen, 1, 0.5)], "simple": [np.ones(len(seen))]}
    if name in BY_COLOUR:
        rights["simple"] = [seen | scenes[rule] for rule in ("most", "nearer")]
    if name == "off_cross":
        rights["one_loop"] = [np.where(seen | scenes["cross"], 1, 0.5)]
    if name == "scales":
        thin = [data.classes.names.index(label) for label in Scales.thin]
        rights["simple"] = [np.where(np.isin(scenes["label"], thin), 0.5, 1)]
    scores = {}
    for level, ways in rights.items():
        best = max((iou(scenes, len(data.classes), right) for right in ways), key=np.mean)
        scores[level] = best.mean(), best[own].mean()
    return scores


def lines_of(name: str, runs: Iterable[Run]) -> dict[Study, list[Line]]:
    """Collect the rows of a factor with their runs, by study."""
    table = paper_rows.table(f"diagnostic/{name}")
    rows = zip(table["rows"], by_row(runs, [table])[0].values(), strict=True)
    lines = [with_runs(Line(row["row"], {}, overrides=row["overrides"]), mine, Choice()) for row, mine in rows]
    studies: dict[Study, list[Line]] = {}
    for line in lines:
        settings = tuple(text for text in line.overrides if text.startswith("data.factors."))
        studies.setdefault((name, settings), []).append(line)
    return studies


def title(study: Study) -> str:
    """Name a study: the factor, and its settings where they are not the usual ones."""
    name, settings = study
    return ", ".join([name, *(text.rpartition(".")[2] for text in settings)])


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ["---"] * len(header), *rows))


def spread(values: Sequence[float]) -> str:
    """Write mean ± sample standard deviation."""
    return " ± ".join(f"{value:.1f}" for value in mean_sd(values) if value is not None)


def row_cells(line: Line, name: str, learnt: float) -> list[str]:
    """Return row, steps, finished seeds, mIoU, IoU of the factor's classes, mIoU of each seed, runs up to `learnt`."""
    values = line.values("miou")
    seeds = f"{len(values)}, {line.failed} failed" if line.failed else str(len(values))
    if not values:
        return [line.label, "", seeds, line.state, "", "", ""]
    scores = [spread(values), spread(line.values(f"iou_{name}")), ", ".join(f"{value:.1f}" for value in values)]
    missed = sum(value <= learnt for value in values)
    return [line.label, f"{line.group.steps:,}", seeds, *scores, f"{missed} of {len(values)}"]


def pair_cells(better: Line, worse: Line) -> list[str]:
    """Return with, without, difference of the mean mIoU ± standard error, and whether it is large."""
    cells, ours = [better.label, worse.label], [better.values("miou"), worse.values("miou")]
    if not all(ours):
        return [*cells, "", ""]
    difference = np.mean(ours[0]) - np.mean(ours[1])
    errors = [np.std(values, ddof=1) / math.sqrt(len(values)) for values in ours if len(values) > 1]
    error = f" ± {math.hypot(*errors):.1f}" if len(errors) == 2 else ""
    return [*cells, f"{difference:+.1f}{error}", "yes" if difference >= LARGE_DIFFERENCE else "no"]


def tables(name: str, lines: Sequence[Line], blind: float) -> str:
    """Write the rows of a factor and its pairs of rows as tables."""
    learnt = (blind + max((value for line in lines for value in line.values("miou")), default=blind)) / 2
    header = ["row", "steps", "seeds", "mIoU", f"IoU of {name}", "mIoU of each", "missed the rule"]
    rows = markdown(header, [row_cells(line, name, learnt) for line in lines])
    known = {line.label: line for line in lines}
    labels = [pair.split(" / ") for pair in PAIRS[name].split("; ")]
    pairs = [pair_cells(*map(known.get, pair)) for pair in labels if known.keys() >= set(pair)]
    return f"{rows}\n{markdown(['with', 'without', 'difference', f'at least {LARGE_DIFFERENCE:g}'], pairs)}"


def figure(found: Mapping[Study, Sequence[Line]], scores: Mapping[Study, Scores], path: Path) -> None:
    """Draw a panel for each study: a bar for the mean of each row, a dot for each run, a line for each level."""
    picture, marks = Figure(figsize=(10, 15), dpi=110, layout="constrained"), {}
    axes = [*picture.subplots(math.ceil(len(found) / 2), 2).flat]
    for axis in axes[len(found) :]:
        axis.remove()
    for axis, (study, lines) in zip(axes, found.items(), strict=False):
        least = min([scores[study]["blind"][0], *(value for line in lines for value in line.values("miou"))])
        left = max(0, 5 * math.floor((least - 8) / 5))
        for level, (score, _) in scores[study].items():
            axis.axvline(score, color="black", linestyle=STYLES[level], linewidth=1.2, label=level)
        for row, line in enumerate(lines):
            if not (values := line.values("miou")):
                axis.text(left + 1, row, line.state, va="center", fontsize=8, color=THEIRS)
                continue
            plain = {"head=fcn", "head=psp"} & set(line.overrides)
            colour = BASE if "head=reference" in line.overrides else THEIRS if plain else OURS
            axis.barh(row, np.mean(values) - left, left=left, height=0.7, color=colour)
            axis.text(left + 0.8, row, f"{np.mean(values):.1f}", va="center", fontsize=8, color="white", weight="bold")
            axis.plot(values, [row] * len(values), "o", ms=4, mfc="white", mec="black", mew=0.8, label="one run")
        axis.set_yticks(range(len(lines)), [textwrap.fill(line.label, 28) for line in lines])
        axis.set(title=title(study), xlim=(left, 101), ylim=(len(lines) - 0.4, -0.6))
        axis.tick_params(labelsize=8)
        marks |= {label: mark for mark, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    caption = "mIoU, %; the axes do not begin at 0"
    picture.legend(marks.values(), marks.keys(), title=caption, loc="outside lower center", ncols=4, fontsize=9)
    picture.savefig(path)


def sheets(data: Mapping[str, SegDataModule], folder: Path) -> None:
    """Draw samples of each factor, and for each a scene beside its `flip`."""
    pairs = []
    for name, drawn in data.items():
        options = [f"data.factor={name}", "split=val", "count=9", f"output={folder / f'diagnostic_{name}.png'}"]
        samples(compose(["data=context_scenes_hard", *options], "samples"))
        scenes = (drawn.draw(SEEDS["val"], 0, flip=flip) for flip in (False, True))
        tiles = [tile for image, mask in scenes for tile in (image, viz.colour_mask(mask, drawn.classes))]
        pairs.append(viz.caption(viz.sheet(tiles, columns=4), f"{name}: as drawn, and flipped"))
    viz.save(viz.sheet(pairs, columns=2), folder / "diagnostic_flip.png")


def collect(source: Path, folder: Path) -> None:
    """Copy the run of most steps, then the newest, of each row and seed; a failed one only where none finished."""
    ended: dict[Path, list[tuple]] = {}
    for place in (file.parent for file in source.glob("*/*/*/config.yaml")):
        metrics, config = RunFolder(place).read_metrics(), RunFolder(place).read_config()
        if (status := metrics.get("status")) in ("finished", "failed"):
            better = (status == "finished", config["trainer"]["max_steps"], place)
            ended.setdefault(folder / place.parent.relative_to(source), []).append((*better, metrics, config))
    for target, runs in ended.items():
        *_, metrics, config = max(runs)
        kept = {key: value for key, value in config.items() if key not in ("paths", "run", "resume")}
        settings = yaml.safe_dump(kept, sort_keys=False, default_flow_style=None, width=120)
        target.mkdir(parents=True, exist_ok=True)
        for name, text in {"metrics.json": json.dumps(metrics, indent=1) + "\n", "config.yaml": settings}.items():
            (target / name).write_text(text.replace(config["run"]["dir"], "RUN").replace(str(ROOT), "."))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs/results/diagnostic")
    parser.add_argument("--collect", nargs="?", type=Path, const=ROOT / "runs/ablations/diagnostic", metavar="SOURCE")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs/pictures")
    given = parser.parse_args()
    if given.collect:
        collect(given.collect, given.folder)
    runs = find(given.folder)
    for settings in (run.config["data"] for run in runs if run.config):
        settings["factors"] = settings["factors"][settings["factor"]]  # those of the others change nothing
    found = {study: lines for name in PAIRS for study, lines in lines_of(name, runs).items()}
    scores = {study: levels(study[0], datamodule(study)) for study in found}
    cells = []
    for study, score in scores.items():
        found_levels = (score.get(level) for level in STYLES)
        cells.append([title(study), *(f"{level[0]:.1f} ({level[1]:.1f})" if level else "" for level in found_levels)])
    print(f"mIoU (IoU of the factor's classes) by theory:\n\n{markdown(['factor', *STYLES], cells)}")
    for study, lines in found.items():
        print(f"### {title(study)}\n\n{tables(study[0], lines, scores[study]['blind'][0])}")
    sheets({name: datamodule((name, ())) for name in PAIRS}, given.pictures)
    figure(found, scores, given.pictures / "diagnostic.png")


if __name__ == "__main__":
    main()
