"""In which order trials began and ended, whatever the wall clocks of their drivers show."""

from datetime import datetime, timedelta

import pytest
from optuna.trial import TrialState, create_trial

from search.records.attributes import OWNER_KEY, QUEUED_KEY, RETRY_KEY
from search.records.moments import moments_of
from search.records.rungs import RUNGS_KEY

NOON = datetime(2026, 3, 2, 12)


def make(number, driver, start, *, clock=None, boot="", seconds=10.0, state=TrialState.COMPLETE, user=None, system=None):
    """A trial that a driver began so many seconds after noon by its wall clock, and at `clock` by its own."""
    owner = {} if driver is None else {"pid": driver, "boot": boot, **({} if clock is None else {"clock": clock})}
    value = 1.0 if state is TrialState.COMPLETE else None
    trial = create_trial(state=state, value=value, user_attrs={OWNER_KEY: owner, **(user or {})}, system_attrs=system or {})
    trial.number = number
    trial.datetime_start = None if start is None else NOON + timedelta(seconds=start)
    trial.datetime_complete = NOON + timedelta(seconds=(start or 0) + seconds) if state.is_finished() else None
    return trial


def starts(*trials):
    """Returns when the trials began, in seconds since noon."""
    moments = moments_of(trials)
    return [round(moments[trial.number][0] - NOON.timestamp(), 3) for trial in trials]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ((1000.0, 60.0), 1000.0),  # the machine slept between the two
        ((40.0, 60.0), 60.0),  # set back by 20 s: after the last trial of the first launch began, before it ended
        ((-86000.0, 60.0), 60.0),
        ((59.5, 60.0), 59.5),  # no clock is that exact
    ],
)
def test_a_wall_clock_never_loses_on_that_of_its_machine(second, expected):
    wall, clock = second
    first = [make(number, 1, 30.0 * number, clock=30.0 * number, boot="a", seconds=25.0) for number in (0, 1)]
    again = [make(number, 2, wall + after, clock=clock + after, boot="a") for number, after in ((2, 0.0), (3, 10.0))]
    assert starts(*first, *again) == [0.0, 30.0, expected, expected + 10.0]
    woken = make(2, 2, wall, clock=clock, boot="a", user={RETRY_KEY: 0})
    assert starts(*first, woken) == [0.0, 30.0, expected], "whatever its trials are"


def test_a_launch_that_came_later_is_not_brought_forward_by_one_after_it():
    """The third launch runs a retry of a low number, after the machine has slept."""
    assert starts(
        make(0, 1, 0.0, clock=0.0, boot="a"),
        make(1, 3, 90000.0, clock=60.0, boot="a", user={RETRY_KEY: 0}),
        make(2, 2, 30.0, clock=30.0, boot="a"),
    ) == [0.0, 90000.0, 30.0]


def test_a_launch_on_another_boot_is_after_those_of_lower_numbers():
    first = [make(0, 1, 0.0, seconds=100.0), make(1, 1, 10.0)]
    again = [make(2, 2, -500.0), make(3, 2, -480.0), make(4, 3, -900.0)]
    assert starts(*first, *again) == [0.0, 10.0, 100.0, 120.0, 130.0]


def test_drivers_that_work_at_the_same_time_stay_beside_each_other():
    """The second one's clock is 20 s behind."""
    assert starts(make(0, 1, 0.0), make(1, 1, 10.0), make(2, 2, -8.0), make(3, 1, 20.0), make(4, 2, 2.0)) == [
        0.0, 10.0, 10.0, 20.0, 20.0,
    ]  # fmt: skip


@pytest.mark.parametrize("start", [10.0, 9.5, 35.0, 80000.0])
def test_drivers_whose_clocks_agree_with_the_numbers_are_where_they_have_them(start):
    for after in ([], [make(3, 1, 90000.0)]):
        trials = [make(0, 1, 0.0, seconds=50.0), make(1, 1, 10.0), make(2, 2, start, seconds=5.0), *after]
        assert starts(*trials) == [0.0, 10.0, start, *[90000.0 for _ in after]]


@pytest.mark.parametrize(
    "late",
    [
        {"user": {RETRY_KEY: 0}},
        {"system": {"fixed_params": {}}},
        {"system": {RUNGS_KEY: {"1": [0.5, 1.0], "2": [0.5, 1.0]}}},
        {"system": {RUNGS_KEY: {"1": [0.5, 1.0]}}, "state": TrialState.RUNNING},
    ],
)
def test_a_trial_that_began_after_it_got_its_number_says_nothing_of_others(late):
    assert starts(make(0, 1, 0.0), make(1, 1, 5000.0, **late), make(2, 2, 100.0)) == [0.0, 5000.0, 100.0]


@pytest.mark.parametrize(
    "numbered",
    [
        {"user": {QUEUED_KEY: {"x": 1}}, "system": {"fixed_params": {"x": 1}}},
        {"system": {RUNGS_KEY: {"1": [0.5, 10.0]}}, "state": TrialState.WAITING},
    ],
)
def test_a_config_of_the_files_queue_and_one_that_waits_for_its_first_promotion_began_when_they_got_their_numbers(numbered):
    assert starts(make(0, 1, 5000.0, **numbered), make(1, 2, 100.0)) == [5000.0, 5010.0]


def test_of_what_has_no_driver_on_record_the_wall_clock_alone_tells():
    trials = [make(0, None, 500.0), make(1, 1, 100.0), make(2, None, 0.0), make(3, 2, 200.0)]
    assert starts(*trials) == [500.0, 100.0, 0.0, 200.0]


def test_of_what_never_began_nothing_is_told():
    assert moments_of([make(0, 1, None, state=TrialState.WAITING)]) == {}
    ended = make(1, None, None, seconds=7.0)
    assert moments_of([ended]) == {1: (NOON.timestamp() + 7.0,) * 2}


def test_a_clock_that_is_set_during_a_launch_moves_no_trial():
    trials = [make(0, 1, 0.0, clock=100.0), make(1, 1, -3600.0, clock=120.0), make(2, 2, -3000.0, clock=720.0)]
    assert starts(*trials) == [0.0, 20.0, 20.0 + 10.0]
