"""The only writer of its trials: asks for them, hands them to workers, turns what they say into Optuna's records."""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial

from search.driver import unchanged
from search.driver.ask import TrialSource
from search.driver.budget import BudgetUsage, EndReason
from search.driver.heartbeat import OtherDrivers
from search.driver.interrupts import interrupts_to
from search.driver.ownership import Owner
from search.driver.retry import DRIVER_DIED, requeue
from search.driver.tell import lost, tell
from search.driver.views import ProgressView
from search.errors import ObjectiveError, StudyError, WorkerError
from search.optuna_internals import storage_of, trial_id_of
from search.records.attributes import BEAT_KEY, OWNER_KEY, SEED_KEY, SHOWN_SEED, without_records
from search.records.durations import BEAT_S
from search.storage.folders import NotSavedError, checkpoints_of, delete_checkpoints, save_artifact
from search.study_file.load import StudySpec
from search.workers.pool import WorkerPool, WorkerState
from search.workers.protocol import (
    Artifact,
    Changed,
    Died,
    Explain,
    FromWorker,
    Notice,
    Outcome,
    Ready,
    Report,
    ReportReply,
    RunTrial,
    StartFailed,
    UserAttr,
)

_TICK_S = 0.25  # how long ^C, a silent worker and the clock of the live view may go unnoticed


class Driver:
    """Drives a study to the end of its budget, alone or beside the drivers of other machines.

    Args:
        study: The study, claimed by this process or joined.
        spec: The study's file, with the budgets of this launch.
        crew: The workers.
        owner: This process.
        view: Is told what happens.
        artifacts: The folder that takes the files of trials; None lets them go.
        checkpoints: The folder of the study's checkpoints; None gives trials none.
        waits: Whether it stays while other drivers run the last trials, which it would take up again if these were lost.
        notice_s: How long what runs may take to reach its next report, once the driver was told to end; None for any time.
        glance: Raises an error where the storage has lost what was written to it; called all the time.
    """

    def __init__(
        self,
        study: optuna.Study,
        spec: StudySpec,
        pool: WorkerPool,
        owner: Owner,
        view: ProgressView,
        *,
        artifacts: Path | None = None,
        checkpoints: Path | None = None,
        waits: bool = True,
        notice_s: float | None = None,
        poll_storage: Callable[[], None] = lambda: None,
    ) -> None:
        self._study = study
        self._spec = spec
        self._policy = spec.policy
        self._pool = pool
        self._owner = owner
        self._view = view
        self._noted: set[str] = set()
        self._artifacts = artifacts
        self._checkpoints = checkpoints
        self._waits = waits
        self._notice_s = notice_s
        self._poll_storage = poll_storage
        self._source = TrialSource(study, spec)
        trials = study.get_trials(deepcopy=False)
        self._usage = BudgetUsage.of(study, trials)
        self._others = OtherDrivers(study, owner, trials)
        self._failures_in_a_row = 0
        self._proven = False  # a worker of this launch has built the objective
        self._failed_starts_in_a_row = 0
        self._prunes = not isinstance(study.pruner, NopPruner)
        self._interrupts = 0
        self._stopping_since: float | None = None  # when each running trial was told to end
        self._lost: set[int] = set()  # trials of ours that another driver has given back
        self._beat_at = time.monotonic()

    def run(self) -> EndReason:
        """Runs trials until a budget, the grid or the user's patience is used up.

        Raises:
            ObjectiveError: The objective cannot start, or failed too often in a row.
            StudyError: A worker has other data, say, than the study's trials were measured with.
            WorkerError: A worker died before it was ready: the first one, or too many in a row.
        """
        with interrupts_to(self._count_interrupt):
            try:
                reason = self._run()
            except (ObjectiveError, StudyError, WorkerError):
                self._requeue_running("the launch ended before this trial did")
                raise
            finally:
                self._pool.stop(at_once=self._interrupts > 0)
        return reason

    def _run(self) -> EndReason:
        while True:
            self._poll_storage()
            if self._interrupts > 1 or self._overdue():
                self._requeue_running("interrupted")
                return "interrupted"
            if self._interrupts and self._stopping_since is None:
                self._stop_running()
            reason = self._end_reason()
            if reason is None:
                self._hand_out()
            elif not self._pool.running and not self._waits_for_others(reason):
                return reason
            for worker, message in _ended_first(self._pool.receive(_TICK_S)):
                self._on_message(worker, message)
                if isinstance(message, Outcome) and self._end_reason() is None:
                    self._hand_out()
            for worker, silence in self._pool.kill_silent():
                self._on_death(worker, Died(silence))
            self._show_life()
            self._check_others()
            self._view.tick()

    def _waits_for_others(self, reason: EndReason) -> bool:
        """Whether what others run may yet be for this driver to take up: where it is lost, or fails."""
        if not self._waits or reason not in ("budget", "grid"):
            return False
        if not self._others.running:  # when last looked
            self._count_ended(self._others.poll(at_once=True))
        return bool(self._others.running)

    def _show_life(self) -> None:
        """Leaves a sign of life now and then, so that whoever finds our trials knows how long they ran at least."""
        now, ours = time.monotonic(), [trial for trial in self._pool.running.values() if trial.number not in self._lost]
        if ours and now - self._beat_at >= BEAT_S:
            self._beat_at = now
            with contextlib.suppress(UpdateFinishedTrialError):  # which its next report will find too
                storage_of(self._study).set_trial_system_attr(trial_id_of(ours[0]), BEAT_KEY, now)

    def _check_others(self) -> None:
        """Takes note of the other drivers, and takes up what those that are gone have left."""
        self._count_ended(self._others.poll())
        if gone := [trial.number for trial in self._others.beat(self._pool.running.values())]:
            for number in gone:
                requeue(self._study, number, DRIVER_DIED, lost=True)
            self._view.requeued(gone)

    def _count_ended(self, ended: Sequence[FrozenTrial]) -> None:
        self._usage.update(ended)
        self._view.ended_elsewhere(ended)

    def _is_wanted(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether another trial is to start, given all that there are."""
        self._count_ended(self._others.update(trials))
        return self._end_reason() is None

    def _end_reason(self) -> EndReason | None:
        """Why no further trial is to start, or None where one is."""
        if self._interrupts:
            return "interrupted"
        running = len(self._pool.running) + self._others.running
        exhausted = self._usage.exhausted(self._policy, running, self._pool.seconds_at_work(), self._others.reports)
        return "grid" if exhausted is None and self._source.exhausted else exhausted

    def _hand_out(self) -> None:
        """Gives every idle worker a trial, and starts workers where there is work for more of them."""
        for worker, why in self._pool.due_for_restart().items():
            self._pool.retire(worker)
            self._view.worker_replaced(worker, why)
        for worker in self._pool.in_phase("idle"):
            if self._end_reason() is not None or not self._hand_trial_to(worker):
                return
        self._pool.start(self._policy.trials - self._usage.finished - len(self._pool.running) - self._others.running)

    def _hand_trial_to(self, worker: int) -> bool:
        # The owner is there from the start: a launch that finds the trial RUNNING must be able to tell whether it is lost.
        trial = self._source.ask({OWNER_KEY: self._owner.as_attr(worker)}, self._is_wanted)
        if trial is None:
            return False
        self._view.trial_started(worker, trial.number, trial.params)
        task = RunTrial(
            trial.number,
            trial.params,
            _shown_to_objective(trial),
            len(self._study.directions),
            answered=self._prunes,
            checkpoints=checkpoints_of(trial, self._checkpoints) if self._checkpoints else None,
        )
        self._pool.give(worker, trial, task)
        self._beat_at = time.monotonic()  # the owner says so
        return True

    def _on_message(self, worker: int, message: FromWorker) -> None:
        match message:
            case Ready(fingerprint, notes):
                self._proven, self._failed_starts_in_a_row = True, 0
                self._view.noted([note for note in notes if note not in self._noted])
                self._noted.update(notes)
                before = unchanged.save_or_compare(self._study, fingerprint)
                if before is None:
                    self._pool.ready(worker)
                else:
                    self._pool.reply(worker, Explain(before))
            case Changed(what):
                raise unchanged.refusal(self._study, what)
            case StartFailed(reason):
                if not self._proven:  # else its `Died`, which follows, counts as a failed start
                    raise ObjectiveError(reason)
            case Report() | UserAttr() | Artifact():
                self._on_record(worker, message)
            case Notice(text):
                self._view.warn(text)
            case Outcome():
                self._on_outcome(worker, message)
            case Died():
                self._on_death(worker, message)

    def _on_record(self, worker: int, message: Report | UserAttr | Artifact) -> None:
        """Records what a trial said of itself; one that another driver has given back is told to end."""
        trial = self._pool.running[worker]
        if trial.number in self._lost:
            return
        try:
            match message:
                case Report():
                    self._on_report(worker, trial, message)
                case UserAttr(_, key, value):
                    trial.set_user_attr(key, value)
                case Artifact():
                    self._save_artifact(trial, message)
        except UpdateFinishedTrialError:
            self._lost.add(trial.number)
            if self._stopping_since is None:
                self._pool.reply(worker, ReportReply(stop=True))

    def _save_artifact(self, trial: optuna.Trial, artifact: Artifact) -> None:
        if self._artifacts is not None:
            try:
                save_artifact(artifact.filename, artifact.content, trial, self._artifacts)
            except NotSavedError as error:
                self._view.warn(str(error))

    def _on_report(self, worker: int, trial: optuna.Trial, report: Report) -> None:
        trial.report(report.value, report.step)
        self._usage.reports += 1
        self._view.reported(worker, report.step, report.value)
        if self._prunes and self._stopping_since is None:
            self._pool.reply(worker, ReportReply(prune=trial.should_prune()))

    def _stop_running(self) -> None:
        """Has each running trial end at its next report."""
        self._stopping_since = time.monotonic()
        for worker, trial in self._pool.running.items():
            if trial.number not in self._lost:
                self._pool.reply(worker, ReportReply(stop=True))

    def _overdue(self) -> bool:
        """Whether what was told to end has had enough time for it."""
        if self._notice_s is None or self._stopping_since is None:
            return False
        return time.monotonic() - self._stopping_since > self._notice_s

    def _on_outcome(self, worker: int, outcome: Outcome) -> None:
        trial = self._pool.running[worker]
        member = self._pool.end(worker, outcome)
        self._end(worker, member, trial, outcome)

    def _on_death(self, worker: int, death: Died) -> None:
        member = self._pool.remove(worker)
        if member is None:
            return
        if member.state == "starting" and not self._interrupts:
            # What has started before may start again, once its neighbours have given back some memory.
            self._failed_starts_in_a_row += 1
            if not self._proven or self._failed_starts_in_a_row >= self._policy.max_failures:
                raise WorkerError(f"worker {worker}: must start; got: {death.reason}")
        if member.trial is None:
            return
        state: Literal["interrupted", "failed"] = "interrupted" if self._interrupts else "failed"
        outcome = Outcome(member.trial.number, state, reason=death.reason, out_of_memory=death.out_of_memory)
        self._end(worker, member, member.trial, outcome, death)

    def _end(self, worker: int, member: WorkerState, trial: optuna.Trial, outcome: Outcome, death: Died | None = None) -> None:
        """Records how a trial ended, and counts it."""
        if trial.number in self._lost:
            outcome = lost(outcome)
        else:
            outcome = tell(trial, outcome, self._spec, death=death, fresh=member.served == 0, ran_s=member.unrecorded_seconds())
        self._count(worker, member, trial, outcome)

    def _count(self, worker: int, member: WorkerState, trial: optuna.Trial, outcome: Outcome) -> None:
        if self._checkpoints is not None and outcome.state not in ("retry", "interrupted", "lost"):
            delete_checkpoints(trial, self._checkpoints)
        self._view.trial_finished(worker, outcome.number, outcome)
        counts = outcome.state in ("complete", "pruned", "infeasible")
        self._usage.add(member.seconds(), counts=counts, values=outcome.values)
        if outcome.state in ("complete", "pruned"):
            self._failures_in_a_row = 0
        elif outcome.state == "failed":
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= self._policy.max_failures:
                raise ObjectiveError(
                    f"objective {self._spec.target}: {self._failures_in_a_row} trials in a row failed, "
                    f"the last one (trial {outcome.number}) because: {outcome.reason}"
                )

    def _requeue_running(self, reason: str) -> None:
        for worker, trial in self._pool.running.items():
            self._pool.remove(worker)
            requeue(self._study, trial.number, reason)

    def _count_interrupt(self) -> None:
        self._interrupts += 1
        self._view.interrupted(self._interrupts, len(self._pool.running))


def _ended_first(messages: Sequence[tuple[int, FromWorker]]) -> list[tuple[int, FromWorker]]:
    """Puts workers that wait for their next trial before those that are at work, and keeps what each has said in its order."""
    ended = {worker for worker, message in messages if isinstance(message, Outcome)}
    return sorted(messages, key=lambda pair: pair[0] not in ended)


def _shown_to_objective(trial: optuna.Trial) -> dict[str, object]:
    """Returns what others have put on record of a trial, as for one that they enqueued, and its seed."""
    attrs = trial.user_attrs
    return {**without_records(attrs), SHOWN_SEED: attrs[SEED_KEY]}
