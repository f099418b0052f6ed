"""The likely best trial, which is not the luckiest."""

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from search.results.likely_best import FEWEST_RESULTS, likely_best

SPACE = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "units": IntDistribution(1, 64),
    "kind": CategoricalDistribution(["a", "b"]),
    "decay": FloatDistribution(0.0, 1.0),
}


def truth(params):
    return 0.8 - 0.05 * abs(np.log10(params["rate"]) + 2) - 0.1 * abs(params["units"] - 32) / 63 - 0.1 * (params["kind"] == "b")


def study_of(seed, count=30, noise=0.02, direction="maximize"):
    """A study whose values are the truth and the luck of a seed."""
    rng = np.random.default_rng(seed)
    study = optuna.create_study(direction=direction)
    sign = 1 if direction == "maximize" else -1
    for _ in range(count):
        kind = str(rng.choice(["a", "b"]))
        params = {"rate": float(10 ** rng.uniform(-4, 0)), "units": int(rng.integers(1, 65)), "kind": kind}
        if kind == "b":
            params["decay"] = float(rng.uniform())
        value = sign * (truth(params) + noise * rng.normal())
        study.add_trial(create_trial(value=value, params=params, distributions={name: SPACE[name] for name in params}))
    return study


def add(study, value, **params):
    study.add_trial(create_trial(value=value, params=params, distributions={name: SPACE[name] for name in params}))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_over_many_studies_the_likely_best_is_better_than_the_luckiest(direction):
    winners = [likely_best(study_of(seed, direction=direction)) for seed in range(6)]
    gains = [truth(winner.trial.params) - truth(winner.luckiest.params) for winner in winners]
    assert np.mean(gains) > 0.003
    assert sum(winner.differs for winner in winners) >= 2


def test_one_lucky_trial_among_bad_ones_is_not_believed():
    study = study_of(0, noise=0.002)
    best = likely_best(study)
    add(study, 0.83, rate=0.9, units=2, kind="b", decay=0.5)
    add(study, 0.45, rate=0.89, units=2, kind="b", decay=0.5)
    winner = likely_best(study)
    assert (winner.trial.number, winner.luckiest.number, winner.differs) == (best.trial.number, 30, True)
    assert winner.luckiest_estimate < winner.estimate < 0.83
    chosen = f"trial {best.trial.number} ({best.trial.value:.4g}, estimated {winner.estimate:.4g})"
    assert winner.describe() == f"{chosen} instead of trial 30 (0.83, estimated {winner.luckiest_estimate:.4g})"


def test_without_noise_the_best_value_stays_the_best():
    for seed in range(3):
        winner = likely_best(study_of(seed, noise=0.0))
        assert truth(winner.luckiest.params) - truth(winner.trial.params) < 0.005


def test_of_one_config_the_better_run_stands_for_all():
    study = study_of(1, noise=0.0)
    for value in (0.80, 0.82, 0.81):
        add(study, value, rate=1e-2, units=32, kind="a")
    assert likely_best(study).trial.number == 31


def test_the_choice_is_the_same_each_time():
    first, second = (likely_best(study_of(2)) for _ in range(2))
    assert (first.trial.number, first.estimate) == (second.trial.number, second.estimate)


def test_where_it_cannot_be_told_there_is_none():
    assert likely_best(study_of(0, count=FEWEST_RESULTS - 1)) is None
    assert likely_best(study_of(0, count=FEWEST_RESULTS)) is not None
    assert likely_best(optuna.create_study()) is None
    equal, bare, front = optuna.create_study(), optuna.create_study(), optuna.create_study(directions=["minimize"] * 2)
    for at in range(FEWEST_RESULTS):
        add(equal, 1.0, rate=10.0 ** -(at % 4))
        bare.add_trial(create_trial(value=float(at)))
        front.add_trial(
            create_trial(values=[float(at), 0.0], params={"units": at + 1}, distributions={"units": SPACE["units"]})
        )
    assert [likely_best(study) for study in (equal, bare, front)] == [None, None, None]


def test_only_results_count():
    study = study_of(3)
    before = likely_best(study)
    params = {"rate": 1e-2, "units": 32, "kind": "a"}
    distributions = {name: SPACE[name] for name in params}
    study.add_trial(create_trial(value=float("inf"), params=params, distributions=distributions))
    study.add_trial(create_trial(state=TrialState.FAIL, params=params, distributions=distributions))
    pruned = create_trial(state=TrialState.PRUNED, params=params, distributions=distributions, intermediate_values={0: 9.0})
    study.add_trial(pruned)
    assert likely_best(study).trial.number == before.trial.number
