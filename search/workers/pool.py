"""What each worker of a launch does at the moment, and for how long it has been silent."""

import time
from dataclasses import dataclass, replace
from typing import Literal

import optuna

from search.errors import WorkerError
from search.records.durations import wall_clock_agrees
from search.study_file.policy import Policy
from search.text import format_size
from search.workers.executor import Executor
from search.workers.protocol import Activity, Died, Explain, FromWorker, Outcome, ReportReply, RunTrial, Stop

_SECONDS_TO_LEAVE = 10.0

_MOST_DEVICE_FAILURES = 5  # in a row in one place: a config that breaks its device itself makes two of them, with one retry


@dataclass(frozen=True)
class WorkerState:
    """A worker that has been started.

    Attributes:
        phase: `leaving` once it was told to.
        heard_at: When it last spoke, or was last told something, on the monotonic clock.
        served: How many trials it has run.
        trial: What it runs.
        started_at: When it was given that trial, on the monotonic clock.
        restart_reason: Why it must not be given another trial; empty where it may.
        talks: While it starts: it says what it is at, and hears when it is to end.
        gone: Its death was received; it may have said something before that the driver has yet to look at.
    """

    phase: Literal["starting", "idle", "running", "leaving"]
    heard_at: float
    served: int = 0
    trial: optuna.Trial | None = None
    started_at: float = 0.0
    restart_reason: str = ""
    talks: bool = False
    gone: bool = False

    def seconds(self) -> float:
        """Returns for how long it has been at its trial."""
        return time.monotonic() - self.started_at

    def recorded_seconds(self) -> float:
        """Returns for how long its trial has run as the storage will tell it."""
        unrecorded = self.unrecorded_seconds()
        began = None if self.trial is None else self.trial.datetime_start
        return time.time() - began.timestamp() if unrecorded is None and began is not None else self.seconds()

    def unrecorded_seconds(self) -> float | None:
        """Returns the same where the wall clock, from which the storage has its times, tells another story; else None."""
        began = None if self.trial is None else self.trial.datetime_start
        seconds = self.seconds()
        return None if began is None or wall_clock_agrees(seconds, began.timestamp(), time.time()) else seconds


class WorkerPool:
    """The workers of a launch, at most `size`; the policy says when one hangs, and when one is worn out."""

    def __init__(self, executor: Executor, size: int, policy: Policy) -> None:
        self._executor = executor
        self._size = size
        self._policy = policy
        self._workers: dict[int, WorkerState] = {}
        self._device_failures: dict[int, int] = {}  # in a row, by worker
        self._given_up: set[int] = set()
        self._listened_at = time.monotonic()

    @property
    def running(self) -> dict[int, optuna.Trial]:
        """The trial of each worker that has one."""
        return {worker: state.trial for worker, state in self._workers.items() if state.trial is not None}

    def in_phase(self, *phases: str) -> list[int]:
        """Returns the workers in one of these states, by number, without those that are gone."""
        return sorted(worker for worker, state in self._workers.items() if state.phase in phases and not state.gone)

    def seconds_at_work(self) -> float:
        """Returns the sum of the times that the running trials have taken so far."""
        return sum(state.seconds() for state in self._workers.values() if state.phase == "running")

    @property
    def is_preparing(self) -> bool:
        """Whether a worker builds its objective that says how far it is, and can end that with what it has done."""
        return any(self._workers[worker].talks for worker in self.in_phase("starting"))

    def start(self, wanted: int) -> list[int]:
        """Starts workers until `wanted` are starting or idle, or no more are allowed; returns those that it starts.

        Raises:
            WorkerError: None is left, and none can be started.
        """
        absent = [worker for worker in range(self._size) if worker not in self._workers and self._has_place(worker)]
        if wanted > 0 and not self._workers and not absent:
            raise WorkerError(
                "workers: one must be able to start; got in each place a process that cannot be killed. Is the GPU lost? "
                "See nvidia-smi; launch on others (CUDA_VISIBLE_DEVICES), or once the machine was started anew"
            )
        started = absent[: max(0, wanted - len(self.in_phase("starting", "idle")))]
        for worker in started:
            self._workers[worker] = WorkerState("starting", time.monotonic())
            self._executor.start(worker)
        return started

    def ready(self, worker: int) -> None:
        """A worker has built its objective."""
        self._workers[worker] = WorkerState("idle", time.monotonic(), gone=self._workers[worker].gone)

    def give(self, worker: int, trial: optuna.Trial, task: RunTrial) -> None:
        """Has an idle worker run a trial."""
        now = time.monotonic()
        self._workers[worker] = replace(self._workers[worker], phase="running", heard_at=now, trial=trial, started_at=now)
        self._executor.send(worker, task)

    def reply(self, worker: int, reply: ReportReply | Explain) -> None:
        """Answers a worker's report, or its fingerprint."""
        self._executor.send(worker, reply)

    def receive(self, timeout_s: float) -> list[tuple[int, FromWorker]]:
        """Returns what workers said within `timeout_s` seconds, first of those that have ended a trial, and so wait for one."""
        # What a worker says to a driver that waits for its storage, for minutes maybe, is heard now: only then was it silent.
        deaf_s = time.monotonic() - self._listened_at
        for worker, state in self._workers.items():
            self._workers[worker] = replace(state, heard_at=state.heard_at + deaf_s)
        messages = self._executor.receive(timeout_s)
        self._listened_at = now = time.monotonic()
        for worker, message in messages:
            if (before := self._workers.get(worker)) is not None:
                talks, gone = before.talks or isinstance(message, Activity), before.gone or isinstance(message, Died)
                self._workers[worker] = replace(before, heard_at=now, talks=talks, gone=gone)
        ended = {worker for worker, message in messages if isinstance(message, Outcome)}
        return sorted(messages, key=lambda pair: pair[0] not in ended)

    def end(self, worker: int, outcome: Outcome) -> WorkerState:
        """Takes the trial from a worker that has ended it; returns what the worker was until then."""
        before = self._workers[worker]
        served = before.served + 1
        self._device_failures[worker] = failures = self._device_failures.get(worker, 0) + 1 if outcome.device_failed else 0
        # The last one stays: if it is the objective that breaks devices, the launch ends by its failures, and says why.
        if failures >= _MOST_DEVICE_FAILURES and any(map(self._has_place, {*range(self._size)} - {worker})):
            self._given_up.add(worker)
        restart_reason = self._restart_reason(served, outcome)
        self._workers[worker] = WorkerState("idle", time.monotonic(), served, restart_reason=restart_reason, gone=before.gone)
        return before

    def due_for_restart(self) -> dict[int, str]:
        """Returns the idle workers that must not be given another trial, and why."""
        return {worker: reason for worker in self.in_phase("idle") if (reason := self._workers[worker].restart_reason)}

    def given_up(self, worker: int) -> bool:
        """Returns whether no worker takes this one's place: the device of that fails whoever uses it."""
        return worker in self._given_up

    def retire(self, worker: int) -> None:
        """Tells an idle worker to leave; a fresh one can take its place once it is gone."""
        state = self._workers[worker]
        self._workers[worker] = replace(state, phase="leaving", heard_at=time.monotonic())
        self._executor.send(worker, Stop(state.restart_reason))

    def remove(self, worker: int) -> WorkerState | None:
        """Forgets a worker that is gone; returns what it was until then."""
        return self._workers.pop(worker, None)

    def kill_silent(self) -> list[tuple[int, str]]:
        """Kills the workers that hang; returns them with the reason."""
        killed, now = [], time.monotonic()  # one that speaks while another dies is not silent
        for worker, state in list(self._workers.items()):
            limit = {"running": self._policy.report_timeout_s, "leaving": _SECONDS_TO_LEAVE}.get(state.phase)
            if limit is not None and now - state.heard_at > limit:
                self._executor.kill(worker)
                fate = "was killed" if self._executor.has_place(worker) else "cannot be killed: is its GPU lost?"
                killed.append((worker, f"no report for {limit:g} s (report_timeout); the worker {fate}"))
        return killed

    def stop(self, *, at_once: bool) -> None:
        """Ends all workers."""
        # Whoever is still at work is at work for nobody; a worker that is still starting hears nothing, unless it talks.
        deaf = any(not self._workers[worker].talks for worker in self.in_phase("starting"))
        self._executor.stop(at_once=at_once or deaf or bool(self.in_phase("running")))

    def _has_place(self, worker: int) -> bool:
        return not self.given_up(worker) and self._executor.has_place(worker)

    def _restart_reason(self, served: int, outcome: Outcome) -> str:
        memory, trials = self._policy.worker_memory, self._policy.worker_trials
        if outcome.out_of_memory:
            return "memory ran out in it"
        if outcome.device_failed:
            return "its device failed"
        if memory is not None and outcome.memory > memory:
            return f"{format_size(outcome.memory)} in use after a trial, more than worker_memory = {format_size(memory)}"
        if trials is not None and served >= trials:
            return f"{served} trials run (worker_trials)"
        return ""
