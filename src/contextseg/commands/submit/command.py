"""Making a submission: predict a split, write a PNG per image, pack them, read the archive back."""

import json
import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig
from rich.table import Table
from torch.utils.data import DataLoader

from contextseg.checkpoint import read_checkpoint, restore
from contextseg.commands.archives import sha256
from contextseg.commands.evaluate.options import checked, each_checkpoint
from contextseg.commands.submit.archive import pack, verify
from contextseg.commands.submit.formats import Format, format_of
from contextseg.commands.submit.options import SubmitOptions
from contextseg.console import console, progress
from contextseg.data.dataset import KeyedDataset, collate
from contextseg.data.source import FileSource, digest
from contextseg.data.transforms import as_worker
from contextseg.engine import build
from contextseg.engine.evaluate import refuse_other_classes, scoring_module
from contextseg.engine.module import SegModule
from contextseg.engine.trainer import trainer
from contextseg.errors import ConfigError
from contextseg.files import side_file, write_atomically
from contextseg.runs.configuration import flatten

RECORD = "submission.json"
LABELS = "labels"  # the folder of the PNGs
MAX_COMPARED = 8  # the last predictions, which are compared with the archive

log = logging.getLogger(__name__)


class Submission(NamedTuple):
    """The archive, and the numbers of its label maps."""

    archive: Path
    images: int
    predicted: int  # by this command; the others existed
    compared: int  # with the prediction itself, after reading back
    classes: int  # that occur


def main(cfg: DictConfig) -> None:
    """Make the archive."""
    submit(cfg)


def submit(composed: DictConfig) -> Submission:
    """Predict the images of `split=` at their own size, and make the archive for the server in `output=`.

    A stopped command continues when it is repeated. Raises `ConfigError` for a data set without a server, for classes
    that the checkpoint was not trained for, for a folder of something else, and for an archive that is wrong when it is
    read back.
    """
    (composed,) = each_checkpoint(composed)
    checkpoint = read_checkpoint(composed.ckpt)
    cfg, _ = checked(SubmitOptions, checkpoint["config"], composed)
    output = cfg.output
    data = build.datamodule(cfg)
    form = format_of(data)
    network = restore(checkpoint, cfg.ckpt)
    refuse_other_classes(data, network, str(cfg.ckpt))
    if network.head.needs_mask:
        raise ConfigError(f"ckpt={cfg.ckpt}: {type(network.head).__name__} needs the ground truth and cannot predict")
    data.check(splits=(cfg.split,))
    source = data.source(cfg.split)
    if not isinstance(source, FileSource):
        raise ConfigError(f"data={data.name}: has no image files to submit label maps of")
    members = [form.member.format(name=name, split=cfg.split) for name in source.names]
    if len(set(members)) < len(members):
        raise ConfigError(f"split={cfg.split}: images share a name; the server wants one file for each name")
    module = scoring_module(cfg, data, network)
    module.trainer = trainer(
        cfg.trainer, data.batch_size, [], [], enable_checkpointing=False
    )  # for its device and precision
    claim(output, {"checkpoint": sha256(cfg.ckpt), **facts(cfg, source, module)})
    done = make(output / form.archive.format(split=cfg.split), form, members, source, module, data.num_workers)
    console.print(table(done, form, len(data.classes)))
    if form.open_point:
        log.warning("%s", form.open_point)
    return done


def facts(cfg: SubmitOptions, source: FileSource, module: SegModule) -> dict[str, Any]:
    """Return the settings that the label maps depend on beside the checkpoint."""
    names = {"images": len(source), "names": digest("\n".join(source.names).encode())}
    asked = {"data": module.segmenter.named_classes.name, "split": cfg.split, "eval": cfg.choices.get("eval")}
    how = {"predictor": cfg.eval.predictor, "precision": module.trainer.precision}
    return asked | names | how


def claim(output: Path, made_from: dict[str, Any]) -> None:
    """Record the purpose of the folder. Raises `ConfigError` if it exists for another."""
    record = output / RECORD
    if not record.is_file():
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise ConfigError(f"output={output}: exists and was not made by submit; give another folder")
        output.mkdir(parents=True, exist_ok=True)
        write_atomically(record, json.dumps(made_from, indent=2) + "\n")
        return
    try:
        before, now = flatten(json.loads(record.read_text())), flatten(made_from)
    except ValueError as error:
        raise ConfigError(f"{record} cannot be read ({error}); give another output=") from error
    if other := sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)):
        raise ConfigError(
            f"output={output}: holds a submission that differs in {', '.join(other)} ({RECORD}); give another folder"
        )


def make(
    archive: Path, form: Format, members: list[str], source: FileSource, module: SegModule, num_workers: int
) -> Submission:
    """Predict what is missing, pack and read back; an archive that exists is only read back."""
    files = {member: archive.parent / LABELS / member for member in members}
    sizes = {member: source.size(index) for index, member in enumerate(members)}
    last: deque[tuple[str, np.ndarray]] = deque(maxlen=MAX_COMPARED)
    with progress() as bar:

        def read_back(path: Path) -> int:
            task = bar.add_task("read back", total=len(files), note="")
            return verify(path, form, sizes, dict(last), lambda: bar.advance(task))

        if archive.is_file():
            return Submission(archive, len(files), 0, 0, read_back(archive))
        missing = [index for index, file in enumerate(files.values()) if not file.is_file()]
        task = bar.add_task("predict", total=len(files), completed=len(files) - len(missing), note="")
        for index, labels in zip(missing, predictions(source, missing, module, num_workers), strict=True):
            with side_file(files[members[index]]) as side:
                form.picture(labels).save(side)
            last.append((members[index], labels))
            bar.update(task, advance=1, note=source.names[index])
        with side_file(archive) as side:  # it gets its name when it is verified
            task = bar.add_task("pack", total=len(files), note="")
            pack(side, files, lambda: bar.advance(task))
            classes = read_back(side)
    return Submission(archive, len(files), len(missing), len(last), classes)


def predictions(source: FileSource, indices: list[int], module: SegModule, num_workers: int) -> Iterator[np.ndarray]:
    """Yield train ids uint8 (H, W) of these images, at their own size."""
    device = module.trainer.strategy.root_device
    module.to(device).eval()
    loader = DataLoader(
        KeyedDataset(source),
        batch_sampler=[[(0, index)] for index in indices],
        num_workers=num_workers,
        collate_fn=collate,
        worker_init_fn=as_worker,
    )
    for batch in loader:
        yield module.predict_labels(batch.image.to(device), batch.mask)[0].cpu().numpy()


def table(done: Submission, form: Format, num_classes: int) -> Table:
    """Draw the contents of the archive and the results of the checks."""
    kind = f"PNG, {'palette of VOC' if form.coloured else 'grey'}, {min(form.values)} to {max(form.values)}"
    rows = {
        "archive": str(done.archive),
        "MiB": f"{done.archive.stat().st_size / 2**20:.2f}",
        "label maps": f"{done.images}, {done.predicted} of them predicted now",
        "kind": kind,
        "classes that occur": f"{done.classes} of {num_classes}",
        "read back": "names, sizes, mode and values right",
        "equal to the prediction": f"{done.compared} of {done.compared} compared",
    }
    result = Table("submission", title_justify="left", show_header=False)
    result.add_column(overflow="fold")
    for name, value in rows.items():
        result.add_row(name, value)
    return result
