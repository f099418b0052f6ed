import subprocess
import sys

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.driver.initial_design import initial_design
from search.study_file.conditions import Condition
from search.study_file.distributions import check_value

SPACE = {
    "epochs": IntDistribution(2, 16, step=2),
    "rate": FloatDistribution(1e-4, 1e-2, log=True),
    "smoothing": FloatDistribution(0.0, 0.3, step=0.1),
    "batch_size": CategoricalDistribution([64, 16, 32]),
    "optimizer": CategoricalDistribution(["adam", "sgd", "lion"]),
    "momentum": FloatDistribution(0.5, 0.9),
}
CONDITIONS = {"momentum": Condition("optimizer", ("sgd",))}


def test_the_middle_comes_first_cut_short_then_whole():
    short, whole, *_ = initial_design(SPACE, CONDITIONS, 6, seed=0)
    rate = pytest.approx(1e-3)  # of a logarithmic range the geometric mean
    assert whole == {"epochs": 10, "rate": rate, "smoothing": 0.2, "batch_size": 32, "optimizer": "adam"}
    assert short == {**whole, "epochs": 2}


def test_what_cannot_be_shortened_has_one_middle():
    words = CategoricalDistribution(["few", "many"])
    for epochs in ({}, {"epochs": IntDistribution(8, 8)}, {"epochs": words}):
        first, second = initial_design({"x": FloatDistribution(0.0, 1.0), **epochs}, {}, 2, seed=0)
        assert first["x"] == 0.5 != second["x"]


def test_the_fewest_epochs_are_the_fewest_in_whatever_order_they_are_written():
    short, whole = initial_design({"epochs": CategoricalDistribution([20, 5, 10])}, {}, 2, seed=0)
    assert (short, whole) == ({"epochs": 5}, {"epochs": 10})


def test_a_trial_that_has_no_epochs_has_one_middle():
    space = {"mode": CategoricalDistribution(["fast", "long"]), "epochs": IntDistribution(1, 9)}
    points = list(initial_design(space, {"epochs": Condition("mode", ("long",))}, 8, seed=0))
    assert points[0] == {"mode": "fast"} == min(points, key=lambda point: point.get("epochs", 0))
    assert {"mode": "fast", "epochs": 1} not in points


def test_the_rest_is_short_first_and_within_the_space():
    for seed in range(50):
        points = list(initial_design(SPACE, {}, 10, seed))
        lengths = [point["epochs"] for point in points[2:]]
        assert lengths == sorted(lengths)
        assert [check_value(name, value, SPACE) for point in points for name, value in point.items()] == [None] * 60


def test_the_rest_is_even_where_random_points_are_not():
    for seed in range(20):
        points = list(initial_design({"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)}, {}, 1 + 8, seed))
        for name in ("x", "y"):
            assert len({int(8 * point[name]) for point in points[1:]}) >= 7, "at most one eighth is missed"


def test_the_seed_fixes_the_rest_and_moves_no_middle():
    zero, again, one = (list(initial_design(SPACE, {}, 6, seed)) for seed in (0, 0, 1))
    assert zero == again
    assert zero[:2] == one[:2]
    assert zero[2:] != one[2:]


def test_as_many_as_asked_for():
    assert [len(list(initial_design(SPACE, {}, count, seed=0))) for count in (0, 1, 2, 3, 9)] == [0, 1, 2, 3, 9]


def test_a_point_has_only_what_its_conditions_allow():
    points = list(initial_design(SPACE, CONDITIONS, 30, seed=0))
    assert {point["optimizer"] for point in points} == {"adam", "sgd", "lion"}
    assert all(("momentum" in point) == (point["optimizer"] == "sgd") for point in points)


def test_the_middle_waits_for_no_import():
    program = (
        "import sys\n"
        "from optuna.distributions import IntDistribution\n"
        "from search.driver.initial_design import initial_design\n"
        "points = initial_design({'epochs': IntDistribution(2, 16)}, {}, 6, seed=0)\n"
        "assert [next(points), next(points)] == [{'epochs': 2}, {'epochs': 9}]\n"
        "assert 'scipy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
