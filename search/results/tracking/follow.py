"""The process that sends a study while it is driven: it reads the storage as `search status` does, and keeps nobody waiting.

It tells its parent in lines what a person must know, and None for each trial that it has sent: it is alive. When the parent has
ended, it looks at the study once more, names the trackers that lack trials, and leaves.
"""

import contextlib
import os
import time
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection

import optuna

from search.errors import SearchError
from search.results.tracking.sync import Sync, Synced, trackers_of
from search.results.tracking.turn import Turn
from search.storage.errors import storage_errors
from search.storage.folders import artifact_folder
from search.storage.open import close, open_study
from search.storage.url import location
from search.study_file.track import Track
from search.workers.signals import leave_to_the_driver

_EVERY_S = 2.0
_LAST_WAIT_S = 5.0
_LONGEST_PAUSE_S = 60.0  # between two tries at a tracker that is away


def follow(connection: Connection, track: Track, url: str, name: str) -> None:
    """The whole life of the process that sends the study of a name, in the storage at a URL."""
    leave_to_the_driver()
    os.nice(5)
    warnings.simplefilter("ignore")  # of packages that are not ours, onto a driver's live table
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with contextlib.suppress(BrokenPipeError):  # the driver was killed; what is missing is sent by the next one
        _Follower(connection, track, url, name).run()


class _Follower:
    """Sends a study again and again."""

    def __init__(self, connection: Connection, track: Track, url: str, name: str) -> None:
        self._connection = connection
        self._url = url
        self._name = name
        artifacts, where = artifact_folder(url), location(url)
        self._syncs = [Sync(tracker, artifacts, lambda: connection.send(None), where) for tracker in trackers_of(track)]
        self._opened: tuple[optuna.Study, Turn] | None = None
        self._next = [0.0] * len(self._syncs)
        self._pause = [_EVERY_S] * len(self._syncs)
        self._told: set[str] = set()

    def run(self) -> None:
        """Runs until the parent has said that it ends, or is gone."""
        lacking: list[Synced] = []
        over = False
        while not over:
            over = self._connection.poll(_EVERY_S)
            with contextlib.suppress(SearchError, KeyError):  # not there yet, begun anew, or away: the driver says so itself
                lacking = self._pass(at_last=over)
        self._connection.send(lacking)

    def _pass(self, *, at_last: bool) -> list[Synced]:
        lacking: list[Synced] = []
        with self._open() as (study, turn):
            if not self._has_turn(turn, at_last=at_last):
                return lacking
            for index, sync in enumerate(self._syncs):
                if not at_last and time.monotonic() < self._next[index]:
                    continue
                done = sync.send(study)
                self._look_at(index, done)
                if done.missing:
                    lacking.append(done)
        return lacking

    def _has_turn(self, turn: Turn, *, at_last: bool) -> bool:
        """Whether this process sends; at last it waits a moment for one that is about to leave, and may have missed a trial."""
        deadline = time.monotonic() + (_LAST_WAIT_S if at_last else 0.0)
        while not (has := turn.take()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return has

    def _look_at(self, index: int, done: Synced) -> None:
        """Tells once what a tracker says, and leaves one that is away alone for a while."""
        if not done.reason:
            self._pause[index] = _EVERY_S
            return
        self._next[index] = time.monotonic() + self._pause[index]
        self._pause[index] = min(2 * self._pause[index], _LONGEST_PAUSE_S)
        if done.name not in self._told:
            self._told.add(done.name)
            line = f"{done.name} does not take trials now: {done.reason.rstrip('.')}. The study goes on; they are sent later."
            self._connection.send(line)

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[optuna.Study, Turn]]:
        """Gives the study, which stays open until something goes wrong with it, and the turn to send it."""
        try:
            with storage_errors(self._url):
                if self._opened is None:
                    study = open_study(self._url, self._name)
                    self._opened = study, Turn(study, self._url)
                yield self._opened
        except (SearchError, KeyError):
            if self._opened is not None:
                (study, turn), self._opened = self._opened, None
                turn.end()
                close(study)
            raise
