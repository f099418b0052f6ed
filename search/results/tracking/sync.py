"""Brings trackers up to date with a study: once, or again and again while it runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from search.records.rungs import has_begun
from search.records.values import value_names
from search.results.tracking.mlflow_runs import MlflowRuns
from search.results.tracking.projection import TrialRun, digest_of, study_run, trial_run
from search.results.tracking.tracker import RefusedError, Tracker, TrackerError
from search.study_file.track import Track


@dataclass
class Synced:
    """What a pass has done with one tracker.

    Attributes:
        sent: So many trials were sent.
        missing: So many it still lacks.
        reason: Why, where it lacks some; empty where nobody said.
    """

    name: str
    sent: int = 0
    missing: int = 0
    reason: str = ""


def trackers_of(track: Track) -> list[Tracker]:
    """Returns the trackers that a study file names."""
    trackers: list[Tracker] = []
    if track.tensorboard is not None:  # first: it is a matter of milliseconds
        from search.results.tracking.tensorboard_runs import TensorBoardRuns  # TensorBoard need not be installed

        trackers.append(TensorBoardRuns(track.tensorboard))
    if track.mlflow is not None:
        trackers.append(MlflowRuns(track.mlflow, track.experiment))
    return trackers


@dataclass
class Sync:
    """Sends what one tracker lacks of one study; knows between two calls what is there.

    Attributes:
        artifacts: The folder of the storage's artifacts.
        on_sent: Is told of each trial that was sent.
        location: Of the storage; empty for one in memory.
    """

    tracker: Tracker
    artifacts: Path
    on_sent: Callable[[], None] = lambda: None
    location: str = ""
    _digests: dict[int, str] = field(default_factory=dict)
    _over: set[int] = field(default_factory=set)
    _study: tuple[str, str] = ("", "")  # id and digest of what was sent last; empty where the tracker must be looked at anew

    def send(self, study: optuna.Study) -> Synced:
        """Sends what is missing. What a tracker cannot take now is told in what is returned, and never raised."""
        trials = [trial for trial in study.get_trials(deepcopy=False) if has_begun(trial)]
        names = value_names(study)
        done = Synced(self.tracker.name)
        runs = (trial_run(study, trial, self.artifacts, names) for trial in trials if trial.number not in self._over)
        try:
            self._send_study(study, trials)
            for run in runs:
                self._send_trial(run, done)
        except TrackerError as error:
            self._study = ("", "")
            done.reason = str(error)
        done.missing = len(trials) - sum(trial.number in self._digests for trial in trials)
        return done

    def _send_study(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        run = study_run(study, trials, self.location)
        if self._study[0] != run.id:
            self._over, self._digests = set(), {}
            self._digests |= self.tracker.open(run)
        latest = run.id, digest_of(run)
        if self._study != latest:
            self.tracker.send_study(run)
            self._study = latest

    def _send_trial(self, run: TrialRun, done: Synced) -> None:
        digest = digest_of(run)
        if self._digests.get(run.number) != digest:
            self._digests.pop(run.number, None)
            try:
                done.sent += self.tracker.send_trial(run)
            except RefusedError as error:
                done.reason = f"trial {run.number}: {error}"
                return
            self._digests[run.number] = digest
            self.on_sent()
        if run.is_over:
            self._over.add(run.number)
