"""What ^C and SIGTERM do to a driver: they are counted, and break into nothing."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def interrupts_to(on_interrupt: Callable[[], None]) -> Iterator[None]:
    """Has ^C and SIGTERM call `heed`, instead of raising in the middle of a write, until the block below is left."""
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers in the main thread only
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        on_interrupt()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
