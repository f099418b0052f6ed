"""Who is taken for dead, by the watcher's clock alone; drivers that share a server are in test_join.py."""

import optuna
import pytest
from optuna.trial import TrialState

from search.driver import heartbeat
from search.driver.heartbeat import GRACE_S, OtherDrivers, SignOfLife, Watch
from search.driver.ownership import Owner
from search.records.attributes import BEAT_KEY, OWNER_KEY
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


def test_who_looks_less_often_was_not_away(watch):
    assert look(watch, ["same"] * 4, step=2 * BEAT_S) == [60.0, 90.0]


def test_any_change_is_life(watch):
    assert look(watch, ["a", "a", "a", "a", "b", "b", "b", "b", "c", "c"]) == []


def test_only_the_silent_one_is_gone(watch):
    gone = [watch.stale({ONE: "same", OTHER: at}, at * BEAT_S) for at in range(6)]
    assert gone == [set(), set(), set(), set(), {ONE}, {ONE}]


def test_who_was_away_begins_to_watch_anew(watch):
    """As after an outage of the server, during which nobody could beat."""
    assert look(watch, ["same"] * 3) == []
    assert look(watch, ["same"] * 5, start=1000.0) == [1060.0]


@pytest.fixture
def study():
    return optuna.create_study()


@pytest.fixture
def server(study, monkeypatch, clock):
    """As if the storage were a server's."""
    monkeypatch.setattr(heartbeat, "shared", lambda _: study._storage)


def begin(study, owner):
    trial = study.ask()
    if owner is not None:
        study._storage.set_trial_system_attr(trial._trial_id, OWNER_KEY, owner.as_attr(0))
    return trial


def numbers(trials):
    return [trial.number for trial in trials]


ME = Owner.current()


def test_what_others_run_is_counted_while_they_run_it_and_returned_once_when_it_has_ended(study, server):
    """What had ended when this driver began is counted already, and who runs a trial of plain Optuna is not known."""
    for owner in (ONE, ONE, OTHER, ME, None):
        begin(study, owner)
    study.tell(0, 1.0)
    others = OtherDrivers(study, ME, study.trials)
    assert (others.running, numbers(others.trials)) == (2, [1, 2])
    study.tell(2, state=TrialState.FAIL)
    assert numbers(others.update(study.trials)) == [2]
    assert (numbers(others.trials), numbers(others.update(study.trials))) == ([1], [])
    study.tell(4, 1.0)
    assert numbers(others.update(study.trials)) == [4]


def test_a_trial_of_this_driver_is_its_own_to_count_until_it_is_paused(study, server):
    others = OtherDrivers(study, ME, [])
    for number in range(2):
        begin(study, ME)
        others.taken(number)
    others.released(1)
    for number in range(2):
        study.tell(number, 1.0)
    assert numbers(others.update(study.trials)) == [1], "which another has taken up and ended"


def test_others_are_looked_at_every_few_seconds(study, server, clock):
    others = OtherDrivers(study, ME, [])
    begin(study, ONE)
    study.tell(0, 1.0)
    assert others.poll() == []
    clock.pass_(3.0)
    assert numbers(others.poll()) == [0]


def test_in_a_file_there_are_none(study):
    begin(study, ONE)
    others = OtherDrivers(study, ME, study.trials)
    assert (others.running, others.update(study.trials), others.poll(), others.gone()) == (0, [], [], [])


def look_at(others, study, clock):
    """Has a driver look once, at its even pace; returns the numbers of the trials that are to be given back."""
    others.update(study.trials)
    found = sorted(numbers(others.gone()))
    clock.pass_(BEAT_S)
    return found


def test_all_that_a_silent_driver_runs_is_given_back(study, server, clock):
    for owner in (ONE, OTHER, ONE):
        begin(study, owner)
    others = OtherDrivers(study, ME, study.trials)
    quiet = int(GRACE_S / BEAT_S)
    found = []
    for at in range(quiet + 1):
        study._storage.set_trial_system_attr(1, BEAT_KEY, float(at))  # one of them lives
        found.append(look_at(others, study, clock))
    assert found == [[]] * quiet + [[0, 2]]


def test_a_driver_that_begins_another_trial_lives(study, server, clock):
    """As one whose sign of life went with the trial that has just ended."""
    others = OtherDrivers(study, ME, [])
    for _ in range(10):
        trial = begin(study, ONE)
        assert look_at(others, study, clock) == []
        study.tell(trial, 1.0)


def test_a_driver_of_this_machine_that_is_dead_is_gone_at_once(study, server, clock):
    dead = Owner.from_attr({**ME.as_attr(0), "started": 1.0})
    for owner in (dead, ONE):
        begin(study, owner)
    assert look_at(OtherDrivers(study, ME, study.trials), study, clock) == [0]


def test_others_are_watched_at_an_even_pace(study, server, clock):
    """However often a driver asks: who looks more often is not sooner with its verdict."""
    begin(study, ONE)
    others = OtherDrivers(study, ME, study.trials)
    asked = int(GRACE_S / BEAT_S) * 3
    found = []
    for _ in range(asked + 1):
        found.append(numbers(others.gone()))
        clock.pass_(BEAT_S / 3)
    assert found == [[]] * asked + [[0]]


def test_a_driver_shows_that_it_lives_with_one_trial_for_all_and_not_too_often(study, clock):
    """The next one, where that has ended elsewhere: its next report will say so. With none there is nothing to give back."""
    life = SignOfLife(study)
    mine = [begin(study, ME), begin(study, ME)]

    def signs():
        return [trial.system_attrs.get(BEAT_KEY) for trial in study.trials]

    clock.pass_(BEAT_S - 1)
    life.show(mine)
    assert signs() == [None, None]
    clock.pass_(1)
    life.show([])
    life.show(mine)
    clock.pass_(BEAT_S - 1)
    life.show(mine)
    assert signs() == [1000.0 + BEAT_S, None]
    study.tell(0, 1.0)
    clock.pass_(1)
    life.show(mine)
    assert signs() == [1000.0 + BEAT_S, 1000.0 + 2 * BEAT_S]


def test_a_driver_lives_that_was_held_for_dead_and_does_not_know_it_of_a_trial_yet(study, server, clock):
    """It was given back, as after a cut of the network, and reports so seldom that the driver still runs it."""
    life, given_back, new = SignOfLife(study), begin(study, ONE), begin(study, ONE)
    study.tell(given_back, state=TrialState.FAIL)
    others = OtherDrivers(study, ME, study.trials)
    for _ in range(2 * int(GRACE_S / BEAT_S)):
        life.show([given_back, new])
        assert look_at(others, study, clock) == []


def test_a_driver_lives_whose_short_trials_nobody_sees(study, server, clock):
    """Beside a long one: each of them begins and ends between two looks of the others."""
    life, long = SignOfLife(study), begin(study, ONE)
    others = OtherDrivers(study, ME, study.trials)
    for _ in range(2 * int(GRACE_S / BEAT_S)):
        assert look_at(others, study, clock) == []
        short = begin(study, ONE)
        life.show([long, short])
        study.tell(short, 1.0)
