"""The only writer of its trials: asks for them, hands them to workers, turns what they say into Optuna's records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial

from search.driver import fingerprint_check
from search.driver.ask import TrialSource
from search.driver.budget import CLIMBED_AFTER, BudgetUsage, EndReason
from search.driver.failures import Failures
from search.driver.heartbeat import OtherDrivers, SignOfLife
from search.driver.interrupts import Interrupts
from search.driver.legs import Leg, leg_of, ran_seconds, settle, task_of
from search.driver.ownership import Owner
from search.driver.recording import Record, record
from search.driver.retry import requeue
from search.driver.tell import lost, tell
from search.driver.views import ProgressView
from search.errors import ObjectiveError, StudyError, StudyFileError, WorkerError
from search.records.attributes import OWNER_KEY
from search.records.reports import save_reports
from search.records.states import DRIVER_DIED, INTERRUPTED, LAUNCH_ENDED
from search.storage.folders import delete_checkpoints
from search.study_file.load import StudySpec, check_reports, study_file_error
from search.study_file.pruner_reach import steps_of
from search.workers.pool import WorkerPool, WorkerState
from search.workers.protocol import (
    Activity,
    Changed,
    Died,
    Explain,
    FromWorker,
    Misfits,
    Notice,
    Outcome,
    Ready,
    Report,
    ReportReply,
    StartFailed,
)

_TICK_S = 0.25  # how long ^C, a silent worker and the clock of the live view may go unnoticed


class Driver:
    """Drives a study to the end of its budget, alone or beside the drivers of other machines.

    Args:
        study: The study, claimed by this process or joined.
        spec: The study's file, with the budgets of this launch.
        pool: The workers.
        owner: This process.
        view: Is told what happens.
        artifacts: The folder that takes the files of trials; None lets them go.
        checkpoints: The folder of the study's checkpoints; None gives trials none.
        waits: Whether it stays while other drivers run the last trials, which it would take up again if these were lost.
        notice_s: How long what runs may take to reach its next report, once the driver was told to end; None for any time.
        poll_storage: Raises an error where the storage has lost what was written to it; called all the time.
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
        self._study, self._spec, self._pool, self._owner, self._view = study, spec, pool, owner, view
        trials = study.get_trials(deepcopy=False)
        self._source = TrialSource(study, spec)
        self._usage = BudgetUsage.of(study, trials)
        self._others = OtherDrivers(study, owner, trials)
        self._artifacts, self._checkpoints = artifacts, checkpoints
        self._waits, self._poll_storage = waits, poll_storage
        self._interrupts = Interrupts(notice_s)
        self._failures = Failures(spec.target, spec.policy.max_failures)
        self._prunes = not isinstance(study.pruner, NopPruner)
        self._reports: Mapping[str, Sequence[str]] = {}
        self._lost: set[int] = set()  # trials of ours that another driver has requeued
        self._legs: dict[int, Leg | None] = {}  # by worker, in the order in which they began
        self._asks_despite = (None,) if spec.fidelity is None else (None, *CLIMBED_AFTER)  # one may begin, or go on
        self._life = SignOfLife(study)

    def run(self) -> EndReason:
        """Runs trials until a budget, the grid or the user's patience is used up.

        Raises:
            SearchError: The launch cannot go on, for a reason that is one line: no objective, too many failures, other data.
        """
        with self._interrupts.counted(lambda: self._view.interrupted(self._interrupts.count, len(self._pool.running))):
            try:
                return self._run()
            except (ObjectiveError, StudyError, StudyFileError, WorkerError):  # a storage that fails takes no trial back
                self._requeue_running(LAUNCH_ENDED)
                raise
            finally:
                self._pool.stop(at_once=self._interrupts.count > (1 if self._pool.is_preparing else 0))

    def _run(self) -> EndReason:
        while True:
            self._poll_storage()
            if self._interrupts.ends_at_once:
                self._requeue_running(INTERRUPTED)
                return "interrupted"
            if self._interrupts.count and not self._interrupts.is_stopping:
                self._stop_running()
            if (reason := self._end_reason()) is None:
                self._hand_out()
            elif not self._pool.running and self._ends(reason):
                return reason
            for worker, said in groupby(self._pool.receive(_TICK_S), itemgetter(0)):
                messages = [message for _, message in said]
                self._on_records(worker, [message for message in messages if isinstance(message, Record)])
                for message in messages:
                    self._on_message(worker, message)
                    if isinstance(message, Outcome) and self._exhausted() in self._asks_despite:
                        self._hand_out()
            for worker, silence in self._pool.kill_silent():
                self._on_death(worker, Died(silence))
            running = self._pool.running
            self._life.show([running[worker] for worker in self._legs if running[worker].number not in self._lost])
            self._check_others()
            self._view.tick()

    def _ends(self, reason: EndReason) -> bool:
        """Whether nothing is left for this driver; ends what is paused, where the study is over and no other may promote it."""
        if reason == "interrupted":
            return True
        waits = self._waits and reason in ("budget", "grid", "sampler")  # what is lost, or fails, may be taken up here
        if waits and self._others.running:  # when last looked
            return False
        trials = self._study.get_trials(deepcopy=False)
        self._count_ended(self._others.update(trials))
        if self._others.running:
            return not waits
        if reason in self._asks_despite and self._source.may_go_on(trials):  # what another has paused since we looked
            return False
        if self._spec.fidelity is not None and (self._waits or reason != "timeout"):  # which ends a driver that joined alone
            self._view.ended_elsewhere(settle(self._study, self._spec.fidelity, self._checkpoints))
        return True

    def _check_others(self) -> None:
        """Takes note of the other drivers, and takes up what those that are gone have left."""
        self._count_ended(self._others.poll())
        if gone := [trial.number for trial in self._others.gone()]:
            for number in gone:
                requeue(self._study, number, DRIVER_DIED, lost=True)
            self._view.requeued(gone)

    def _count_ended(self, ended: Sequence[FrozenTrial]) -> None:
        self._usage.update([*ended, *self._others.trials])
        self._view.ended_elsewhere(ended)

    def _end_reason_now(self, trials: Sequence[FrozenTrial]) -> EndReason | None:
        """Returns why no further trial is to start, given all that there are; None where one is."""
        self._count_ended(self._others.update(trials))
        if self._spec.fidelity is not None:
            self._usage.update(trials)
        return self._exhausted()

    def _end_reason(self) -> EndReason | None:
        """Returns why no trial is to start or to go on, or None where one is, or may be once a worker is idle."""
        exhausted = self._exhausted()
        if exhausted is None or exhausted not in self._asks_despite:
            return exhausted
        if self._pool.running and not self._pool.in_phase("idle"):
            return None
        trials = self._study.get_trials(deepcopy=False)
        reason = self._end_reason_now(trials)  # one that went on, and failed for good, is paused no longer: another may begin
        return None if self._source.may_go_on(trials) else reason

    def _exhausted(self) -> EndReason | None:
        if self._interrupts.count:
            return "interrupted"
        running, seconds = len(self._pool.running) + self._others.running, self._pool.seconds_at_work()
        exhausted = self._usage.exhausted(self._spec.policy, running, seconds)
        return exhausted or self._source.exhausted

    def _hand_out(self) -> None:
        """Gives every idle worker a trial, and starts workers where there is work for more of them."""
        for worker, why in self._pool.due_for_restart().items():
            self._pool.retire(worker)
            self._view.worker_replaced(worker, why, for_good=self._pool.given_up(worker))
        for worker in self._pool.in_phase("idle"):
            if self._exhausted() not in self._asks_despite or not self._hand_trial_to(worker):
                return
        wanted = self._spec.policy.trials - self._usage.finished - len(self._pool.running) - self._others.running
        self._view.workers_started(self._pool.start(wanted))

    def _hand_trial_to(self, worker: int) -> bool:
        # The owner is there from the start: a launch that finds the trial RUNNING must be able to tell whether it is lost.
        budget_left = self._usage.budget_left(self._spec.policy)
        attrs = {OWNER_KEY: self._owner.as_attr(worker)}
        trial = self._source.ask(attrs, self._end_reason_now, budget_left, self._on_refused)
        if trial is None:
            return False
        leg = leg_of(trial, self._spec.fidelity)
        task = task_of(trial, leg, self._checkpoints, answered=self._prunes)
        self._view.trial_started(worker, trial.number, task.params, steps_of(task.params, self._spec.settings, self._reports))
        self._legs[worker] = leg
        self._pool.give(worker, trial, task)
        self._others.taken(trial.number)
        return True

    def _on_refused(self, number: int, why: str) -> None:
        """Takes note of a trial that was enqueued wrong, which is no failure of the objective."""
        self._view.refused(number, why)
        self._others.taken(number)

    def _on_message(self, worker: int, message: FromWorker) -> None:
        match message:
            case Ready():
                self._on_ready(worker, message)
            case Changed(what):
                raise fingerprint_check.refusal(self._study, what)
            case Misfits(lines):
                raise study_file_error(self._spec.path, lines)
            case StartFailed(reason):
                self._failures.start_failed(reason)
            case Activity(text):
                self._view.activity(worker, text)
            case Notice(text):
                self._view.warn(text)
            case Outcome():
                self._view.never_asked(message.number, message.never_asked)
                trial = self._pool.running[worker]
                self._end(worker, self._pool.end(worker, message), trial, message)
            case Died():
                self._on_death(worker, message)

    def _on_ready(self, worker: int, ready: Ready) -> None:
        self._failures.worker_started()
        self._view.worker_ready(worker)
        check_reports(self._spec, ready.reports)
        self._reports = save_reports(self._study, ready.reports)
        self._view.noted([*ready.notes, *self._source.complete_queue(ready.defaults)])
        before = fingerprint_check.save_or_compare(self._study, ready.fingerprint)
        if before is None:
            self._pool.ready(worker)
        else:
            self._pool.reply(worker, Explain(before))

    def _on_records(self, worker: int, records: Sequence[Record]) -> None:
        """Records what a trial said of itself; one that another driver has requeued is told to end."""
        trial = self._pool.running.get(worker)  # a thread that one trial has left may speak in the next
        if trial is None or trial.number in self._lost or not (records := [r for r in records if r.number == trial.number]):
            return
        reported = leg.reported if (leg := self._legs[worker]) is not None else ()
        try:
            for problem in record(trial, records, reported, self._artifacts):
                self._view.warn(problem)
            for report in (each for each in records if isinstance(each, Report)):
                if report.step not in reported:
                    self._usage.report(trial.number)
                self._view.reported(worker, report.step, report.value)
                if self._prunes and not self._interrupts.is_stopping:
                    self._pool.reply(worker, ReportReply(prune=trial.should_prune()))
        except UpdateFinishedTrialError:
            self._lost.add(trial.number)
            if not self._interrupts.is_stopping:
                self._pool.reply(worker, ReportReply(stop=True))

    def _stop_running(self) -> None:
        """Has each running trial end at its next report."""
        self._interrupts.stop()
        for worker, trial in self._pool.running.items():
            if trial.number not in self._lost:
                self._pool.reply(worker, ReportReply(stop=True))

    def _on_death(self, worker: int, death: Died) -> None:
        was = self._pool.remove(worker)
        self._view.worker_ready(worker)
        if was is None:
            return
        if was.phase == "starting" and not self._interrupts.count:
            self._failures.died_at_start(worker, death)
        if was.trial is not None:
            outcome = Outcome(was.trial.number, "failed", reason=death.reason, out_of_memory=death.out_of_memory)
            self._end(worker, was, was.trial, outcome, death)

    def _end(self, worker: int, was: WorkerState, trial: optuna.Trial, outcome: Outcome, death: Died | None = None) -> None:
        """Records how a trial ended, and counts it; `was` is its worker until then."""
        if self._interrupts.count and outcome.state == "failed":  # of the same signal, it may be, which others heard as well
            outcome = replace(outcome, state="interrupted")
        leg = self._legs.pop(worker)
        ran_s = ran_seconds(leg, was)
        if trial.number in self._lost:
            verdict = lost(trial)
        else:
            verdict = tell(trial, outcome, self._spec, death=death, fresh=was.served == 0, ran_s=ran_s, leg=leg)
        if verdict.is_final:
            delete_checkpoints(trial, self._checkpoints)
        self._view.trial_finished(worker, trial.number, verdict, was.recorded_seconds() if ran_s is None else ran_s)
        if is_paused := verdict.state == "paused":
            self._others.released(trial.number)
        self._usage.add(trial.number, was.seconds(), counts=verdict.counts, values=verdict.result, is_paused=is_paused)
        self._failures.trial_ended(verdict)

    def _requeue_running(self, reason: str) -> None:
        """Gives back what is under way, and ends those who are at it: nobody would hear them."""
        running = self._pool.running
        for worker, trial in running.items():
            if (was := self._pool.remove(worker)) is not None:
                requeue(self._study, trial.number, reason, ran_s=ran_seconds(self._legs[worker], was))
        if running:
            self._pool.stop(at_once=True)
