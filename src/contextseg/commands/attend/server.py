"""Serving the page to this machine alone."""

import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from contextseg.commands.attend.gallery import Example
from contextseg.commands.attend.guard import HOST
from contextseg.errors import ConfigError
from contextseg.segmenter import Segmenter

log = logging.getLogger(__name__)


def serve(networks: Mapping[str, Segmenter], examples: Iterable[Example], *, port: int, longest_side: int) -> None:
    """Serve the page until Ctrl-C. Options and errors as in `served`."""
    with served(networks, examples, port=port, longest_side=longest_side) as url:
        log.info("open %s in a browser of this machine; Ctrl-C ends it", url)
        threading.Event().wait()


@contextmanager
def served(
    networks: Mapping[str, Segmenter], examples: Iterable[Example], *, port: int, longest_side: int
) -> Iterator[str]:
    """Yield the address of the page while it is served.

    `networks` by the names that the page shows; images larger than `longest_side` are scaled down to it; the truth of
    `examples` is in the classes of the first network; port 0 is any free one. Raises `ConfigError` if the port is in
    use, if a head needs the ground truth, or if a network was built without the names of its classes.
    """
    import uvicorn

    from contextseg.commands.attend.app import application

    for name, network in networks.items():
        if network.head.needs_mask:
            raise ConfigError(f"{name}: {type(network.head).__name__} is an oracle: it needs the ground truth")
        _ = network.named_classes
    app = application(networks, examples, longest_side)
    with opened(port) as listener:
        options = {"ws": "none", "http": "h11", "lifespan": "off", "log_config": None, "log_level": "warning"}
        quiet = {"access_log": False, "server_header": False, "proxy_headers": False}
        server = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=1, **options, **quiet))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://{HOST}:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(10)


def opened(port: int) -> socket.socket:
    """Listen on a port of this machine alone. Raises `ConfigError` if it is in use."""
    # TCP by name: else asyncio leaves out TCP_NODELAY, and every answer takes 40 ms more
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else a port stays closed for a minute after use
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(f"port={port}: cannot be opened; give another, or end what uses it") from error
    return listener
