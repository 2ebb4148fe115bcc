"""The page: an image, a click, a column of pictures for each network. `inspection` makes the pictures."""

import functools
import html
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from contextseg import viz
from contextseg.commands.attend.inspection import inspect
from contextseg.commands.attend.upload import MAX_MEGABYTES, MAX_MEGAPIXELS, read_upload, scaled_down
from contextseg.data.pixels import SUFFIXES
from contextseg.errors import ConfigError
from contextseg.segmenter import Segmenter
from contextseg.viz import Picture

SHOWN = 640  # pixels to which small images are enlarged for the click
PROGRESS = gr.Progress()  # the default tells Gradio to pass its own
HOUR = 3600  # seconds after which Gradio deletes what it wrote
INTRODUCTION = f"""# Where does the context of a pixel come from?
Choose or upload an image (up to {MAX_MEGABYTES} MB and {MAX_MEGAPIXELS} megapixels), then click a pixel of it."""

log = logging.getLogger(__name__)


def page(networks: Mapping[str, Segmenter], examples: Mapping[str, Picture], longest_side: int) -> gr.Blocks:
    """Build the page for one or more networks; arguments as in `server.served`."""
    names = list(networks)
    with gr.Blocks(title="contextseg", analytics_enabled=False, delete_cache=(HOUR, HOUR), fill_width=True) as blocks:
        image = gr.State()  # uint8 (H, W, 3) as the networks see it
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=1):
                example = gr.Dropdown(list(examples), label="validation images", visible=bool(examples))
                upload = gr.UploadButton("Upload an image", file_types=sorted(SUFFIXES), elem_id="upload")
                size = gr.Textbox(label="size", interactive=False)
                shown = gr.Image(
                    label="click a pixel", format="png", interactive=False, buttons=["fullscreen"], elem_id="image"
                )
                chosen = gr.CheckboxGroup(names, value=names, label="models", visible=len(names) > 1)
                with gr.Row():
                    x, y = (gr.Number(label=axis, precision=0, min_width=80) for axis in "xy")
                    button = gr.Button("Inspect", variant="primary", min_width=80)
            columns, results = [], []
            for name in names:
                with gr.Column(scale=2) as column:
                    gr.Textbox(name, label="model", interactive=False)
                    predicted = gr.Textbox(label="predicted class", interactive=False, elem_classes="predicted")
                    tiles = {"format": "png", "object_fit": "contain"}
                    context = gr.Gallery(label="context", columns=3, elem_classes="context", **tiles)
                    inside = gr.Gallery(label="inside, if the head shows it", columns=1, **tiles)
                columns.append(column)
                results += [predicted, context, inside]

        def opened(picture: Picture) -> list[Any]:
            """Return a picture for the page, its size in words, the picture enlarged, and empty results."""
            small = scaled_down(picture, longest_side)
            sizes = [f"{each.shape[1]} x {each.shape[0]}" for each in (picture, small)]
            words = sizes[0] if sizes[0] == sizes[1] else f"{sizes[0]}, scaled down to {sizes[1]}"
            return [small, words, viz.enlarge(small, SHOWN), None, None, *[None] * len(results)]

        @errors_shown
        def choose(name: str) -> list[Any]:
            return opened(examples[name])

        @errors_shown
        def take(path: str) -> list[Any]:
            return [None, *opened(read_upload(Path(path), next(iter(networks.values())).value_range))]

        @errors_shown
        def click(picture: Picture, event: gr.SelectData) -> list[int]:
            """Turn a pixel of the enlarged image into one of the image."""
            times = viz.enlarge(picture, SHOWN).shape[0] // picture.shape[0]
            return [at // times for at in event.index]

        @errors_shown
        def look(
            picture: Picture | None, x: int | None, y: int | None, ticked: list[str], progress: gr.Progress = PROGRESS
        ) -> list[Any]:
            if picture is None:
                raise ConfigError("there is no image yet: choose or upload one")
            if x is None or y is None:
                raise ConfigError("there is no pixel yet: click one, or give x and y")
            if not ticked:
                raise ConfigError("no model is ticked: tick at least one")
            found: list[Any] = []
            for name, network in networks.items():
                if name not in ticked:
                    found += [None, None, None]
                    continue
                progress((ticked.index(name), len(ticked)), desc=name, unit="models")
                seen = inspect(network, picture, (x, y))
                found += [seen.predicted, captioned(seen.context), captioned(seen.inside)]
            return found

        def arrange(ticked: list[str]) -> list[Any]:
            return [gr.Column(visible=name in ticked) for name in names]

        fresh = [image, size, shown, x, y, *results]
        asked = {"fn": look, "inputs": [image, x, y, chosen], "outputs": results, "concurrency_id": "look"}
        example.input(choose, example, fresh, api_name="example")
        upload.upload(take, upload, [example, *fresh], api_name="upload")
        shown.select(click, image, [x, y], show_progress="hidden", api_name="click", api_visibility="private").success(
            **asked, api_visibility="private"
        )
        button.click(**asked, api_name="inspect")
        if len(names) > 1:
            chosen.change(arrange, chosen, columns, show_progress="hidden", api_visibility="private")
        if examples:
            first = next(iter(examples))
            blocks.load(lambda: [first, *choose(first)], None, [example, *fresh], api_visibility="private")
    return blocks


def captioned(pictures: Mapping[str, Picture]) -> list[tuple[Picture, str]]:
    """Return named pictures in the form that a gallery takes."""
    return [(picture, name) for name, picture in pictures.items()]


def errors_shown(work: Callable) -> Callable:
    """Return `work` with its errors shown on the page; those that are no mistake of the user are logged, too."""

    @functools.wraps(work)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        try:
            return work(*arguments, **options)
        except ConfigError as error:
            raise gr.Error(html.escape(str(error), quote=False), print_exception=False) from error
        except Exception as error:
            log.exception("the page failed")
            words = html.escape(f"{type(error).__name__}: {error}"[:300], quote=False)
            raise gr.Error(f"{words} (the traceback is on the terminal)", print_exception=False) from error

    return wrapped
