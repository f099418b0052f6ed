"""The likely best trial, which is not the luckiest."""

import sys

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from sklearn.gaussian_process import GaussianProcessRegressor

from benchmarks.winner_simulated import SPACE, add, search_rastrigin, simulate, truth
from search.results import likely_best as module
from search.results.likely_best import FEWEST_RESULTS, likely_best


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_over_many_studies_the_likely_best_is_better_than_the_luckiest(direction):
    winners = [likely_best(simulate(seed, direction=direction)) for seed in range(6)]
    gains = [truth(winner.trial.params) - truth(winner.luckiest.params) for winner in winners]
    assert np.mean(gains) > 0.003
    assert sum(winner.differs for winner in winners) >= 2


def test_one_lucky_trial_among_bad_ones_is_not_believed():
    study = simulate(0, noise=0.002)
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
        winner = likely_best(simulate(seed, noise=0.0))
        assert truth(winner.luckiest.params) - truth(winner.trial.params) < 0.005
        assert winner.estimate == pytest.approx(truth(winner.trial.params), abs=0.005)


@pytest.mark.parametrize("trials", [FEWEST_RESULTS, 40, 100])
def test_where_values_tell_that_they_hold_no_noise_the_best_one_is_chosen(trials):
    assert [likely_best(simulate(seed, trials, noise=0.0)).differs for seed in range(4)] == [False] * 4


def test_a_rugged_landscape_is_not_taken_for_luck():
    for seed in range(1, 7):
        study = search_rastrigin(seed, trials=40)
        winner = likely_best(study)
        assert winner.trial.value in sorted(trial.value for trial in study.trials)[:3]


@pytest.mark.parametrize("lucky", [True, False])
def test_configs_that_were_run_twice_tell_luck_from_a_rugged_landscape(lucky):
    gains, places = [], []
    for seed in range(6):
        rng, study = np.random.default_rng(seed), optuna.create_study(direction="maximize")
        for trial in simulate(seed, noise=0.0).trials:
            first, second = 0.1 * rng.normal(size=2)
            for alone in (first, second if lucky else first):
                add(study, truth(trial.params) + alone, **trial.params)
        winner = likely_best(study)
        gains.append(truth(winner.trial.params) - truth(winner.luckiest.params))
        places.append(sum(trial.value > winner.trial.value for trial in study.trials))
    if lucky:
        assert np.mean(gains) > 0.02
        assert max(places) >= 3, "where values tell of luck, the best estimate is taken wherever it is"
    else:
        assert places == [0] * 6


def test_of_many_results_only_the_best_tell_of_one_another(monkeypatch):
    studies = [simulate(seed, trials=300, noise=0.05) for seed in range(6)]
    whole = [likely_best(study) for study in studies]
    monkeypatch.setattr(module, "_MOST_LEARNED", 80)
    monkeypatch.setattr(module, "_MOST_TOLD", 150)
    told = []
    fit = GaussianProcessRegressor.fit
    monkeypatch.setattr(GaussianProcessRegressor, "fit", lambda self, x, y: told.append(len(x)) or fit(self, x, y))
    winners = [likely_best(study) for study in studies]
    assert told == [80, 80, *[150] * 5] * 6
    for study, winner, of_all in zip(studies, winners, whole, strict=True):
        assert winner.trial.value in sorted(trial.value for trial in study.trials)[-150:]
        assert (winner.luckiest.number, winner.estimate) == (of_all.luckiest.number, pytest.approx(of_all.estimate, abs=0.02))
    assert np.mean([truth(winner.trial.params) - truth(winner.luckiest.params) for winner in winners]) > 0.003


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1e12, 1e307])
def test_values_of_any_size_are_compared(scale):
    study, scaled = simulate(0), optuna.create_study(direction="maximize")
    for trial in study.trials:
        scaled.add_trial(create_trial(value=trial.value * scale, params=trial.params, distributions=trial.distributions))
    winner, same = likely_best(study), likely_best(scaled)
    assert (same.trial.number, same.estimate) == (winner.trial.number, pytest.approx(winner.estimate * scale))


def with_divergence(seed, worst, beyond, sign=1):
    """A study without noise whose trials above this rate have the worst value, and the same one without them."""
    whole, sound = (optuna.create_study(direction="minimize" if sign > 0 else "maximize") for _ in range(2))
    for trial in simulate(seed, trials=60, noise=0.0).trials:
        diverged = trial.params["rate"] > beyond
        for study in (whole, sound) if not diverged else (whole,):
            value = sign * (worst if diverged else 1 - trial.value)
            study.add_trial(create_trial(value=value, params=trial.params, distributions=trial.distributions))
    return whole, sound


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("worst", [10.0, 1e6, sys.float_info.max])
@pytest.mark.parametrize("beyond", [0.3, 0.05])  # of an eighth of the trials, and of a third
def test_trials_that_diverged_do_not_change_the_choice(worst, beyond, sign):
    for seed in range(3):
        whole, sound = with_divergence(seed, worst, beyond, sign)
        assert len(sound.trials) < len(whole.trials)
        winner, alone = likely_best(whole), likely_best(sound)
        assert winner.trial.params == winner.luckiest.params == alone.trial.params
        assert winner.estimate == pytest.approx(alone.estimate)


@pytest.mark.parametrize(
    ("losses", "sound"),
    [
        # Quartiles 5, 10 and 15: three times 10 beyond 15.
        ([*range(20), 44], 21),
        ([*range(20), 46], 20),
        # More than a quarter far off: the better half, from 0 to 10, tells. Seven times 10 beyond 10.
        ([*range(15), *[1000] * 6], 15),
        ([*range(15), 79, *[1000] * 5], 16),
        ([*range(15), 81, *[1000] * 5], 15),
        # A range of nothing tells nothing.
        ([0, *[5] * 19, 6], 21),
        ([0, *[5] * 19, 41], 20),
        ([*[0] * 11, *range(1, 11)], 21),
        ([3] * 21, 21),
        ([0] * 21, 21),
        # Of any size, and of either sign.
        ([1.7e308 * ((at - 10) / 10) for at in range(21)], 21),
        ([-1.7e308, *[-1.7e308 * (1 - at / 1e6) for at in range(1, 20)], 1.7e308], 20),
    ],
)
def test_far_worse_is_beyond_what_the_better_ones_spread(losses, sound):
    assert module._count_sound(np.array(losses, np.float64)) == sound


def test_configs_lie_as_far_apart_as_their_parameters_do():
    """What a config has not is 0 and said so, in a column of its own; two choices are as far apart as the ends of a range."""
    study = optuna.create_study()
    add(study, 0.0, rate=1e-4, units=1, kind="a")
    add(study, 0.0, rate=1e-2, units=64, kind="b", decay=0.25)
    found = module._features(study.trials)
    half = 0.5 / 64
    expected = [[0.0, half, np.sqrt(0.5), 0.0, 0.0, 0.0], [0.5, 1 - half, 0.0, np.sqrt(0.5), 0.25, 1.0]]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.hypot(*(found[1] - found[0])[2:4]) == pytest.approx(1)


def test_with_too_few_trials_that_have_not_diverged_it_cannot_be_told():
    for sound, told in ((FEWEST_RESULTS - 1, False), (FEWEST_RESULTS, True)):
        study = simulate(0, trials=sound)
        for rate in (0.7, 0.8, 0.9):
            add(study, -1e6, rate=rate, units=32, kind="a")
        assert (likely_best(study) is not None) is told


def test_of_one_config_the_better_run_stands_for_all():
    study = simulate(1, noise=0.0)
    for value in (0.80, 0.82, 0.81):
        add(study, value, rate=1e-2, units=32, kind="a")
    assert likely_best(study).trial.number == 31


def test_the_choice_is_the_same_each_time():
    first, second = (likely_best(simulate(2)) for _ in range(2))
    assert (first.trial.number, first.estimate) == (second.trial.number, second.estimate)


def test_where_it_cannot_be_told_there_is_none():
    assert likely_best(simulate(0, trials=FEWEST_RESULTS - 1)) is None
    assert likely_best(simulate(0, trials=FEWEST_RESULTS)) is not None
    assert likely_best(optuna.create_study()) is None
    assert FEWEST_RESULTS == 20, "as docs/reading-a-study.md says"
    equal, zero, bare = (optuna.create_study() for _ in range(3))
    front = optuna.create_study(directions=["minimize"] * 2)
    for at in range(FEWEST_RESULTS):
        add(equal, 1.0, rate=10.0 ** -(at % 4))
        add(zero, 0.0, rate=10.0 ** -(at % 4))
        bare.add_trial(create_trial(value=float(at)))
        front.add_trial(
            create_trial(values=[float(at), 0.0], params={"units": at + 1}, distributions={"units": SPACE["units"]})
        )
    assert [likely_best(study) for study in (equal, zero, bare, front)] == [None] * 4


def test_where_configs_explain_nothing_of_the_values_there_is_none():
    rng, study = np.random.default_rng(0), optuna.create_study()
    for _ in range(30):
        add(study, rng.normal(), rate=10 ** rng.uniform(-4, 0), units=int(rng.integers(1, 65)))
    assert likely_best(study) is None


def test_only_results_count():
    study = simulate(3)
    before = likely_best(study)
    params = {"rate": 1e-2, "units": 32, "kind": "a"}
    distributions = {name: SPACE[name] for name in params}
    study.add_trial(create_trial(value=float("inf"), params=params, distributions=distributions))
    study.add_trial(create_trial(state=TrialState.FAIL, params=params, distributions=distributions))
    pruned = create_trial(state=TrialState.PRUNED, params=params, distributions=distributions, intermediate_values={0: 9.0})
    study.add_trial(pruned)
    assert likely_best(study).trial.number == before.trial.number


def test_ranges_of_any_size_are_compared():
    space = {
        "whole": FloatDistribution(-1.7e308, 1.7e308),
        "log": FloatDistribution(1e-300, 1e300, log=True),
        "tiny": FloatDistribution(5e-324, 1e-320),
    }
    study = optuna.create_study()
    for at in range(FEWEST_RESULTS):
        params = {"whole": (-1) ** at * at * 8e306, "log": 10.0 ** (30 * (at - 10)), "tiny": 5e-324 * (at + 1)}
        study.add_trial(create_trial(value=float(abs(at - 9)), params=params, distributions=space))
    assert likely_best(study).trial.number == 9
