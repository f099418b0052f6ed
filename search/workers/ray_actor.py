"""The actor that holds a worker on a node of a Ray cluster, and passes on what it says and hears.

The worker is a child process of the actor, as it is one of the driver elsewhere: the same code, a backend that shares no
process with Ray, and a death that is told by its signal. The child leaves as soon as the actor is gone, whatever ended it.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from search.workers.devices import beside
from search.workers.local import LocalExecutor
from search.workers.process import WorkerSetup
from search.workers.protocol import FromWorker, ToWorker

_ONLY = 0  # the number of the one worker here
_LISTEN_S = 60.0


class Host:
    """One worker and its place.

    What the node's own environment says stays, but for the devices. Where this node too has `folder`, the driver's current one,
    relative paths start there; and where it has the folder of the log, the worker prints to the log. Otherwise Ray's log folder
    takes what it prints.
    """

    def __init__(self, setup: WorkerSetup, folder: str) -> None:
        if os.path.isdir(folder):
            os.chdir(folder)
        log = Path(folder, setup.log) if setup.log is not None else None
        setup = replace(
            setup, environ=beside(os.environ, setup.environ), log=log if log is not None and log.parent.is_dir() else None
        )
        self._local = LocalExecutor(lambda _: setup)
        with _as_a_plain_interpreter():
            self._local.start(_ONLY)

    def say(self, message: ToWorker) -> None:
        """Passes a message on to the worker."""
        self._local.send(_ONLY, message)

    def hear(self) -> list[FromWorker]:
        """Returns what the worker says next; the call lasts until it does."""
        while not (messages := self._local.receive(_LISTEN_S)):
            pass
        return [message for _, message in messages]

    def kill(self) -> None:
        """Ends a worker that hangs; where it hangs is then in its log."""
        with contextlib.suppress(KeyError):
            self._local.kill(_ONLY)


@contextlib.contextmanager
def _as_a_plain_interpreter() -> Iterator[None]:
    """Lets a child be born that does not run Ray's own main module again, nor find Ray's copies of packages before ours."""
    main, path = sys.modules["__main__"], list(sys.path)
    ray = Path(sys.modules["ray"].__file__ or "").parent
    file = vars(main).pop("__file__", None)
    sys.path[:] = [entry for entry in path if not Path(entry).is_relative_to(ray)]
    try:
        yield
    finally:
        sys.path[:] = path
        if file is not None:
            vars(main)["__file__"] = file
