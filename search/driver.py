"""The only writer of a study: asks for trials, hands them to workers, turns what they say into Optuna's records."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

import optuna
from optuna.trial import TrialState

from search.artifacts import keep
from search.asking import Asker
from search.errors import ObjectiveError, WorkerError
from search.executors import Executor
from search.messages import Answer, Artifact, Died, FromWorker, NotReady, Outcome, Ready, Report, RunTrial, UserAttr
from search.progress import View
from search.resume import OWNER_KEY, Owner, fail, give_back
from search.study_file import StudySpec

_TICK_S = 0.25  # how long ^C and the clock of the live view may go unnoticed

EndReason = Literal["budget", "timeout", "grid", "interrupted"]


@dataclass(frozen=True)
class Limits:
    """When a launch ends.

    Attributes:
        trials: The budget of COMPLETE and PRUNED trials, over all launches.
        timeout_s: No trial starts later than so many seconds after the launch; those that run are finished.
        workers: How many trials run at the same time.
    """

    trials: int
    timeout_s: float | None
    workers: int


class Driver:
    """Drives one launch of a study to its end.

    Args:
        study: The study, claimed by this process.
        spec: The study's file.
        limits: When to end.
        executor: Runs the workers.
        owner: This process.
        view: Is told what happens.
        artifacts: The folder that takes the files of trials; None lets them go.
    """

    def __init__(
        self,
        study: optuna.Study,
        spec: StudySpec,
        limits: Limits,
        executor: Executor,
        owner: Owner,
        view: View,
        artifacts: Path | None = None,
    ) -> None:
        self._study = study
        self._spec = spec
        self._limits = limits
        self._executor = executor
        self._owner = owner
        self._view = view
        self._artifacts = artifacts
        self._asker = Asker(study, spec)
        self._starting: set[int] = set()
        self._idle: set[int] = set()
        self._running: dict[int, optuna.Trial] = {}
        self._finished = sum(trial.state in _FINISHED for trial in study.get_trials(deepcopy=False))
        self._failures_in_a_row = 0
        self._interrupts = 0
        self._started_at = time.monotonic()

    def run(self) -> EndReason:
        """Runs trials until the budget, the wall time, the grid or the user's patience is used up.

        Raises:
            ObjectiveError: The objective cannot start, or failed too often in a row.
            WorkerError: A worker died before it was ready.
        """
        with self._heed_signals():
            try:
                reason = self._run()
            except (ObjectiveError, WorkerError):
                self._give_back_running("the launch ended before this trial did")
                raise
            finally:
                # Whoever is still at work is at work for nobody; a worker that is still starting hears nothing yet.
                self._executor.stop(at_once=bool(self._running or self._starting or self._interrupts))
        return reason

    def _run(self) -> EndReason:
        while True:
            if self._interrupts > 1:
                self._give_back_running("interrupted")
                return "interrupted"
            reason = self._end_reason()
            if reason is None:
                self._hand_out()
            elif not self._running:
                return reason
            for worker, message in self._executor.receive(_TICK_S):
                self._heed(worker, message)
            self._view.tick()

    def _end_reason(self) -> EndReason | None:
        """Why no further trial is to start, or None where one is."""
        if self._interrupts:
            return "interrupted"
        if self._finished + len(self._running) >= self._limits.trials:
            return "budget"
        if self._limits.timeout_s is not None and time.monotonic() - self._started_at >= self._limits.timeout_s:
            return "timeout"
        if self._asker.exhausted:
            return "grid"
        return None

    def _hand_out(self) -> None:
        """Gives every idle worker a trial, and starts workers where there is work for more of them."""
        wanted = self._limits.trials - self._finished - len(self._running)
        for worker in sorted(self._idle)[:wanted]:
            if self._asker.exhausted:
                return
            self._idle.discard(worker)
            self._hand_trial_to(worker)
            wanted -= 1
        present = self._starting | self._idle | self._running.keys()
        absent = (worker for worker in range(self._limits.workers) if worker not in present)
        for worker, _ in zip(absent, range(wanted - len(self._starting) - len(self._idle)), strict=False):
            self._starting.add(worker)
            self._executor.start(worker)

    def _hand_trial_to(self, worker: int) -> None:
        # The owner is there from the start: a launch that finds the trial RUNNING must be able to tell whether it is lost.
        trial = self._asker.ask({OWNER_KEY: asdict(self._owner), "worker": worker})
        self._running[worker] = trial
        self._view.trial_started(worker, trial.number, trial.params)
        task = RunTrial(trial.number, trial.params, _shown_to_objective(trial), len(self._study.directions))
        self._executor.send(worker, task)

    def _heed(self, worker: int, message: FromWorker) -> None:
        match message:
            case Ready():
                self._starting.discard(worker)
                self._idle.add(worker)
            case NotReady(reason):
                raise ObjectiveError(reason)
            case Report():
                self._heed_report(worker, message)
            case UserAttr(_, key, value):
                self._running[worker].set_user_attr(key, value)
            case Artifact():
                if self._artifacts is not None:
                    keep(message, self._running[worker], self._artifacts)
            case Outcome():
                self._idle.add(worker)
                self._heed_outcome(worker, message)
            case Died(reason):
                self._heed_death(worker, reason)

    def _heed_report(self, worker: int, report: Report) -> None:
        trial = self._running[worker]
        trial.report(report.value, report.step)
        self._view.reported(worker, report.step, report.value)
        stop = self._interrupts > 0
        self._executor.send(worker, Answer(prune=not stop and trial.should_prune(), stop=stop))

    def _heed_outcome(self, worker: int, outcome: Outcome) -> None:
        trial = self._running.pop(worker)
        if outcome.state == "complete":
            trial.study.tell(trial, list(outcome.values))
        elif outcome.state == "pruned":
            trial.study.tell(trial, state=TrialState.PRUNED)
        elif outcome.state == "interrupted":
            self._give_back(trial, "interrupted")
        else:
            fail(self._study, trial.number, outcome.reason, outcome.traceback)
        self._view.trial_finished(worker, trial.number, outcome)
        self._count(outcome)

    def _heed_death(self, worker: int, reason: str) -> None:
        self._idle.discard(worker)
        if worker in self._starting:
            self._starting.discard(worker)
            if self._interrupts:
                return
            raise WorkerError(f"worker {worker}: must start; got: {reason}")
        trial = self._running.pop(worker, None)
        if trial is None:
            return
        if self._interrupts:
            self._give_back(trial, "interrupted")
            return
        outcome = Outcome(trial.number, "failed", reason=reason)
        fail(self._study, trial.number, reason)
        self._view.trial_finished(worker, trial.number, outcome)
        self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        if outcome.state in ("complete", "pruned"):
            self._finished += 1
            self._failures_in_a_row = 0
        elif outcome.state == "failed":
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= self._spec.max_failures:
                raise ObjectiveError(
                    f"objective {self._spec.target}: {self._failures_in_a_row} trials in a row failed, "
                    f"the last one (trial {outcome.number}) because: {outcome.reason}"
                )

    def _give_back_running(self, reason: str) -> None:
        for worker in list(self._running):
            trial = self._running.pop(worker)
            self._give_back(trial, reason)

    def _give_back(self, trial: optuna.Trial, reason: str) -> None:
        give_back(self._study, self._study.get_trials(deepcopy=False)[trial.number], reason)

    @contextlib.contextmanager
    def _heed_signals(self) -> Iterator[None]:
        """Counts ^C and SIGTERM instead of letting them raise in the middle of a write."""
        if threading.current_thread() is not threading.main_thread():  # Python allows handlers in the main thread only
            yield
            return

        def count(_number: int, _frame: FrameType | None) -> None:
            self._interrupts += 1
            self._view.interrupted(self._interrupts, len(self._running))

        before = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def _shown_to_objective(trial: optuna.Trial) -> dict[str, object]:
    return {key: value for key, value in trial.user_attrs.items() if key != OWNER_KEY}
