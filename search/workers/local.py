"""Workers as child processes of the driver, on this machine."""

import atexit
import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pickle import UnpicklingError

from search.errors import WorkerError
from search.workers.memory import OomKills
from search.workers.process import TRACE_SIGNAL, WorkerSetup, main
from search.workers.protocol import Died, FromWorker, Notice, Stop, ToWorker
from search.workers.signals import signals_blocked

_SECONDS_TO_LEAVE = 5.0
_SECONDS_TO_TRACE = 0.2
_SECONDS_TO_DIE = 5.0  # of SIGKILL: a device's memory takes a while to be given back


class LocalExecutor:
    """Runs each worker in a spawned process, with a pipe to it.

    Spawned rather than forked: no backend survives a fork, and a spawned child starts from a clean state. `setup` returns what
    the worker of a number needs to start.
    """

    def __init__(self, setup: Callable[[int], WorkerSetup]) -> None:
        self._setup = setup
        self._context = multiprocessing.get_context("spawn")
        self._children: dict[int, tuple[SpawnProcess, Connection]] = {}
        self._unkilled: dict[int, SpawnProcess] = {}
        self._notices: list[tuple[int, FromWorker]] = []
        self._oom_kills = OomKills()

    def start(self, worker: int) -> None:
        """Starts a worker process.

        Raises:
            WorkerError: The system has no room for another one.
        """
        setup = self._setup(worker)
        try:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=main, args=(theirs, setup), name=f"worker-{worker}")
            with signals_blocked(), _environment(setup.environ):
                process.start()
        except OSError as error:
            raise WorkerError(
                f"worker {worker}: must start; got: {error.strerror or error}. Start fewer, or raise the limits (ulimit -a)"
            ) from error
        theirs.close()  # so that the pipe ends when the child does
        self._children[worker] = (process, ours)

    def has_place(self, worker: int) -> bool:
        """Returns False for a worker that was killed and lives on: its device would take the next one too."""
        return worker not in self._unkilled or not self._unkilled[worker].is_alive()

    def send(self, worker: int, message: ToWorker) -> None:
        """Sends a message; a dead worker's `Died` comes, or came, from `receive`."""
        if (child := self._children.get(worker)) is not None:
            with contextlib.suppress(OSError):
                child[1].send(message)

    def receive(self, timeout_s: float) -> list[tuple[int, FromWorker]]:
        """Waits for pipes and for the processes themselves: a killed worker cannot say goodbye."""
        by_connection = {connection: worker for worker, (_, connection) in self._children.items()}
        ready = set(wait([*by_connection, *(process.sentinel for process, _ in self._children.values())], timeout_s))
        # What a worker has started may outlive it, and holds its pipe and its sentinel open.
        gone = {worker for worker, (process, _) in self._children.items() if process.exitcode is not None}
        messages, self._notices = self._notices, []
        for connection, worker in by_connection.items():
            if connection in ready or worker in gone:
                messages += [(worker, message) for message in _read(connection)]
            if worker not in gone and connection.closed:
                # The pipe ended but the process has not: it is on its way out, or broken beyond use.
                self._children[worker][0].join(_SECONDS_TO_LEAVE)
                gone.add(worker)
        messages += [(worker, self._reap(worker)) for worker in sorted(gone)]
        return messages

    def kill(self, worker: int) -> None:
        """Ends a process that hangs; where it hangs is then in its log."""
        process = self._children[worker][0]
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, TRACE_SIGNAL)
            process.join(_SECONDS_TO_TRACE)
        self._reap(worker)

    def stop(self, *, at_once: bool = False) -> None:
        """Ends all processes; one that does not leave within a few seconds is killed."""
        if at_once:
            for process, _ in self._children.values():
                process.kill()
        for worker in self._children:
            self.send(worker, Stop())
        deadline = time.monotonic() + _SECONDS_TO_LEAVE
        for process, _ in self._children.values():
            process.join(max(0.0, deadline - time.monotonic()))
        for worker in list(self._children):
            self._reap(worker)

    def _reap(self, worker: int) -> Died:
        process, connection = self._children.pop(worker)
        if process.is_alive():
            process.kill()
        process.join(_SECONDS_TO_DIE)
        connection.close()
        if process.exitcode is None:
            return self._set_aside(worker, process)
        out_of_memory = process.exitcode == -signal.SIGKILL and self._oom_kills.account()
        reason = _cause(process.exitcode, out_of_memory=out_of_memory)
        process.close()
        return Died(reason, out_of_memory)

    def _set_aside(self, worker: int, process: SpawnProcess) -> Died:
        """Goes on without a process that SIGKILL does not end, such as one that waits in the kernel for a lost GPU."""
        self._unkilled[worker] = process
        # Python would wait at its exit for the process, and a newer one for the tracker, which lives as long as the process.
        multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]
        atexit.register(setattr, resource_tracker._resource_tracker, "_fd", None)
        reason = "the worker process cannot be killed: is its GPU lost?"
        self._notices.append((worker, Notice(f"worker {worker}: {reason} Going on without this worker; see nvidia-smi.")))
        return Died(reason)


def _read(connection: Connection) -> Iterator[FromWorker]:
    """Yields all messages that are there; closes the connection at its end, or at a message cut short by a kill."""
    try:
        while connection.poll():
            yield connection.recv()
    except (EOFError, OSError, UnpicklingError):
        connection.close()


def _cause(exit_code: int, *, out_of_memory: bool) -> str:
    if exit_code >= 0:
        return f"the worker process ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = " (out of memory?)" if exit_code == -signal.SIGKILL else ""
    return f"the worker process was killed by {name}{': the host ran out of memory' if out_of_memory else hint}"


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Lets a child be born with these variables: a library may read them before the child's first line of Python."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
