import os
from datetime import timedelta

import pytest

from search.keras_tuner.project import read_project
from search.keras_tuner.times import Times, times_of
from tests.search.keras_tuner.projects import START, trial

MINUTE, HALF = timedelta(minutes=1), timedelta(seconds=30)


@pytest.fixture
def trials():
    return [trial({"x": value}, value**2) for value in (0.1, 0.2, 0.3)]


def test_the_end_is_when_the_file_was_written(write_project, trials):
    times = times_of(read_project(write_project(*trials)))
    assert times["01"] == Times(START + MINUTE, START + MINUTE + HALF)


def test_after_a_copy_the_end_is_the_next_start(write_project, trials):
    folder = write_project(*trials)
    for path in folder.glob("trial_*/trial.json"):
        os.utime(path)
    times = times_of(read_project(folder))
    assert times["01"] == Times(START + MINUTE, START + 2 * MINUTE, ("end",))
    assert times["02"] == Times(START + 2 * MINUTE, START + 2 * MINUTE, ("end",))


def test_without_display_the_start_is_unknown(write_project, trials):
    times = times_of(read_project(write_project(*trials, known_times=False)))
    assert times["01"] == Times(START + MINUTE + HALF, START + MINUTE + HALF, ("start",))
