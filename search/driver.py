"""The only writer of a study: asks for trials, hands them to workers, turns what they say into Optuna's records."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

import optuna
from optuna.pruners import NopPruner
from optuna.trial import TrialState

from search.artifacts import keep
from search.asking import Asker
from search.budget import EndReason, Spent
from search.checkpoints import forget, of_trial
from search.crew import Crew, Member
from search.errors import ObjectiveError, WorkerError
from search.faults import judge, tell, tell_complete, tell_infeasible
from search.messages import Answer, Artifact, Died, FromWorker, NotReady, Outcome, Ready, Report, RunTrial, UserAttr
from search.progress import View
from search.resume import OWNER_KEY, RETRIES_KEY, Owner, fail, give_back
from search.study_file import StudySpec

_TICK_S = 0.25  # how long ^C, a silent worker and the clock of the live view may go unnoticed


class Driver:
    """Drives one launch of a study to its end.

    Args:
        study: The study, claimed by this process.
        spec: The study's file, with the budgets of this launch.
        crew: The workers.
        owner: This process.
        view: Is told what happens.
        artifacts: The folder that takes the files of trials; None lets them go.
        checkpoints: The folder of the study's checkpoints; None gives trials none.
    """

    def __init__(
        self,
        study: optuna.Study,
        spec: StudySpec,
        crew: Crew,
        owner: Owner,
        view: View,
        *,
        artifacts: Path | None = None,
        checkpoints: Path | None = None,
    ) -> None:
        self._study = study
        self._spec = spec
        self._policy = spec.policy
        self._crew = crew
        self._owner = owner
        self._view = view
        self._artifacts = artifacts
        self._checkpoints = checkpoints
        self._asker = Asker(study, spec)
        self._spent = Spent.of(study)
        self._failures_in_a_row = 0
        self._proven = False  # a worker of this launch has built the objective
        self._failed_starts_in_a_row = 0
        self._prunes = not isinstance(study.pruner, NopPruner)
        self._interrupts = 0
        self._stopping = False  # each running trial has been told to end

    def run(self) -> EndReason:
        """Runs trials until a budget, the grid or the user's patience is used up.

        Raises:
            ObjectiveError: The objective cannot start, or failed too often in a row.
            WorkerError: A worker died before it was ready: the first one, or too many in a row.
        """
        with self._heed_signals():
            try:
                reason = self._run()
            except (ObjectiveError, WorkerError):
                self._give_back_running("the launch ended before this trial did")
                raise
            finally:
                self._crew.stop(at_once=self._interrupts > 0)
        return reason

    def _run(self) -> EndReason:
        while True:
            if self._interrupts > 1:
                self._give_back_running("interrupted")
                return "interrupted"
            if self._interrupts and not self._stopping:
                self._stop_running()
            reason = self._end_reason()
            if reason is None:
                self._hand_out()
            elif not self._crew.running:
                return reason
            for worker, message in self._crew.receive(_TICK_S):
                self._heed(worker, message)
            for worker, silence in self._crew.kill_silent():
                self._heed_death(worker, Died(silence))
            self._view.tick()

    def _end_reason(self) -> EndReason | None:
        """Why no further trial is to start, or None where one is."""
        if self._interrupts:
            return "interrupted"
        used_up = self._spent.used_up(self._policy, len(self._crew.running), self._crew.seconds_at_work())
        return "grid" if used_up is None and self._asker.exhausted else used_up

    def _hand_out(self) -> None:
        """Gives every idle worker a trial, and starts workers where there is work for more of them."""
        for worker, why in self._crew.worn_out().items():
            self._crew.dismiss(worker)
            self._view.worker_replaced(worker, why)
        for worker in self._crew.in_state("idle"):
            if self._end_reason() is not None:
                return
            self._hand_trial_to(worker)
        self._crew.start(self._policy.trials - self._spent.finished - len(self._crew.running))

    def _hand_trial_to(self, worker: int) -> None:
        # The owner is there from the start: a launch that finds the trial RUNNING must be able to tell whether it is lost.
        trial = self._asker.ask({OWNER_KEY: self._owner.as_attr(worker)})
        self._view.trial_started(worker, trial.number, trial.params)
        task = RunTrial(
            trial.number,
            trial.params,
            _shown_to_objective(trial),
            len(self._study.directions),
            answered=self._prunes,
            checkpoints=of_trial(trial, self._checkpoints) if self._checkpoints else None,
        )
        self._crew.give(worker, trial, task)

    def _heed(self, worker: int, message: FromWorker) -> None:
        match message:
            case Ready():
                self._proven, self._failed_starts_in_a_row = True, 0
                self._crew.ready(worker)
            case NotReady(reason):
                if not self._proven:  # else its `Died`, which follows, counts as a failed start
                    raise ObjectiveError(reason)
            case Report():
                self._heed_report(worker, message)
            case UserAttr(_, key, value):
                self._crew.running[worker].set_user_attr(key, value)
            case Artifact():
                if self._artifacts is not None:
                    keep(message, self._crew.running[worker], self._artifacts)
            case Outcome():
                self._heed_outcome(worker, message)
            case Died():
                self._heed_death(worker, message)

    def _heed_report(self, worker: int, report: Report) -> None:
        trial = self._crew.running[worker]
        trial.report(report.value, report.step)
        self._spent.reports += 1
        self._view.reported(worker, report.step, report.value)
        if self._prunes and not self._stopping:
            self._crew.answer(worker, Answer(prune=trial.should_prune()))

    def _stop_running(self) -> None:
        """Has each running trial end at its next report."""
        self._stopping = True
        for worker in self._crew.running:
            self._crew.answer(worker, Answer(stop=True))

    def _heed_outcome(self, worker: int, outcome: Outcome) -> None:
        trial = self._crew.running[worker]
        member = self._crew.end(worker, outcome)
        if outcome.state == "failed":
            outcome = self._settle(trial, outcome, died=False, fresh=member.served == 0)
        elif outcome.state == "interrupted":
            give_back(self._study, trial.number, "interrupted")
        elif outcome.state == "complete":
            tell_complete(trial, outcome, self._spec.sampler.name)
        else:
            tell(trial, TrialState.PRUNED)
        self._count(worker, member, trial, outcome)

    def _heed_death(self, worker: int, death: Died) -> None:
        member = self._crew.lose(worker)
        if member is None:
            return
        if member.state == "starting" and not self._interrupts:
            # What has started before may start again, once its neighbours have given back some memory.
            self._failed_starts_in_a_row += 1
            if not self._proven or self._failed_starts_in_a_row >= self._policy.max_failures:
                raise WorkerError(f"worker {worker}: must start; got: {death.reason}")
        if member.trial is None:
            return
        outcome = Outcome(member.trial.number, "failed", reason=death.reason, out_of_memory=death.out_of_memory)
        if self._interrupts:
            give_back(self._study, outcome.number, "interrupted")
            outcome = replace(outcome, state="interrupted")
        elif death.node_lost:
            give_back(self._study, outcome.number, death.reason)
            outcome = replace(outcome, state="retry")
        else:
            outcome = self._settle(member.trial, outcome, died=True, fresh=member.served == 0)
        self._count(worker, member, member.trial, outcome)

    def _settle(self, trial: optuna.Trial, outcome: Outcome, *, died: bool, fresh: bool) -> Outcome:
        """Records a trial that failed; returns its outcome as it was settled."""
        retries = trial.user_attrs.get(RETRIES_KEY, 0)
        settled = judge(outcome, died=died, fresh=fresh, retries=retries, max_retries=self._policy.max_retries)
        if settled == "retry":
            give_back(self._study, trial.number, outcome.reason, outcome.traceback, blamed=True)
        elif settled == "infeasible":
            tell_infeasible(trial, outcome, self._spec.sampler.name)
        else:
            fail(self._study, trial.number, outcome.reason, outcome.traceback)
        return replace(outcome, state=settled)

    def _count(self, worker: int, member: Member, trial: optuna.Trial, outcome: Outcome) -> None:
        if self._checkpoints is not None and outcome.state not in ("retry", "interrupted"):
            forget(trial, self._checkpoints)
        self._view.trial_finished(worker, outcome.number, outcome)
        counts = outcome.state in ("complete", "pruned", "infeasible")
        self._spent.add(time.monotonic() - member.started_at, counts=counts, values=outcome.values)
        if outcome.state in ("complete", "pruned"):
            self._failures_in_a_row = 0
        elif outcome.state == "failed":
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= self._policy.max_failures:
                raise ObjectiveError(
                    f"objective {self._spec.target}: {self._failures_in_a_row} trials in a row failed, "
                    f"the last one (trial {outcome.number}) because: {outcome.reason}"
                )

    def _give_back_running(self, reason: str) -> None:
        for worker, trial in self._crew.running.items():
            self._crew.lose(worker)
            give_back(self._study, trial.number, reason)

    @contextlib.contextmanager
    def _heed_signals(self) -> Iterator[None]:
        """Counts ^C and SIGTERM instead of letting them raise in the middle of a write."""
        if threading.current_thread() is not threading.main_thread():  # Python allows handlers in the main thread only
            yield
            return

        def count(_number: int, _frame: FrameType | None) -> None:
            self._interrupts += 1
            self._view.interrupted(self._interrupts, len(self._crew.running))

        before = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _shown_to_objective(trial: optuna.Trial) -> dict[str, object]:
    return {key: value for key, value in trial.user_attrs.items() if key != OWNER_KEY}
