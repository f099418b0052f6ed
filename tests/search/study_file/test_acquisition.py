"""What a candidate is weighed by besides its value: the prior and the cost."""

from datetime import datetime

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from search.driver.ask import TrialSource
from search.optuna_internals import WeighingTPESampler
from search.records.attributes import RAN_KEY
from search.study_file import samplers
from search.study_file.acquisition import BETA, FEWEST_DURATIONS, Acquisition, log_seconds
from search.study_file.load import load
from search.study_file.priors import Prior

SPACE = {
    "epochs": IntDistribution(2, 16, step=2),
    "width": FloatDistribution(1.0, 100.0, log=True),
    "kind": CategoricalDistribution(["slow", "fast"]),
}


def took(params):
    return params["epochs"] * params["width"] ** 0.5 * {"slow": 3.0, "fast": 1.0}[params["kind"]]


def trials(count, *, states=(TrialState.COMPLETE,), reports=0):
    """Trials that took their time."""
    rng = np.random.default_rng(0)
    made = []
    for at in range(count):
        epochs = int(2 * rng.integers(1, 9))
        params = {
            "epochs": epochs,
            "width": float(rng.uniform(1, 100)),
            "kind": str(rng.choice(["slow", "fast"])),
        }
        trial = create_trial(
            state=states[at % len(states)],
            value=0.0 if states[at % len(states)] is TrialState.COMPLETE else None,
            params=params,
            distributions=SPACE,
            user_attrs={RAN_KEY: took(params)},
            intermediate_values=dict.fromkeys(range(epochs if reports else 0), 0.0),
        )
        trial.datetime_complete = datetime.now()
        made.append(trial)
    return made


CANDIDATES = {"epochs": np.array([2.0, 16.0, 8.0]), "width": np.array([4.0, 4.0, 64.0]), "kind": np.array([1.0, 1.0, 0.0])}
TOOK = np.log([2 * 2.0, 16 * 2.0, 8 * 8.0 * 3])


def test_what_a_config_costs_is_learned_from_trials():
    assert log_seconds(trials(40), SPACE, CANDIDATES) == pytest.approx(TOOK, abs=0.15)


def test_a_few_trials_say_nothing_of_costs():
    assert np.ptp(log_seconds(trials(FEWEST_DURATIONS - 1), SPACE, CANDIDATES)) == 0
    assert np.ptp(log_seconds(trials(FEWEST_DURATIONS), SPACE, CANDIDATES)) > 0


def test_a_pruned_trial_does_not_say_what_its_config_costs_but_what_an_epoch_of_it_does():
    mixed = trials(2 * FEWEST_DURATIONS - 2, states=(TrialState.COMPLETE, TrialState.PRUNED), reports=1)
    assert np.ptp(log_seconds(mixed, SPACE, CANDIDATES)) == 0
    by_report = log_seconds(mixed, SPACE, CANDIDATES, per_report=True)
    assert by_report[0] == pytest.approx(by_report[1], abs=0.3), "whatever the number of epochs"
    assert by_report[2] - by_report[0] == pytest.approx(np.log(4 * 3), abs=0.5)


def test_trials_without_a_duration_or_a_parameter_are_left_out():
    others = [create_trial(value=0.0, params={"epochs": 2}, distributions={"epochs": SPACE["epochs"]})] * 20
    assert np.ptp(log_seconds([*others, *trials(3)], SPACE, CANDIDATES)) == 0


def test_cost_counts_by_what_is_left_of_the_budget():
    known = trials(40)
    whole, half = (Acquisition(cost_weight=weight).terms(known, SPACE, CANDIDATES) for weight in (1.0, 0.5))
    assert whole == pytest.approx(-TOOK, abs=0.15)
    assert half == pytest.approx(whole / 2)
    assert not Acquisition(cost_weight=0.0).terms(known, SPACE, CANDIDATES).any()


def test_a_prior_counts_less_with_each_trial():
    prior = Prior(16, "high", SPACE["epochs"])
    gains = []
    for count in (0, 9, 99):
        terms = Acquisition({"epochs": prior, "elsewhere": prior}).terms(trials(count), SPACE, CANDIDATES)
        gains.append(terms[1] - terms[0])
    density = prior.log_density(CANDIDATES["epochs"])
    assert gains == pytest.approx([BETA / (count + 1) * (density[1] - density[0]) for count in (0, 9, 99)])


class TwoParameters:
    """A study of a file, searched in this process."""

    def __init__(self, write, space, seed=0, **sampler):
        tables = {"study": {"seed": str(seed)}, "space": space, "sampler": {"name": '"tpe"', **sampler}}
        self.source = TrialSource(study := optuna.create_study(), load(write(**tables)))
        self.study = study

    def run(self, count, budget_left=1.0):
        for _ in range(count):
            trial = self.source.ask({}, budget_left=budget_left)
            trial.set_user_attr(RAN_KEY, 10 ** trial.params["y"])
            self.study.tell(trial, (trial.params["x"] - 0.7) ** 2)
        return [trial.params for trial in self.study.trials]


FLAT = dict.fromkeys(("x", "y"), '{ type = "float", low = 0.0, high = 1.0 }')


def test_without_prior_and_cost_the_sampler_is_optunas_and_draws_as_ever(write, monkeypatch):
    made = []
    monkeypatch.setattr(samplers, "WeighingTPESampler", lambda *_, **options: made.append(options))
    plain = TwoParameters(write, FLAT).run(20)
    assert (plain, made) == (TwoParameters(write, FLAT, cost="false").run(20), [])


def test_what_adds_nothing_changes_no_draw(write):
    drawn = []
    for kind in (optuna.samplers.TPESampler, lambda **options: WeighingTPESampler(Acquisition(), **options)):
        study = optuna.create_study(sampler=kind(seed=3, multivariate=True, n_startup_trials=0))
        for _ in range(12):
            trial = study.ask(SPACE)
            study.tell(trial, took(trial.params))
        drawn.append([trial.params for trial in study.trials])
    assert drawn[0] == drawn[1]


def test_what_costs_less_is_tried_more_often_while_there_is_budget(write):
    costly = {1.0: [], 0.0: []}
    for budget_left, places in costly.items():
        for seed in range(6):
            drawn = TwoParameters(write, FLAT, seed, cost="true").run(30, budget_left)
            places += [params["y"] for params in drawn[10:]]
    assert drawn == TwoParameters(write, FLAT, seed).run(30), "once there is no budget left, cost is nothing"
    assert np.mean(costly[1.0]) < np.mean(costly[0.0]) - 0.05


def test_cost_is_true_or_false_and_only_of_tpe(write):
    for name, value, error in (
        ("tpe", "1", "sampler.cost: must be true or false; got 1"),
        ("gp", "true", "cost"),
        ("random", "true", "unknown option"),
    ):
        with pytest.raises(Exception, match=error):
            load(write(sampler={"name": f'"{name}"', "cost": value}))
