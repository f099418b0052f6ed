"""How long a trial ran, whatever its two moments of the wall clock say."""

import dataclasses
from datetime import datetime, timedelta

import pytest
from optuna.trial import TrialState, create_trial

from search.driver.ownership import Owner
from search.records.attributes import BEAT_KEY, CLOCK_KEY, OWNER_KEY, RAN_KEY
from search.records.durations import duration_of, earlier_seconds, end_after, ended_at, until_last_sign, wall_clock_agrees
from search.records.rungs import RUNGS_KEY, Rung, as_attr

NOON = datetime(2026, 3, 2, 12)
DRIVER = dataclasses.asdict(Owner("here", 1, 1.0))
RUNGS = {RUNGS_KEY: as_attr({2: Rung(0.5, 10.0), 4: Rung(0.6, 20.0)})}


def make(began=NOON, seconds=None, ran=None, system_attrs=None):
    """A trial that began at a moment, and ended so many seconds of the wall clock later, or runs; `ran` is on record."""
    state = TrialState.RUNNING if seconds is None else TrialState.PRUNED
    trial = create_trial(state=state, user_attrs={} if ran is None else {RAN_KEY: ran}, system_attrs=system_attrs or {})
    trial.datetime_start = began
    trial.datetime_complete = None if seconds is None else began + timedelta(seconds=seconds)
    return trial


@pytest.mark.parametrize(
    ("seconds", "ran", "expected"),
    [
        (30.0, None, 30.0),
        (172800.0, 5.0, 5.0),  # ended by the next launch, after a weekend
        (30.0, -1.0, 0.0),
        (-30.0, None, 0.0),  # the clock was set back meanwhile
        (30.0, float("nan"), 30.0),
        (30.0, True, 30.0),
        (30.0, 10**400, 30.0),
        (None, None, None),
        (None, 5.0, None),
    ],
)
def test_how_long_a_trial_ran(seconds, ran, expected):
    assert duration_of(make(seconds=seconds, ran=ran)) == expected


def test_an_hour_that_comes_twice_is_told_apart(berlin):
    """From 2:50 to 2:10, which is the second one of that name."""
    began = datetime(2026, 10, 25, 2, 50)
    assert duration_of(make(began, seconds=-2400.0)) == 1200.0
    moments = began.timestamp(), began.timestamp() + 1200.0
    assert not wall_clock_agrees(1200.0, *moments), "a storage has forgotten which of the two it was"
    assert wall_clock_agrees(1200.0, *(NOON.timestamp() + after for after in (0.0, 1200.9)))
    assert not wall_clock_agrees(1200.0, *(NOON.timestamp() + after for after in (0.0, 1201.1)))


def test_a_trial_ends_so_long_after_it_began_as_it_ran():
    began = NOON.timestamp()
    assert ended_at(make(seconds=172800.0, ran=5.0)) == began + 5.0
    assert ended_at(make(seconds=172800.0, ran=35.0, system_attrs=RUNGS)) == began + 172800.0, "its moments are of its last leg"
    assert ended_at(make()) is None
    assert end_after(make(), 5.0) == NOON + timedelta(seconds=5)


def test_what_a_trial_that_climbs_rungs_ran_before_its_last_leg():
    paused = make(system_attrs=RUNGS)
    paused.state = TrialState.WAITING
    assert earlier_seconds(paused) == 10.0
    assert earlier_seconds(make(system_attrs=RUNGS)) == 30.0, "it is on its way from the second rung on"
    assert earlier_seconds(make(seconds=40.0, ran=70.0, system_attrs=RUNGS)) == 30.0
    assert earlier_seconds(make(seconds=80.0, ran=70.0, system_attrs=RUNGS)) == 0.0
    assert earlier_seconds(make(seconds=40.0, ran=70.0)) == 0.0


def begun(clock, beat=None, worker=0, **changed):
    """A trial that a driver began at this time of its own clock, maybe with a later sign of life."""
    owner = {**DRIVER, **changed, "worker": worker, CLOCK_KEY: clock}
    return create_trial(state=TrialState.RUNNING, system_attrs={OWNER_KEY: owner, **({} if beat is None else {BEAT_KEY: beat})})


@pytest.mark.parametrize(
    ("others", "seconds"),
    [
        ([], 0.0),
        ([begun(130.0, worker=1)], 30.0),
        ([begun(90.0, beat=115.0)], 15.0),
        ([begun(90.0)], 0.0),
        ([begun(500.0, pid=2), begun(50.0, beat=500.0, started=2.0)], 0.0),  # of other drivers, whose clocks are others
        ([create_trial(value=1.0)], 0.0),
    ],
)
def test_a_lost_trial_ran_until_its_driver_last_showed_life(others, seconds):
    lost = begun(100.0)
    assert until_last_sign(lost, [*others, lost]) == seconds
    assert until_last_sign(begun(100.0, beat=105.0), [*others, begun(100.0, beat=105.0)]) == max(5.0, seconds)
    assert until_last_sign(create_trial(state=TrialState.RUNNING), [lost]) == 0.0
