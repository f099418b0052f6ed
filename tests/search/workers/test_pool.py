import time
from types import SimpleNamespace

import optuna
import pytest

from search.study_file.policy import Policy
from search.workers.pool import WorkerPool
from search.workers.protocol import Activity, Died, Outcome, Ready, Report, RunTrial


@pytest.fixture
def said():
    """What the worker will say next."""
    return []


@pytest.fixture
def pool(clock, said):
    """A pool of two whose first worker runs a trial; it takes as long as it may to say what is in `said`."""

    def receive(timeout_s):
        clock.pass_(timeout_s)
        messages, said[:] = list(said), []
        return messages

    done_nothing = dict.fromkeys(("start", "send", "kill"), lambda *_: None)
    executor = SimpleNamespace(**done_nothing, has_place=lambda _: True, receive=receive)
    policy = Policy(trials=1, report_timeout_s=5.0, worker_memory=1000, worker_trials=3)
    pool = WorkerPool(executor, 2, policy)
    pool.start(1)
    pool.ready(0)
    give(pool)
    return pool


def give(pool, worker=0):
    pool.give(worker, optuna.create_study().ask(), RunTrial(0, {}, {}))


def done(memory=0):
    return Outcome(0, "complete", (1.0,), memory=memory)


def test_a_silent_worker_is_killed(pool):
    pool.receive(4.0)
    assert pool.kill_silent() == []
    pool.receive(2.0)
    assert pool.kill_silent() == [(0, "no report for 5 s (report_timeout); the worker was killed")]


def test_who_speaks_while_another_one_dies_is_not_silent(pool, clock):
    pool.start(1)
    pool.ready(1)
    pool.receive(4.0)
    give(pool, 1)
    pool._executor.kill = lambda _: clock.pass_(10.0)
    pool.receive(2.0)
    assert [worker for worker, _ in pool.kill_silent()] == [0]
    pool.remove(0)
    pool.receive(1.0)
    assert pool.kill_silent() == []


def test_a_worker_that_speaks_is_not(pool, said):
    pool.receive(4.0)
    said.append((0, Report(0, 1.0, 0)))
    pool.receive(4.0)
    pool.receive(4.0)
    assert pool.kill_silent() == []


def test_a_driver_that_could_not_listen_blames_nobody(pool, clock):
    """It may have waited for a database server that was restarted."""
    pool.receive(4.0)
    clock.pass_(600.0)
    pool.receive(0.5)
    assert pool.kill_silent() == []
    pool.receive(1.0)
    assert len(pool.kill_silent()) == 1


def test_a_worker_that_waited_for_a_trial_is_not_silent_when_it_gets_one(pool):
    pool.end(0, done())
    pool.receive(600.0)
    assert pool.kill_silent() == [], "it has nothing to say"
    give(pool)
    assert pool.kill_silent() == []


def test_a_worker_that_does_not_leave_is_killed(pool):
    pool.end(0, done())
    pool.retire(0)
    pool.receive(9.0)
    assert pool.kill_silent() == []
    pool.receive(2.0)
    assert [worker for worker, _ in pool.kill_silent()] == [0]


@pytest.mark.parametrize("last", ["nothing", "outcome", "ready"])
def test_nothing_is_given_to_a_worker_that_is_known_to_be_gone(pool, said, last):
    """Whatever it said before, which the driver looks at first."""
    if last == "ready":
        pool.remove(0)
        pool.start(1)
    elif last == "nothing":
        pool.end(0, done())
    said.append((0, Died("killed")))
    pool.receive(1.0)
    if last == "ready":
        pool.ready(0)
    elif last == "outcome":
        pool.end(0, done())
    assert (pool.in_phase("idle"), pool.due_for_restart()) == ([], {})
    assert pool.start(1) == [1]


def test_who_has_ended_a_trial_is_heard_first_and_says_all_in_its_order(pool, said):
    pool.start(1)
    said += [(1, Ready()), (0, Report(0, 1.0, 0)), (1, Activity("busy")), (0, done())]
    assert pool.receive(1.0) == [(0, Report(0, 1.0, 0)), (0, done()), (1, Ready()), (1, Activity("busy"))]


def test_the_time_at_work_is_that_of_trials_that_run(pool, clock):
    pool.receive(3.0)
    assert pool.seconds_at_work() == 3.0
    state = pool.end(0, done())
    assert state.seconds() == 3.0
    assert pool.seconds_at_work() == 0.0


@pytest.mark.parametrize(("seconds", "unrecorded", "recorded"), [(0.5, None, 0.0), (3.0, 3.0, 3.0)])
def test_the_time_that_counts_is_the_one_that_the_storage_will_tell(pool, monkeypatch, seconds, unrecorded, recorded):
    """So that a launch that resumes has used as much: the wall clock's, which stands still here, if it is about right."""
    pool.receive(seconds)
    state = pool.end(0, done())
    monkeypatch.setattr(time, "time", state.trial.datetime_start.timestamp)
    assert (state.unrecorded_seconds(), state.recorded_seconds()) == (unrecorded, recorded)


@pytest.mark.parametrize(
    ("memory", "trials", "why"), [(1000, 2, ""), (1001, 1, "more than worker_memory"), (0, 3, "3 trials run")]
)
def test_a_worker_is_worn_out_above_its_memory_and_after_its_trials(pool, memory, trials, why):
    for left in reversed(range(trials)):
        pool.end(0, done(memory))
        if left:
            give(pool)
    reasons = pool.due_for_restart()
    assert list(reasons) == ([0] if why else [])
    assert all(why in reason for reason in reasons.values())


@pytest.mark.parametrize(
    ("at_work", "starts", "talks", "at_once"),
    [(True, False, False, True), (False, False, False, False), (False, True, False, True), (False, True, True, False)],
)
def test_at_the_end_nobody_waits_for_a_worker_that_does_not_listen(pool, said, at_work, starts, talks, at_once):
    """One that is at work, or that starts and says nothing of how far it is."""
    ends = []
    pool._executor.stop = lambda *, at_once: ends.append(at_once)
    if not at_work:
        pool.end(0, done())
    if starts:
        pool.start(2)
    if talks:
        said.append((1, Activity("reading images")))
        pool.receive(1.0)
    pool.stop(at_once=False)
    assert ends == [at_once]
    pool.stop(at_once=True)
    assert ends[-1] is True
