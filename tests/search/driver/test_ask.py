import optuna
from optuna.trial import TrialState, create_trial

from search.driver.ask import trial_index_of
from search.records.attributes import RETRY_KEY


def places(*retries):
    """The places of trials 0, 1, ... and of the next one; a number stands for the trial that this one takes up again."""
    study = optuna.create_study()
    for retry in retries:
        attrs = {} if retry is None else {RETRY_KEY: retry}
        study.add_trial(create_trial(state=TrialState.FAIL, user_attrs=attrs))
    numbers = [trial.number for trial in study.trials if RETRY_KEY in trial.user_attrs]
    return [trial_index_of(number, study.trials, numbers) for number in range(len(retries) + 1)]


def test_without_retries_the_place_is_the_number():
    assert places(None, None, None) == [0, 1, 2, 3]


def test_a_retry_has_the_place_of_its_first_try_and_shifts_nothing_after_it():
    assert places(None, None, 1, 2, None, 4) == [0, 1, 1, 1, 2, 2, 3]
