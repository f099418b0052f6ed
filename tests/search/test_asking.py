import optuna
from optuna.trial import TrialState, create_trial

from search.asking import place_of


def trials(*retries):
    """Trials 0, 1, ...; a number stands for the trial that this one takes up again."""
    study = optuna.create_study()
    for retry in retries:
        attrs = {} if retry is None else {"retry_of": retry}
        study.add_trial(create_trial(state=TrialState.FAIL, user_attrs=attrs))
    return study.trials


def test_without_retries_the_place_is_the_number():
    assert [place_of(number, trials(None, None, None)) for number in range(4)] == [0, 1, 2, 3]


def test_a_retry_has_the_place_of_its_first_try_and_shifts_nothing_after_it():
    history = trials(None, None, 1, 2, None, 4)
    assert [place_of(number, history) for number in range(7)] == [0, 1, 1, 1, 2, 2, 3]
