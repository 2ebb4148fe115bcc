"""What the page asks the networks, as a Starlette application."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contextseg.commands.attend.gallery import Example, Exhibit, Gallery
from contextseg.commands.attend.guard import OwnPageOnly
from contextseg.commands.attend.looks import Looks
from contextseg.commands.attend.upload import MAX_MEGABYTES, MAX_MEGAPIXELS, read_upload
from contextseg.commands.attend.wire import packed
from contextseg.contract import Head
from contextseg.errors import ConfigError
from contextseg.explain import Look, inside_picture
from contextseg.explain.draw_inside import named
from contextseg.explain.draw_reach import exchange_picture
from contextseg.explain.look import Answer
from contextseg.explain.record import taps
from contextseg.segmenter import Segmenter
from contextseg.viz import Picture

STATIC = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
THUMBNAIL = 96  # pixels of the longer side


def application(networks: Mapping[str, Segmenter], examples: Iterable[Example], longest_side: int) -> OwnPageOnly:
    """Build the application for one or more networks by name; arguments as in `server.served`."""
    page = Page(networks, Gallery(examples, longest_side))
    look = "/looks/{model:int}/{key}/"
    answers = Starlette(
        routes=[
            Route("/", page.file),
            Route("/static/{name}", page.file),
            Route("/page", page.facts),
            Route("/images", page.take, methods=["POST"]),
            Route("/images/{key}", page.image),
            Route("/images/{key}/thumbnail", page.thumbnail),
            Route("/images/{key}/truth", page.truth),
            Route(look + "labels", page.labels),
            Route(look + "context", page.context),
            Route(look + "gradient", page.gradient),
            Route(look + "reach", page.reach),
            Route(look + "reach/{kind}", page.exchange),
            Route(look + "inside", page.inside),
            Route(look + "inside/{part}", page.drawn),
            Route(look + "inside/{part}/maps", page.maps),
        ],
        exception_handlers={ConfigError: told, Exception: failed},
    )
    return OwnPageOnly(answers)


class Page:
    """Answer the requests of the page. Methods that are not `async` run in threads of their own."""

    def __init__(self, networks: Mapping[str, Segmenter], gallery: Gallery):
        self.networks, self.gallery, self.looks = networks, gallery, Looks(list(networks.values()))
        self.files = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES}  # nothing else is served

    def file(self, request: Request) -> Response:
        """Return a file of the page itself."""
        path = self.files.get(request.path_params.get("name", "index.html"))
        if path is None:
            return JSONResponse({"error": "there is no such file"}, 404)
        return Response(path.read_bytes(), media_type=TYPES[path.suffix])

    def facts(self, request: Request) -> Response:
        """Return the models, the example images, the colours of maps and the limits."""
        first = next(iter(self.networks.values())).named_classes
        models = []
        for name, network in self.networks.items():
            classes, head = network.named_classes, network.head
            own = type(head).attends is not Head.attends and bool(taps(head)) and head.local_side is None
            facts = {"name": name, "classes": classes.names, "palette": classes.palette}
            models.append(facts | {"truth": classes.names == first.names, "attends": own, "window": network.window})
        scale = (255 * matplotlib.colormaps["inferno"](range(256))[:, :3]).round().astype(int).tolist()
        limits = {"megabytes": MAX_MEGABYTES, "megapixels": MAX_MEGAPIXELS}
        images = [exhibit.facts() for exhibit in self.gallery.examples.values()]
        return JSONResponse({"models": models, "images": images, "scale": scale, **limits})

    async def take(self, request: Request) -> Response:
        """Keep the picture file that is the body of the request, and return its facts."""
        name = Path(request.query_params.get("name", "")).name[:80] or "the picture"
        content = bytearray()
        try:
            announced = int(request.headers.get("content-length", 0))
            async for chunk in request.stream():
                content += chunk
                if max(announced, len(content)) > MAX_MEGABYTES * 2**20:
                    words = f"{name} has more than {MAX_MEGABYTES} MB; give a smaller file"
                    return JSONResponse({"error": words}, 413)
        except ClientDisconnect:
            return Response(status_code=400)
        return JSONResponse((await run_in_threadpool(self.keep, name, bytes(content))).facts())

    def keep(self, name: str, content: bytes) -> Exhibit:
        """Read an uploaded picture as the first network was trained to, and keep it."""
        value_range = next(iter(self.networks.values())).value_range
        return self.gallery.add(name, read_upload(name, content, value_range))

    def image(self, request: Request) -> Response:
        """Return an image as the networks see it."""
        return png(self.exhibit(request).image)

    def thumbnail(self, request: Request) -> Response:
        """Return a small picture of an image."""
        small = Image.fromarray(self.exhibit(request).image)
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        return png(np.asarray(small))

    def truth(self, request: Request) -> Response:
        """Return the true train ids of an image, uint8 (H, W), void 255."""
        truth = self.exhibit(request).truth
        if truth is None:
            return JSONResponse({"error": "the truth of this image is unknown"}, 404)
        return octets(truth.astype(np.uint8).tobytes())

    def labels(self, request: Request) -> Response:
        """Run the network, unless it has seen the image, and return the predicted train ids, uint8 (H, W)."""
        _, labels = self.look(request).probabilities()
        return octets(labels[0].numpy().tobytes())

    def context(self, request: Request) -> Response:
        """Return the head's maps of a pixel, `packed`, with its most probable classes [[train id, probability]].

        With `way=to`, the maps read the other way round: who takes from the pixel.
        """
        look, (x, y) = self.look(request), asked_pixel(request)
        asked = look.takers if request.query_params.get("way") == "to" else look.context
        answer = asked((x, y))
        values, labels = (each[:, y, x].tolist() for each in look.probabilities())
        return octets(packed(answer, point=(x, y), best=list(zip(labels, values, strict=True))))

    def gradient(self, request: Request) -> Response:
        """Return the gradient map of a pixel, `packed`."""
        point = asked_pixel(request)
        return octets(packed(self.look(request).gradient(point), point=point))

    def reach(self, request: Request) -> Response:
        """Return how far each kind of attention looks on an image."""
        found = self.look(request).reach().items()
        numbers = ("distance", "uniform", "entropy")
        return JSONResponse([{"name": kind} | {name: getattr(one, name) for name in numbers} for kind, one in found])

    def exchange(self, request: Request) -> Response:
        """Return a picture of which class takes context from which, by one kind of attention."""
        look, kind = self.look(request), request.path_params["kind"]
        if (found := look.reach().get(kind)) is None:
            return JSONResponse({"error": f"this head has no attention {kind} over the whole image"}, 404)
        return png(exchange_picture(found, look.network.named_classes))

    def inside(self, request: Request) -> Response:
        """Return what else the head computed on an image, as maps or bars, and which part says who takes from them."""
        found = []
        for name, shown in self.look(request).inside().items():
            facts = {"name": name, "drawn": "maps" if shown.values.ndim == 3 else "bars"}
            found.append(facts | {"white": shown.white, "takers": shown.takers})
        return JSONResponse(found)

    def drawn(self, request: Request) -> Response:
        """Return a picture of one part of the head's inside."""
        look, part = self.look(request), request.path_params["part"]
        if (shown := look.inside().get(part)) is None:
            return JSONResponse({"error": f"this head shows no {part}"}, 404)
        return png(inside_picture({part: shown}, look.network.named_classes))

    def maps(self, request: Request) -> Response:
        """Return the maps of one part that such a picture shows, by class or number, `packed`."""
        look, part = self.look(request), request.path_params["part"]
        shown = look.inside().get(part)
        if shown is None or shown.values.ndim != 3:
            return JSONResponse({"error": f"this head shows no maps {part}"}, 404)
        names = named(shown, look.network.named_classes)
        area = slice(0, look.size[0]), slice(0, look.size[1])
        return octets(packed(Answer({text: shown.values[i] for i, text in names.items()}, area)))

    def look(self, request: Request) -> Look:
        """Return the look of the model at the image that a request names."""
        return self.looks.at(request.path_params["model"], self.exhibit(request))

    def exhibit(self, request: Request) -> Exhibit:
        """Return the image that a request names."""
        return self.gallery[request.path_params["key"]]


def asked_pixel(request: Request) -> tuple[int, int]:
    """Return the pixel (x, y) that a request names. Raises `ConfigError` unless it has two whole numbers."""
    try:
        return int(request.query_params["x"]), int(request.query_params["y"])
    except (KeyError, ValueError) as error:
        raise ConfigError("there is no pixel: give x and y, whole numbers") from error


def png(picture: Picture) -> Response:
    """Return a picture uint8 (H, W, 3) as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png", compress_level=1)
    return Response(file.getvalue(), media_type="image/png")


def octets(content: bytes) -> Response:
    """Return bytes as they are."""
    return Response(content, media_type="application/octet-stream")


def told(request: Request, error: Exception) -> Response:
    """Tell the page in words what was wrong with a request."""
    return JSONResponse({"error": str(error)}, 400)


def failed(request: Request, error: Exception) -> Response:
    """Tell the page in words that we failed; the server logs the traceback."""
    words = f"{type(error).__name__}: {error}"[:300]
    return JSONResponse({"error": f"{words} (the traceback is on the terminal)"}, 500)
