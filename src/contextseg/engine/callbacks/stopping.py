"""The end of a training before its last step: it comes after a whole step, which is saved."""

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any, NamedTuple, NoReturn

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from contextseg.engine.callbacks.save_last import SaveLast
from contextseg.runs.folder import RANK, rank
from contextseg.signals import STOP_SIGNALS

log = logging.getLogger(__name__)
DONE = (EarlyStoppingReason.STOPPING_THRESHOLD, EarlyStoppingReason.PATIENCE_EXHAUSTED)  # not: it diverged


class Reason(NamedTuple):
    """Hold why a training ended before its last step."""

    by: str
    done: bool = False  # the run met its own criterion: it is finished, not cut short


class Stopping(Checkpoint):  # Lightning calls these after all other callbacks, in their order
    """Stop after an optimizer step, all processes after the same one, with a `last.ckpt` of that step.

    Asked by `trainer.should_stop`, which any callback may set, it has the step evaluated first: the run has scores. A
    signal waits only for an evaluation that is due; Ctrl-C after it ends the process at once.

    noted   the number of the first signal that came to this process, 0 if none came
    signal  that on which all processes agreed
    asked   whether a callback asked for a stop
    """

    def __init__(self) -> None:
        self.noted, self.signal, self.asked = 0, 0, False
        self.handlers: dict[int, Any] = {}

    def on_train_start(self, trainer, module):
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
            self.handlers = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
            for number in self.handlers:
                signal.signal(number, self.note)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal until the step is done; leave at once if it is Ctrl-C again.

        Others often come twice by themselves: to the process and its group, from a sweep and when its pipe closes.
        """
        if self.noted and number == signal.SIGINT:
            leave(number)
        self.noted = self.noted or number

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.asked = self.asked or trainer.should_stop
        trainer.should_stop = False
        if (batch_idx + 1) % trainer.accumulate_grad_batches:  # gradients of half a step cannot be saved
            return
        self.signal, self.asked = self._agreed(trainer)
        # Lightning evaluates before it stops, so the final weights may be the best ones
        trainer.should_stop = trainer.global_step >= trainer.max_steps or (self.asked and not self.signal)
        if (batch_idx + 1) % trainer.val_check_batch:
            self._leave_if_told(trainer)

    def on_validation_end(self, trainer, module):
        if trainer.state.fn == "fit":
            self.signal, _ = self._agreed(trainer)
            self._leave_if_told(trainer)
            if trainer.should_stop:
                save(trainer)

    def on_train_end(self, trainer, module):
        save(trainer)  # whatever ended it
        self._restore()

    def on_exception(self, trainer, module, exception):
        self._restore()

    def _agreed(self, trainer: L.Trainer) -> tuple[int, bool]:
        """Return the signal, 0 if there is none, and whether to stop: what any process knows, all do."""
        if trainer.world_size == 1:
            return self.noted, self.asked
        known = torch.tensor([self.noted, int(self.asked)], device=trainer.strategy.root_device)
        number, asked = trainer.strategy.reduce(known, reduce_op="max").tolist()
        return number, bool(asked)

    def _leave_if_told(self, trainer: L.Trainer) -> None:
        """Save and leave if a signal came, unless no step is left to do."""
        if self.signal and trainer.global_step < trainer.max_steps:
            save(trainer)
            if trainer.is_global_zero:
                log.info("%s: step %d is saved", signal.Signals(self.signal).name, trainer.global_step)
            leave(self.signal)

    def _restore(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}

    def reason(self, trainer: L.Trainer) -> Reason | None:
        """Return what stopped the training; None if it did all its steps."""
        if trainer.global_step >= trainer.max_steps:
            return None
        if self.signal:
            return Reason(signal.Signals(self.signal).name)
        for callback in trainer.callbacks:
            if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None and left <= 0:
                return Reason("trainer.lightning.max_time")
            if isinstance(callback, EarlyStopping) and trainer.should_stop and callback.stopping_reason_message:
                done = callback.stopping_reason in DONE
                return Reason(f"EarlyStopping: {callback.stopping_reason_message}", done)
        return Reason(
            "trainer.should_stop, which a callback set" if trainer.should_stop else "a limit in trainer.lightning"
        )


def save(trainer: L.Trainer) -> None:
    """Write `last.ckpt`, if it is not that of the present step."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, SaveLast):
            callback.save(trainer)


def leave(number: int) -> NoReturn:
    """End this process as a signal does; those that rank 0 started end quietly, since Lightning kills it otherwise."""
    if rank() and RANK not in os.environ:
        raise SystemExit(0)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
