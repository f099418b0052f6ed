from optuna.trial import create_trial

from search.driver.per_trial import PerTrial


def test_it_is_made_anew_where_another_trial_has_taken_the_place():
    made = []
    value_of = PerTrial(lambda trial: made.append(trial) or trial.value)
    first, same, other = create_trial(value=1.0), create_trial(value=1.0), create_trial(value=2.0)
    other.number = 7
    assert [value_of(trial) for trial in (first, first, other, first, same)] == [1.0, 1.0, 2.0, 1.0, 1.0]
    assert made == [first, other, same], "equal is not the same"
    assert made[0] is first
    assert made[2] is same
