"""Has a study followed to its trackers for as long as a block drives it."""

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator

from search.errors import StudyFileError
from search.results.tracking.follow import follow
from search.results.tracking.sync import Synced
from search.study_file.load import StudySpec
from search.study_file.track import same_database
from search.text import mask_urls, one_line
from search.workers.signals import signals_blocked

_SILENCE_S = 60.0  # MLflow's client waits half as long for a server that does not answer; to make a database takes seconds
_LONGEST_S = 180.0
_PATIENCE_S = 3.0
_Say = Callable[[str], None]


@contextlib.contextmanager
def followed(spec: StudySpec, url: str, reference: str, say: _Say, warn: _Say) -> Iterator[None]:
    """Sends the study to the trackers that its file names, in a process of its own, while the block runs.

    Nothing that a tracker does reaches the block: one that is dead, slow or full costs a line. At the end what is left is sent,
    for as long as that goes on; what could not be is named.

    `say` is told what a person may know, and `warn` what they must. `search track` is given the `reference` to send the rest.

    Raises:
        StudyFileError: MLflow is to write into the study's own database.
    """
    if spec.track is None:
        yield
        return
    if spec.track.mlflow is not None and same_database(spec.track.mlflow, url):
        rule = f"must be another database than the study's own; got {mask_urls(spec.track.mlflow)}"
        raise StudyFileError(f"{spec.path}: track.mlflow: {rule}. Change one.")
    try:
        follower = _FollowerProcess(spec, url, warn)
    except (OSError, RuntimeError) as error:  # the system has no room for its process, or for the thread
        got = one_line(error).rstrip(".")
        warn(f"The trackers are not kept up to date; got: {got}. To send what is missing: search track {reference}")
        yield
        return
    try:
        yield
    finally:
        follower.end(reference, say)


class _FollowerProcess:
    """The process, and a thread that listens to it."""

    def __init__(self, spec: StudySpec, url: str, warn: _Say) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._warn = warn
        self._heard = time.monotonic()
        self._lacking: list[Synced] | None = None  # known once it leaves
        with signals_blocked():
            self._process = context.Process(target=follow, args=(theirs, spec.track, url, spec.name), daemon=True)
            self._process.start()
        theirs.close()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the system has no room for it
            self._process.kill()
            raise

    def end(self, reference: str, say: _Say) -> None:
        """Has the rest sent, and the process leave; ^C gives up on the rest."""
        try:
            with contextlib.suppress(KeyboardInterrupt):
                self._wait(say)
        finally:
            self._process.kill()  # SIGTERM, with which Python would end it at its exit, does not
        self._process.join()
        self._thread.join()
        self._connection.close()
        remedy = f"To send what is missing: search track {reference}"
        if self._lacking is None:
            self._warn(f"The trackers were not brought up to date. {remedy}")
        for tracker in self._lacking or ():
            lacks = f"lacks {tracker.missing} trial{'s' * (tracker.missing != 1)}"
            self._warn(f"{tracker.name} {lacks}{f': {tracker.reason}' * bool(tracker.reason)}. {remedy}")

    def _wait(self, say: _Say) -> None:
        with contextlib.suppress(OSError):
            self._connection.send("end")
        began = self._heard = time.monotonic()
        told = False
        while self._thread.is_alive():
            self._thread.join(0.1)
            now = time.monotonic()
            if now - self._heard > _SILENCE_S or now - began > _LONGEST_S:
                return
            if not told and now - began > _PATIENCE_S:
                told = True
                say("The trackers get what they lack; ^C leaves that to search track.")

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while self._lacking is None:
                message = self._connection.recv()
                self._heard = time.monotonic()
                if isinstance(message, str):
                    self._warn(message)
                elif message is not None:
                    self._lacking = message
