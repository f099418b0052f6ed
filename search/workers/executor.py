"""The six calls that the driver needs from whatever runs its workers."""

from typing import Protocol

from search.workers.protocol import FromWorker, ToWorker


class Executor(Protocol):
    """Runs workers, which are numbered from zero."""

    def start(self, worker: int) -> None:
        """Starts a worker, or starts it again after it died; it will say `Ready` or `StartFailed`."""

    def has_place(self, worker: int) -> bool:
        """Returns whether a worker that is gone can be started again; not while its process lives on, though it was killed."""

    def send(self, worker: int, message: ToWorker) -> None:
        """Sends a message. Sending to a dead worker does nothing, whether its `Died` is on its way or was received."""

    def receive(self, timeout_s: float) -> list[tuple[int, FromWorker]]:
        """Returns what workers said, in the order said; an empty list where none spoke within `timeout_s` seconds.

        A worker that is gone says `Died` once, after everything it had said before.
        """

    def kill(self, worker: int) -> None:
        """Ends a worker that hangs, at once and for good; it says nothing more, not even `Died`."""

    def stop(self, *, at_once: bool = False) -> None:
        """Ends all workers: after the message they work on, or at once."""
