from types import SimpleNamespace

import optuna
import pytest

from search.study_file.policy import Policy
from search.workers.pool import WorkerPool
from search.workers.protocol import Report, RunTrial


@pytest.fixture
def said():
    """What the worker will say next."""
    return []


@pytest.fixture
def pool(clock, said):
    """A pool of one whose worker runs a trial; it takes as long as it may to say what is in `said`."""

    def receive(timeout_s):
        clock.pass_(timeout_s)
        return [said.pop()] if said else []

    executor = SimpleNamespace(start=lambda worker: None, send=lambda *_: None, kill=lambda worker: None, receive=receive)
    pool = WorkerPool(executor, 1, Policy(trials=1, report_timeout_s=5.0))
    pool.start(1)
    pool.ready(0)
    pool.give(0, optuna.create_study().ask(), RunTrial(0, {}, {}))
    return pool


def test_a_silent_worker_is_killed(pool):
    pool.receive(4.0)
    assert pool.kill_silent() == []
    pool.receive(2.0)
    assert pool.kill_silent() == [(0, "no report for 5 s (report_timeout); the worker was killed")]


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
