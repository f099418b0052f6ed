"""Workers as threads of the driver's own process, for tests and benchmarks, where speed of start counts.

An objective that kills its process kills the driver too, and threads cannot be killed; a search uses `LocalExecutor`.
"""

import contextlib
import threading
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from search.workers.process import WorkerSetup, serve
from search.workers.protocol import Died, FromWorker, Stop, ToWorker


class InlineExecutor:
    """Runs each worker in a thread, with the same pipe and the same code as a process.

    `setup` returns what the worker of a number needs to start; its `environ` and `log` are left alone.
    """

    def __init__(self, setup: Callable[[int], WorkerSetup]) -> None:
        self._setup = setup
        self._threads: dict[int, tuple[threading.Thread, Connection]] = {}

    def start(self, worker: int) -> None:
        """Starts a worker thread."""
        ours, theirs = Pipe()
        thread = threading.Thread(target=_serve, args=(theirs, self._setup(worker)), name=f"worker-{worker}", daemon=True)
        thread.start()
        self._threads[worker] = (thread, ours)

    def has_place(self, worker: int) -> bool:
        """Returns True: nothing of an earlier worker is in the way."""
        return True

    def send(self, worker: int, message: ToWorker) -> None:
        """Sends a message, which a thread that has ended does not get."""
        if (thread := self._threads.get(worker)) is not None:
            with contextlib.suppress(OSError):
                thread[1].send(message)

    def receive(self, timeout_s: float) -> list[tuple[int, FromWorker]]:
        """Returns what the threads said."""
        by_connection = {connection: worker for worker, (_, connection) in self._threads.items()}
        messages: list[tuple[int, FromWorker]] = []
        for ready in wait(list(by_connection), timeout_s):
            assert isinstance(ready, Connection)
            worker = by_connection[ready]
            try:
                while ready.poll():
                    messages.append((worker, ready.recv()))
            except EOFError:
                self._threads.pop(worker)[1].close()
                messages.append((worker, Died("the worker thread ended")))
        return messages

    def kill(self, worker: int) -> None:
        """Hangs up on a thread, which ends when its objective next speaks."""
        self._threads.pop(worker)[1].close()

    def stop(self, *, at_once: bool = False) -> None:
        """Asks the threads to end; one that is inside an objective ends at its next report."""
        for worker, (thread, connection) in self._threads.items():
            self.send(worker, Stop())
            if not at_once:
                thread.join()
            connection.close()
        self._threads.clear()


def _serve(connection: Connection, setup: WorkerSetup) -> None:
    with connection:
        serve(connection, setup)
