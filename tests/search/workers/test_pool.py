from types import SimpleNamespace

import optuna
import pytest

from search.study_file.policy import Policy
from search.workers.pool import Crew
from search.workers.protocol import Report, RunTrial


@pytest.fixture
def crew(clock):
    """A crew of one whose worker runs a trial; it takes as long as it may to say what is in `said`."""
    said = []

    def receive(timeout_s):
        clock.pass_(timeout_s)
        return [said.pop()] if said else []

    executor = SimpleNamespace(start=lambda worker: None, send=lambda *_: None, kill=lambda worker: None, receive=receive)
    crew = Crew(executor, 1, Policy(trials=1, report_timeout_s=5.0))
    crew.start(1)
    crew.ready(0)
    crew.give(0, optuna.create_study().ask(), RunTrial(0, {}, {}))
    crew.said = said
    return crew


def test_a_silent_worker_is_killed(crew):
    crew.receive(4.0)
    assert crew.kill_silent() == []
    crew.receive(2.0)
    assert crew.kill_silent() == [(0, "no report for 5 s (report_timeout); the worker was killed")]


def test_a_worker_that_speaks_is_not(crew):
    crew.receive(4.0)
    crew.said.append((0, Report(0, 1.0, 0)))
    crew.receive(4.0)
    crew.receive(4.0)
    assert crew.kill_silent() == []


def test_a_driver_that_could_not_listen_blames_nobody(crew, clock):
    """It may have waited for a database server that was restarted."""
    crew.receive(4.0)
    clock.pass_(600.0)
    crew.receive(0.5)
    assert crew.kill_silent() == []
    crew.receive(1.0)
    assert len(crew.kill_silent()) == 1
