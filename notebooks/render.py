"""Run notebooks from top to bottom and keep copies with their pictures: python notebooks/render.py docs/notebooks

`STEPS`, `RUNS`, `CHECKPOINTS`, `CHECKPOINT` and `PHOTO` as in networks.py; further arguments name notebooks
(02_attention_maps). What was printed during a training is left out, and pictures become JPEG, no wider than 720
pixels, where that is smaller.
"""

import base64
import io
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent
MOST_BYTES, MOST_PIXELS = 300_000, 720  # of one picture; its width


def rendered(path: Path) -> nbformat.NotebookNode:
    """The notebook, executed where it lies."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=None, record_timing=False, resources=where)  # a cell may train for long
    client.comm_open_handlers.clear()  # its own stand-in for widgets can miss a reply, and then waits for ever
    client.execute()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                small(output) for output in cell.outputs if output.output_type != "stream" and not widget(output)
            ]
    return notebook


def widget(output: nbformat.NotebookNode) -> bool:
    """Whether an output needs a live kernel."""
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def small(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An output whose picture, if it is one, has one format only, the smaller one.

    Raises `SystemExit` for one that is too large for the repository.
    """
    if "image/png" not in output.get("data", {}):
        return output
    picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")
    picture.thumbnail((MOST_PIXELS, 10_000), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=55, optimize=True)
    if buffer.tell() > MOST_BYTES:
        raise SystemExit(
            f"a picture of {buffer.tell():,} bytes, more than {MOST_BYTES:,}: {output.data.get('text/plain')}"
        )
    jpeg = base64.b64encode(buffer.getvalue()).decode()
    output.data.pop("image/jpeg", None)
    if len(jpeg) < len(output.data["image/png"]):
        del output.data["image/png"]
        output.data["image/jpeg"] = jpeg
    return output


def main(folder: Path, names: list[str]) -> None:
    """Write the copies."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(HERE.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        text = nbformat.writes(rendered(path)) + "\n"
        (folder / path.name).write_text(text)
        print(f"{folder / path.name}: {len(text):,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
