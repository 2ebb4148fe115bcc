"""The page as a cell of a notebook."""

import atexit
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from contextseg.commands.attend.gallery import Example
from contextseg.commands.attend.server import served
from contextseg.segmenter import Segmenter

if TYPE_CHECKING:
    from IPython.display import IFrame

OPENED = ExitStack()  # a notebook's pages are served until its kernel ends
atexit.register(OPENED.close)


def inline(
    networks: Mapping[str, Segmenter], examples: Iterable[Example] = (), *, longest_side: int = 640, height: int = 900
) -> "IFrame":
    """Serve the page on a free port until Python ends, and return a frame of it, `height` pixels high.

    Other arguments and errors as in `served`. The browser must run on this machine and know the notebook as 127.0.0.1
    or localhost: other sites may not show the page in a frame.
    """
    from IPython.display import IFrame

    url = OPENED.enter_context(served(networks, examples, port=0, longest_side=longest_side))
    return IFrame(url, "100%", height, extras=['allow="clipboard-write"'])  # for its button Copy link
