"""What is said of a trial at one time is written at one time, and is the same as if it had been written one by one."""

import math

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from search.storage import open as storage
from search.study_file import samplers
from tests.search.servers import SERVERS

pytestmark = pytest.mark.parametrize("url", ["sqlite", *SERVERS], indirect=True)

SPACE = {"x": FloatDistribution(-10.0, 10.0), "y": CategoricalDistribution(["a", None]), "z": IntDistribution(1, 8, log=True)}


@pytest.fixture
def commits(study):
    """A list that has an entry for each transaction that was committed."""
    found = []
    sqlalchemy.event.listen(study._storage.backend.engine, "commit", lambda connection: found.append(connection))
    return found


def say_all(trial):
    for step, value in enumerate([0.5, math.inf, -math.inf, math.nan, 0.25]):
        trial.report(value, step)
    trial.set_user_attr("note", ("ä", {"b": [1, None]}))
    trial.set_user_attr("note", "newer")
    trial.storage.set_trial_system_attr(trial._trial_id, "rung", {"2": [0.5, 1.0]})
    for name, distribution in SPACE.items():
        trial._suggest(name, distribution)


def fail_after_a_report(trial):
    trial.report(0.5, 0)
    raise NotImplementedError


def shown(trial):
    """All that there is of a trial, NaN as a word."""
    values = {step: str(value) for step, value in trial.intermediate_values.items()}
    return trial.state, trial.params, trial.distributions, values, trial.user_attrs, trial.system_attrs


def test_what_is_written_together_is_what_is_written_one_by_one(study, other, commits):
    alone = study.ask(SPACE)
    study.sampler = samplers.fixed(alone.params)
    trial = study.ask()  # after the first one the study knows its distributions
    study.get_trials()
    for value in ("first", "second"):  # written over, too
        trial.set_user_attr("note", value)
    alone.storage.set_trial_system_attr(alone._trial_id, "note", 1)
    say_all(alone)
    with storage.together(study, trial._trial_id):
        say_all(trial)
        assert shown(study.get_trials()[1])[3:5] == (
            {0: "0.5", 1: "inf", 2: "-inf", 3: "nan", 4: "0.25"},
            {"note": "newer"},
        ), "known at once"
        assert other.get_trials()[1].intermediate_values == {}
        commits.clear()  # those that have read
    assert len(commits) == 1
    first, second = other.get_trials()
    assert shown(second)[:5] == shown(first)[:5]
    assert second.system_attrs["rung"] == first.system_attrs["rung"]
    assert shown(study.get_trials()[1]) == shown(second)
    study.tell(trial, 1.0)
    assert other.get_trials()[1].state is TrialState.COMPLETE


def test_nothing_is_written_of_a_trial_that_another_driver_has_ended(study, other):
    trial = study.ask(SPACE)
    study.get_trials()
    other.tell(trial.number, state=TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError), storage.together(study, trial._trial_id):
        say_all(trial)
    assert study.get_trials()[0].intermediate_values == {}
    assert shown(study.get_trials()[0]) == shown(other.get_trials()[0])


def test_what_was_said_before_an_error_is_written(study, other):
    trial = study.ask(SPACE)
    with pytest.raises(NotImplementedError), storage.together(study, trial._trial_id):
        fail_after_a_report(trial)
    assert other.get_trials()[0].intermediate_values == {0: 0.5}


def test_a_distribution_that_a_study_cannot_have_is_refused(study):
    study.ask(SPACE)
    trial = study.ask()
    study.sampler = optuna.samplers.RandomSampler(seed=1)
    with pytest.raises(ValueError, match="distribution kind"), storage.together(study, trial._trial_id):
        trial._suggest("x", CategoricalDistribution([1, 2]))


def test_the_first_trials_parameters_are_written_together_too(study, other):
    """Where no other process writes, that no trial has them is known."""
    trial = study.ask()
    with storage.together(study, trial._trial_id):
        for name, distribution in SPACE.items():
            trial._suggest(name, distribution)
        assert len(other.get_trials()[0].params) == (0 if study._storage.alone else len(SPACE))
    assert other.get_trials()[0].params == trial.params
    assert other.get_trials()[0].distributions == SPACE
    later = study.ask()
    with pytest.raises(ValueError, match="distribution kind"), storage.together(study, later._trial_id):
        later._suggest("x", CategoricalDistribution([1, 2]))


@pytest.mark.parametrize("has_read", [True, False])
def test_what_the_trials_of_another_process_were_drawn_from_is_known(study, other, has_read):
    study.ask(SPACE)
    other.sampler = optuna.samplers.RandomSampler(seed=1)
    if has_read:
        other.get_trials()
    trial = optuna.Trial(other, other._storage.create_new_trial(other._study_id))
    with pytest.raises(ValueError, match="distribution kind"), storage.together(other, trial._trial_id):
        trial._suggest("x", CategoricalDistribution([1, 2]))


def test_a_trial_of_another_driver_is_written_as_ever(study, other, commits):
    trial = other.ask(SPACE)
    commits.clear()
    with storage.together(study, trial._trial_id):
        study._storage.set_trial_user_attr(trial._trial_id, "note", 1)
        assert len(commits) == 1
    assert study.get_trials()[0].user_attrs == {"note": 1}


def test_a_block_that_says_nothing_asks_nothing(study, commits):
    trial = study.ask(SPACE)
    commits.clear()
    with storage.together(study, trial._trial_id):
        pass
    assert commits == []
