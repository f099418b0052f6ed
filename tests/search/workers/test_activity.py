"""What an objective is at reaches the driver a few times a second, and the driver's word to end reaches the objective there."""

import itertools

import pytest

from search.workers.activity import Activities, Interrupted
from search.workers.protocol import ReportReply, RunTrial
from search.workers.trial import WorkerTrial
from tests.search.conftest import Clock


def test_a_few_a_second_are_sent_and_what_is_new_before_another_figure(monkeypatch):
    clock, sent = Clock(monkeypatch), []
    activities = Activities(sent.append, lambda: False)
    for number in range(1000):
        activities(f"reading: {number}%")
        clock.pass_(0.01)
    assert 35 <= len(sent) <= 45, "four a second for ten seconds"
    activities("compiling")
    assert sent[-1] == "compiling"


def test_an_objective_that_is_to_end_ends_where_it_says_what_it_is_at():
    answers = itertools.chain([False], itertools.repeat(True))
    sent = []
    activities = Activities(sent.append, lambda: next(answers))
    trial = WorkerTrial(RunTrial(0, {}, {}), lambda report: ReportReply(), lambda message: None, activities)
    trial.progress("fil\nling")
    assert sent == ["fil\\nling"], "nothing in it moves the cursor"
    with pytest.raises(Interrupted):
        trial.progress("filling")
