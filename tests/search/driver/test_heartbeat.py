"""Who is taken for dead, by the watcher's clock alone; drivers that share a server are in storage/test_joining.py."""

import pytest

from search.driver.heartbeat import Watch
from search.driver.ownership import Owner
from search.records.durations import BEAT_S

ONE, OTHER = Owner("one", 1, 1.0), Owner("other", 2, 2.0)


@pytest.fixture
def watch():
    return Watch(grace_s=60.0)


def look(watch, signs, start=0.0, step=BEAT_S):
    """Looks once for each sign, at an even pace; returns the times at which there was silence."""
    times = [start + step * at for at in range(len(signs))]
    return [now for now, sign in zip(times, signs, strict=True) if watch.stale({ONE: sign}, now)]


def test_a_sign_that_stays_the_same_is_silence(watch):
    assert look(watch, ["same"] * 7) == [60.0, 75.0, 90.0]


def test_any_change_is_life(watch):
    assert look(watch, ["a", "a", "a", "a", "b", "b", "b", "b", "c", "c"]) == []


def test_only_the_silent_one_is_gone(watch):
    gone = [watch.stale({ONE: "same", OTHER: at}, at * BEAT_S) for at in range(6)]
    assert gone == [set(), set(), set(), set(), {ONE}, {ONE}]


def test_who_was_away_begins_to_watch_anew(watch):
    """As after an outage of the server, during which nobody could beat."""
    assert look(watch, ["same"] * 3) == []
    assert look(watch, ["same"] * 5, start=1000.0) == [1060.0]
