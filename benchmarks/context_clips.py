"""The tables and pictures of docs/results/context_clips.md, from finished runs.

PYTHONPATH=src python benchmarks/context_clips.py [--runs runs/ablations]

Prints the tables, copies metrics and configurations to docs/results/context_clips and draws docs/pictures/clips_*.png.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import yaml

from contextseg import viz
from contextseg.checkpoint import load_checkpoint
from contextseg.datamodules.context_clips import ContextClips
from contextseg.explain import Look, context_picture
from contextseg.explain.context import maps_of
from contextseg.papers.rows import key, table

DOCS = Path(__file__).parents[1] / "docs"
KEPT = DOCS / "results/context_clips"
COLUMNS = ("miou", "iou_t", "iou_tx", "iou_txy")


def runs(folder: Path, name: str, row: str) -> list[Path]:
    """Return the newest finished run of each seed of a row."""
    found = []
    for place in sorted(folder.glob(f"{name}/{key(row)}_s[0-9]*")):
        done = [run for run in sorted(place.iterdir()) if finished(run / "metrics.json")]
        found += done[-1:]
    return found


def finished(file: Path) -> bool:
    """Tell whether the record of a run says that it did all of its steps."""
    return file.is_file() and json.loads(file.read_text()).get("status") == "finished"


def collect(folder: Path, name: str) -> dict[str, list[Path]]:
    """Return the runs of each row, and keep their metrics and configurations in docs."""
    found = {row["row"]: runs(folder, name, row["row"]) for row in table(name)["rows"]}
    KEPT.mkdir(parents=True, exist_ok=True)
    for row, folders in found.items():
        for run in folders:
            metrics, stem = json.loads((run / "metrics.json").read_text()), f"{name.split('/')[1]}_{key(row)}"
            (KEPT / f"{stem}_s{metrics['seed']}.json").write_text(json.dumps(metrics, indent=1) + "\n")
            (KEPT / f"{stem}.yaml").write_text(yaml.safe_dump(without_places(run), sort_keys=False))
    return found


def without_places(run: Path) -> dict:
    """Return the configuration of a run without folders of the machine on which it ran."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    dropped = ("paths", "run", "callbacks", "logger", "seed")
    config = {name: value for name, value in config.items() if name not in dropped}
    for part, name in (("data", "root"), ("features", "cache")):
        if config[part].get(name):
            config[part][name] = "X"
    return config


def line(row: str, folders: list[Path]) -> str:
    """Write a row of the table: means and standard deviations over the seeds."""
    metrics = [json.loads((run / "metrics.json").read_text()) for run in folders]
    cells = [f"{np.mean(v):.1f} ± {np.std(v, ddof=1):.1f}" for v in ([m[c] for m in metrics] for c in COLUMNS)]
    return f"| {row} | {len(folders)} | {' | '.join(cells)} | {np.mean([m['seconds'] for m in metrics]):.0f} |"


def draw_scenes(path: Path) -> None:
    """Draw four clips, as they are and flipped, with the mask of the middle frame."""
    rows = []
    for index in (0, 1, 3, 4):
        for flip in (False, True):
            data = ContextClips(train_size=8, flip=flip)
            clip, mask, name = data.source("train").read_clip(index)
            strip = np.concatenate([np.pad(f, ((0, 0), (0, 2), (0, 0)), constant_values=255) for f in clip], axis=1)
            labels = viz.colour_mask(mask, data.classes)
            big = np.concatenate([strip, np.full((48, 6, 3), 255, np.uint8), labels], axis=1).repeat(2, 0).repeat(2, 1)
            rows.append(
                viz.caption(big, f"{name}{', cue flipped' if flip else ''}: frames -2 to +2, labels of frame 0")
            )
    viz.save(viz.sheet(rows, columns=2), path)


def draw_attention(run: Path, path: Path, scene: int = 1) -> None:
    """Draw where the wood of a validation clip got its context from, frame by frame."""
    network = load_checkpoint(run / "checkpoints/last.ckpt")
    data = ContextClips(val_size=8)
    clip, mask, _ = data.source("val").read_clip(scene)
    rows, columns = np.nonzero(np.isin(mask, data.classes.ids("txy")))
    point = (int(np.median(columns)), int(np.median(rows)))
    look = Look(network, torch.from_numpy(np.moveaxis(clip, -1, -3)))
    labels = look.probabilities()[1][0].numpy()
    viz.save(context_picture(clip, labels, maps_of(look, point), point, data.classes), path)


def main() -> None:
    """Print the table and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    options = parser.parse_args()
    found = collect(options.runs, "clips/context_clips")
    print("| row | seeds | mIoU | `iou_t` | `iou_tx` | `iou_txy` | seconds |\n|---|---|---|---|---|---|---|")
    print("\n".join(line(row, folders) for row, folders in found.items() if len(folders) > 1))
    camvid = collect(options.runs, "clips/camvid")
    for row, folders in camvid.items():
        for run in folders:
            metrics = json.loads((run / "metrics.json").read_text())
            print(f"| {row} | {metrics['split']} | {metrics['miou']:.1f} | {metrics['pix_acc']:.1f} |")
    draw_scenes(DOCS / "pictures/clips_scenes.png")
    for run in found["CCNet3D, T=5, R=3"][:1]:
        draw_attention(run, DOCS / "pictures/clips_attention.png")


if __name__ == "__main__":
    main()
