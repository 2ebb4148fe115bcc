"""Signals that ask a process to stop: Ctrl-C, the end of a terminal, and those of schedulers."""

import os
import signal
import sys

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def stop_as_exits() -> None:
    """Turn the signals into exits with code 128 + number, which clean up; Ctrl-C stays, and what is ignored (nohup)."""
    for number in STOP_SIGNALS[1:]:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))


def leave_signals_to_the_parent() -> None:
    """Let a loader's worker outlast signals that reach the whole group, as its parent still needs it for a step.

    SIGTERM, by which a parent ends its workers, ends it without an error.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
