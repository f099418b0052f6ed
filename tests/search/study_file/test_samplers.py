import importlib.util
import math
import re
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from pydantic_core import PydanticCustomError

from search.study_file import samplers
from search.study_file.rule_errors import format_error

SPACE = {"x": FloatDistribution(0, 1), "n": IntDistribution(1, 8)}
NAMES = ("tpe", "random", "qmc", "nsgaii", "nsgaiii", "cmaes", "gp")
PACKAGES = {"cmaes": "cmaes", "gp": "torch"}  # of extras, which need not be installed


def draw(name, seed, count, options=None):
    """Parameters of `count` trials, a fresh sampler for each, as the driver draws them."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    return drawn_in(optuna.create_study(direction="maximize"), name, seed, count, options)


def drawn_in(study, name, seed, count, options=None):
    drawn = []
    for trial_index in range(count):
        study.sampler = samplers.make(name, options or {}, study_seed=seed, trial_index=trial_index)
        trial = study.ask(fixed_distributions=SPACE)
        study.tell(trial, trial.params["x"] - abs(trial.params["n"] - 4))
        drawn.append(trial.params)
    return drawn


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_fixes_what_is_drawn(name):
    assert draw(name, 0, 15) == draw(name, 0, 15)
    assert draw(name, 0, 15) != draw(name, 1, 15)


@pytest.mark.parametrize("name", NAMES)
def test_trials_differ_although_the_sampler_is_made_anew(name):
    count = 10 if name == "gp" else 15  # from then on it stays where the best is, at the end of x
    drawn = [params["x"] for params in draw(name, 0, count)]
    assert len(set(drawn)) == count


@pytest.mark.parametrize("name", NAMES)
def test_where_each_trial_fails_the_next_is_another_one(name):
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    study = optuna.create_study(direction="maximize")
    for trial_index in range(15):
        study.sampler = samplers.make(name, {}, study_seed=0, trial_index=trial_index)
        study.tell(study.ask(fixed_distributions=SPACE), state=TrialState.FAIL)
    assert len({trial.params["x"] for trial in study.trials}) == 15


@pytest.mark.parametrize("name", NAMES)
def test_who_learns_from_the_trials_of_others(name):
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    drawn = []
    for best in (0.1, 0.9):
        study = optuna.create_study(direction="maximize")
        for at in range(40):
            params = {"x": at / 40, "n": 4}
            study.add_trial(optuna.create_trial(params=params, distributions=SPACE, value=-abs(at / 40 - best)))
        drawn.append(drawn_in(study, name, 0, 3))
    assert (drawn[0][0] != drawn[1][0]) is samplers.learns(name)


def test_every_sampler_of_the_documentation_is_tested():
    page = (Path(__file__).parents[3] / "docs" / "study-files.md").read_text()
    table = page.partition("## `[sampler]`")[2].partition("## `[pruner]`")[0]
    named = [name for row in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    named = [name for name in named if name != "name"]
    assert sorted(named) == sorted([*NAMES, *samplers.FINITE])


def test_tpe_finds_the_better_half_more_often_than_chance():
    late = draw("tpe", 0, 40)[20:]
    assert sum(params["x"] > 0.5 for params in late) > 12


def test_without_an_initial_design_tpe_begins_as_optuna_has_it():
    drawn = draw("tpe", 0, 20, {"initial_design": False})
    assert drawn == draw("tpe", 0, 20, {"n_startup_trials": 10}) != draw("tpe", 0, 20)


@pytest.mark.parametrize(
    ("name", "options", "enough"),
    [
        ("tpe", {}, 6),
        ("tpe", {"n_startup_trials": 4}, 4),
        ("tpe", {"n_startup_trials": 0}, 6),
        ("tpe", {"initial_design": False}, 10),
        ("tpe", {"initial_design": False, "n_startup_trials": 20}, 20),
        ("gp", {}, 10),
        ("random", {}, 6),
        ("cmaes", {}, math.inf),
        ("nsgaii", {}, math.inf),
        ("nsgaiii", {"population_size": 8}, math.inf),
        ("optuna.samplers:CmaEsSampler", {"n_startup_trials": 12}, math.inf),
        ("optuna.samplers:GPSampler", {"n_startup_trials": 12}, 12),
        ("optuna.samplers:BruteForceSampler", {}, 6),
    ],
)
def test_how_many_trials_are_enough_to_learn_from(name, options, enough):
    assert samplers.enough_trials(name, options) == enough


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PydanticCustomError) as caught:
        samplers.check("cmaes", {}, SPACE, 1, {})
    line = 'sampler.name: cmaes needs the package cmaes, which is not installed; got "cmaes". Run: pip install '
    assert format_error(caught.value, "sampler") == line + "'tumorcls[cmaes]'"


def test_the_grid_is_shuffled_by_the_seed_and_complete():
    space = {"n": IntDistribution(1, 4), "c": CategoricalDistribution(["a", "b"])}
    points = samplers.grid(space, {}, 0)
    assert points == samplers.grid(space, {}, 0) != samplers.grid(space, {}, 1)
    assert len({(point["n"], point["c"]) for point in points}) == 8


def test_a_deprecated_option_is_refused():
    with pytest.raises(PydanticCustomError, match="tpe does not accept these options"):
        samplers.check("tpe", {"prior_weight": 2.0}, SPACE, 1, {})
