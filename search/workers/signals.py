"""What ^C and SIGTERM do to the processes that a driver starts: nothing, since what they mean is for the driver to say.

A terminal sends ^C to every process in the foreground, and Slurm sends SIGTERM to every process of a task.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType

_at_fork = threading.local()  # the mask to go back to: two threads may fork at once


@contextlib.contextmanager
def signals_blocked() -> Iterator[None]:
    """Holds both signals back while a child is born; the child inherits the block until it calls `leave_to_the_driver`."""
    resource_tracker.ensure_running()  # it would start with the first child, and unblock both signals when it does
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_the_driver() -> None:
    """Has neither signal end this process, which was born with both blocked, so that none could hit the gap before this line.

    What it starts ends by SIGTERM as ever, which is how pools and loaders end their own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _pass)  # a program that is started would inherit that it is ignored
    signal.siginterrupt(signal.SIGTERM, False)  # a library that writes a file need not know
    os.register_at_fork(before=_hold_sigterm, after_in_parent=_let_go_of_sigterm, after_in_child=_end_by_sigterm)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})


def _pass(_number: int, _frame: FrameType | None) -> None:
    pass


def _hold_sigterm() -> None:
    """Until the child is told what SIGTERM does to it: one that came before would be passed over as its parent's is."""
    _at_fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _let_go_of_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _at_fork.mask)


def _end_by_sigterm() -> None:
    if signal.getsignal(signal.SIGTERM) is _pass:  # else the objective has one of its own
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _let_go_of_sigterm()
