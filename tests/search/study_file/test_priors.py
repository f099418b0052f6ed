"""Priors: the density that a parameter's `prior` and `confidence` stand for, and what a study file may say."""

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.driver.ask import TrialSource
from search.driver.initial_design import initial_design
from search.errors import StudyFileError
from search.study_file.load import load
from search.study_file.priors import Prior

RATE = FloatDistribution(1e-4, 1.0, log=True)
PRIORS = [
    Prior(1e-3, "high", RATE),
    Prior(0.0, "medium", FloatDistribution(0.0, 2.0)),
    Prior(6, "low", IntDistribution(2, 16, step=2)),
    Prior(64, "high", IntDistribution(1, 64, log=True)),
    Prior("b", "medium", CategoricalDistribution(["a", "b", "c"])),
    Prior(5, "high", IntDistribution(5, 5)),
]


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: f"{prior.value}-{prior.confidence}")
def test_what_is_drawn_is_as_frequent_as_the_density_says(prior):
    drawn = np.array([prior.distribution.to_internal_repr(prior.at((at + 0.5) / 2000)) for at in range(2000)])
    weights = np.exp(-prior.log_density(drawn))  # of what is drawn with a density, the mean of 1 / density is 1
    assert np.mean(weights) == pytest.approx(1.0, abs=0.05)
    assert prior.distribution._contains(drawn[0])
    assert prior.distribution._contains(drawn[-1])


def test_the_ends_of_a_density_are_those_of_the_range():
    """Also where the parts of the density, added up, are not quite 1."""
    for count in range(2, 30):
        prior = Prior(0, "high", CategoricalDistribution(range(count)))
        assert (prior.at(0.0), prior.at(np.nextafter(1.0, 0.0))) == (0, count - 1)


def test_the_likeliest_value_is_the_prior_and_more_so_with_more_confidence():
    peaks = []
    for confidence in ("low", "medium", "high"):
        prior = Prior(1e-2, confidence, RATE)
        densities = prior.log_density(np.geomspace(1e-4, 1.0, 401))
        assert abs(int(densities.argmax()) - 200) <= 1, "on the parameter's own scale"
        peaks.append(densities.max())
    assert 0 < peaks[0] < peaks[1] < peaks[2]
    choices = CategoricalDistribution(["a", "b"])
    ratios = [np.ptp(Prior("a", confidence, choices).log_density(np.arange(2))) for confidence in ("low", "medium", "high")]
    assert ratios == pytest.approx(np.log([2, 4, 8]))


def test_nowhere_does_a_prior_speak_against_a_value_by_more_than_a_factor():
    for prior in PRIORS[:4]:
        values = np.array([prior.at(fraction) for fraction in np.linspace(0.0, 0.9999, 500)])
        assert prior.log_density(values).min() >= math.log(0.1) - 1e-9


@pytest.mark.parametrize(
    ("param", "error"),
    [
        ('type = "float", low = 0.0, high = 1.0, prior = 2', "space.x.prior: must lie in [0.0, 1.0]; got 2.0."),
        ('type = "int", low = 2, high = 8, step = 2, prior = 3', "space.x.prior: must be 2 plus a multiple of 2; got 3."),
        ('type = "int", low = 2, high = 8, prior = 2.5', "space.x.prior: must be a whole number; got 2.5."),
        ('type = "categorical", choices = ["a", "b"], prior = "c"', 'space.x.prior: must be one of ["a", "b"]; got "c".'),
        (
            'type = "float", low = 0.0, high = 1.0, confidence = "low"',
            'space.x.confidence: confidence needs a prior; got "low".',
        ),
        (
            'type = "float", low = 0.0, high = 1.0, prior = 0.5, confidence = "sure"',
            """space.x.confidence: must be 'low', 'medium' or 'high'; got "sure".""",
        ),
    ],
)
def test_a_prior_that_cannot_be_is_one_line(write, param, error):
    with pytest.raises(StudyFileError) as raised:
        load(write(space={"x": f"{{ {param} }}"}))
    assert error in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("sampler", ["random", "grid", "qmc", "nsgaii"])
def test_a_sampler_that_cannot_go_by_a_prior_is_refused(write, sampler):
    space = {"x": '{ type = "int", low = 1, high = 9, prior = 3 }'}
    with pytest.raises(StudyFileError, match=f"space.x.prior: a prior needs the sampler tpe; got {sampler}"):
        load(write(space=space, sampler={"name": f'"{sampler}"'}))


def test_a_prior_of_a_choice_is_the_choice_as_it_is_written_there(write):
    [prior] = load(write(space={"x": '{ type = "categorical", choices = [16, 32], prior = 32.0 }'})).priors.values()
    assert (prior.value, type(prior.value), prior.confidence) == (32, int, "medium")


def test_a_design_begins_with_the_prior_and_every_other_point_is_drawn_from_it():
    space = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)}
    plain, believed = (list(initial_design(space, {}, 65, 0, priors)) for priors in ({}, {"x": Prior(0.9, "high", space["x"])}))
    assert believed[0] == {"x": 0.9, "y": 0.5}
    assert [point["y"] for point in believed] == [point["y"] for point in plain]
    assert believed[2::2] == plain[2::2], "from the whole space"
    near = sum(abs(point["x"] - 0.9) < 0.15 for point in believed[1::2])
    assert near >= 0.8 * 32
    assert len({point["x"] for point in believed}) == 65


def test_an_enqueued_part_of_a_config_is_filled_up_from_the_prior(write):
    space = {name: f'{{ type = "float", low = 0.0, high = 1.0{prior} }}' for name, prior in (("x", ""), ("y", ", prior = 0.0"))}
    spec = load(write(space=space, enqueue="".join(f"[[enqueue]]\nx = 0.{at}\n" for at in range(1, 6))))
    source = TrialSource(optuna.create_study(), spec)
    assert np.mean([source.ask({}).params["y"] for _ in range(5)]) < 0.35


def best_after(write, trials, priors, seed):
    """The best value of a search after so many trials."""
    x, y = priors or ("", "")
    space = {
        "x": f'{{ type = "float", low = 1e-5, high = 1e-1, log = true{x} }}',
        "y": f'{{ type = "float", low = 0.0, high = 1.0{y} }}',
    }
    source = TrialSource(study := optuna.create_study(), load(write(study={"seed": str(seed)}, space=space)))
    for _ in range(trials):
        trial = source.ask({})
        study.tell(trial, abs(math.log10(trial.params["x"]) + 2.5) / 4 + abs(trial.params["y"] - 0.3))
    return study.best_value


GOOD, WRONG = (", prior = 2e-3", ", prior = 0.35"), (", prior = 3e-5", ", prior = 0.9")


def test_a_good_prior_speeds_up_the_beginning(write):
    without, good = (np.median([best_after(write, 8, priors, seed) for seed in range(7)]) for priors in (None, GOOD))
    assert good < 0.7 * without


def test_a_wrong_prior_is_forgotten(write):
    early, late = ([best_after(write, count, WRONG, seed) for seed in range(3)] for count in (4, 40))
    without = [best_after(write, 40, None, seed) for seed in range(3)]
    assert np.median(early) > 0.2
    assert np.median(late) < np.median(without) + 0.05
