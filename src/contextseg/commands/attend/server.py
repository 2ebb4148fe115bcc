"""Serving the page to this machine alone, without leaving files."""

import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from contextseg.commands.attend.upload import MAX_MEGABYTES
from contextseg.errors import ConfigError
from contextseg.segmenter import Segmenter
from contextseg.viz import Picture

HOST = "127.0.0.1"
NAMES = (HOST.encode(), b"localhost")
log = logging.getLogger(__name__)


def serve(networks: Mapping[str, Segmenter], examples: Mapping[str, Picture], *, port: int, longest_side: int) -> None:
    """Serve the page until Ctrl-C. Options and errors as in `served`."""
    with served(networks, examples, port=port, longest_side=longest_side) as url:
        log.info("open %s in a browser of this machine; Ctrl-C ends it", url)
        threading.Event().wait()


@contextmanager
def served(
    networks: Mapping[str, Segmenter], examples: Mapping[str, Picture], *, port: int, longest_side: int
) -> Iterator[str]:
    """Yield the address of the page while it is served.

    `networks` and `examples` (images uint8 (H, W, 3)) by the names that the page shows; larger images are scaled down
    to `longest_side`. Raises `ConfigError` if the port is in use, or if a head needs the ground truth.
    """
    for name, network in networks.items():
        if network.head.needs_mask:
            raise ConfigError(f"{name}: {type(network.head).__name__} is an oracle: it needs the ground truth")
    with private_environment():
        from starlette.middleware import Middleware

        from contextseg.commands.attend.page import page

        demo = page(networks, examples, longest_side)
        try:
            _, url, _ = demo.queue(max_size=8, api_open=False).launch(
                server_name=HOST,
                server_port=port,
                share=False,
                state_session_capacity=20,  # each holds an image
                max_file_size=MAX_MEGABYTES * 2**20,
                enable_monitoring=False,
                run_history=False,
                mcp_server=False,
                ssr_mode=False,
                footer_links=[],
                inline=False,
                quiet=True,
                prevent_thread_lock=True,
                app_kwargs={"middleware": [Middleware(OwnPageOnly)]},
            )
        except OSError as error:
            raise ConfigError(f"port={port}: cannot be opened; give another, or end what uses it") from error
        try:
            yield url
        finally:
            demo.close(verbose=False)


class OwnPageOnly:
    """Refuse requests of other sites, also under other host names of this machine (ASGI middleware)."""

    def __init__(self, app: Callable):
        self.app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            host = headers.get(b"host", b"")
            if host.split(b":")[0] not in NAMES or headers.get(b"origin", b"http://" + host) != b"http://" + host:
                await send({"type": "http.response.start", "status": 403, "headers": []})
                await send({"type": "http.response.body", "body": b"only from this machine's own page"})
                return
        await self.app(scope, receive, send)


@contextmanager
def private_environment() -> Iterator[None]:
    """Make Gradio write into a temporary folder, report to nobody, and ignore its variables of the environment.

    Such variables could open the page to other machines.
    """
    before = dict(os.environ), tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="contextseg_attend_", ignore_cleanup_errors=True) as folder:
        for name in [name for name in os.environ if name.startswith("GRADIO_")]:
            del os.environ[name]
        local = ",".join(filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), HOST]))
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
        os.environ |= {"no_proxy": local, "NO_PROXY": local}
        tempfile.tempdir = folder
        try:
            yield
        finally:
            os.environ.clear()
            os.environ |= before[0]
            tempfile.tempdir = before[1]
