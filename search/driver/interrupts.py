"""What ^C and SIGTERM do to a driver: they are counted, and break into nothing."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType


class Interrupts:
    """How often the user asked for the end, and for how long what runs has known that it is to end.

    Args:
        notice_s: How long what runs may take to reach its next report, once it was told to end; None for any time.
    """

    def __init__(self, notice_s: float | None = None) -> None:
        self._notice_s = notice_s
        self._stopping_since: float | None = None
        self.count = 0

    @property
    def is_stopping(self) -> bool:
        """Whether what runs was told to end."""
        return self._stopping_since is not None

    @property
    def ends_at_once(self) -> bool:
        """Whether the user has asked twice, or what was told to end has had enough time for it."""
        if self.count > 1 or self._notice_s is None or self._stopping_since is None:
            return self.count > 1
        return time.monotonic() - self._stopping_since > self._notice_s

    def stop(self) -> None:
        """Notes that what runs is told to end now."""
        self._stopping_since = time.monotonic()

    @contextlib.contextmanager
    def counted(self, on_interrupt: Callable[[], None]) -> Iterator[None]:
        """Counts ^C and SIGTERM, instead of raising in the middle of a write, until the block below is left.

        After each, `on_interrupt` is called inside the signal handler.
        """
        if threading.current_thread() is not threading.main_thread():  # Python allows handlers in the main thread only
            yield
            return

        def handle(number: int, _frame: FrameType | None) -> None:
            if number == signal.SIGTERM and self.count and self._notice_s is not None:
                return  # Slurm sends it, and srun once more; nobody has lost patience
            self.count += 1
            on_interrupt()

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
