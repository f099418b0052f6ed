import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import TypeAdapter

from search.keras_tuner.space import HyperParameter, conditions_of, space_of
from search.study_file.conditions import Condition
from search.study_file.space import parents_first
from tests.search.keras_tuner.projects import parameter


def declared(*parameters):
    return [TypeAdapter(HyperParameter).validate_python(each) for each in parameters]


def ranged(kind, low, high, step=None, sampling="linear"):
    return parameter(kind, "x", min_value=low, max_value=high, step=step, sampling=sampling)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (ranged("Int", 1, 5, 1), IntDistribution(1, 5)),
        (ranged("Int", 6, 13, 3), IntDistribution(6, 12, step=3)),
        (ranged("Int", 1, 64, sampling="log"), IntDistribution(1, 64, log=True)),
        (ranged("Int", 2, 32, 2, "log"), CategoricalDistribution([2, 4, 8, 16, 32])),
        (ranged("Int", 2, 32, 2, "reverse_log"), CategoricalDistribution([32, 30, 26, 18, 2])),
        (ranged("Float", 0, 1), FloatDistribution(0, 1)),
        (ranged("Float", 0.0, 1.0, 0.1), FloatDistribution(0, 1, step=0.1)),
        (ranged("Float", 0.0, 1.0, 0.3), FloatDistribution(0, 0.9, step=0.3)),
        (ranged("Float", 1e-4, 1e-1, sampling="log"), FloatDistribution(1e-4, 1e-1, log=True)),
        (ranged("Float", 1.0, 100.0, 10, "log"), CategoricalDistribution([1.0, 10.0, 100.0])),
        (ranged("Float", 1.0, 9.0, sampling="reverse_log"), FloatDistribution(1, 9)),
        (ranged("Int", 3, 3, 1, None), IntDistribution(3, 3)),
        (parameter("Boolean", "x"), CategoricalDistribution([False, True])),
        (parameter("Fixed", "x", value="sgd"), CategoricalDistribution(["sgd"])),
        (parameter("Choice", "x", values=[0.5, 0.1]), CategoricalDistribution([0.5, 0.1])),
        (parameter("Choice", "x", values=["a", "b", "a"]), CategoricalDistribution(["a", "b"])),
    ],
)
def test_a_declaration_is_one_distribution(given, expected):
    assert space_of(declared(given), {}) == {"x": expected}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (ranged("Int", 1, 4, 1), ranged("Int", 8, 16, 4), IntDistribution(1, 16)),
        (ranged("Int", 1, 4, 1), ranged("Float", 0.5, 2.0), FloatDistribution(0.5, 4)),
        (ranged("Float", 1, 4, None, "log"), ranged("Float", 2, 8, None, "log"), FloatDistribution(1, 8, log=True)),
        (ranged("Float", 1, 4, None, "log"), ranged("Float", 0, 8), FloatDistribution(0, 8)),
        (parameter("Choice", "x", values=[1, 2]), parameter("Choice", "x", values=[2, 3]), CategoricalDistribution([1, 2, 3])),
        (parameter("Choice", "x", values=["a"]), ranged("Int", 1, 9, 1), CategoricalDistribution(["a"])),
    ],
)
def test_one_name_declared_twice_holds_both(first, second, expected):
    assert space_of(declared(first, second), {}) == {"x": expected}


@pytest.mark.parametrize(
    ("given", "seen", "expected"),
    [
        (ranged("Float", 0.0, 1.0, 0.25), [0.5], FloatDistribution(0, 1, step=0.25)),
        (ranged("Float", 0.0, 1.0, 0.25), [0.3], FloatDistribution(0, 1)),
        (ranged("Int", 2, 8, 2), [12], IntDistribution(2, 12)),
        (ranged("Float", 1e-3, 1.0, sampling="log"), [0.0], FloatDistribution(0, 1)),
        (parameter("Choice", "x", values=["a"]), ["b"], CategoricalDistribution(["a", "b"])),
    ],
)
def test_values_that_trials_have_had_are_in_the_space(given, seen, expected):
    """KerasTuner checks neither a default nor what is set by hand."""
    assert space_of(declared(given), {"x": seen}) == {"x": expected}


def test_a_scope_that_a_study_file_can_tell_is_a_condition():
    """Of a name that has several, or none that one `when` tells, a trial has the parameter in any case."""
    cnn, mlp, deep = ("kind", ["cnn"]), ("kind", ["mlp"]), ("deep", [True])
    given = declared(
        parameter("Choice", "kind", values=["cnn", "mlp", "none"]),
        parameter("Boolean", "deep", [cnn]),
        parameter("Boolean", "flip"),
        parameter("Float", "rate", min_value=0.0, max_value=1.0),
        parameter("Fixed", "fixed", value="yes"),
        *(parameter("Boolean", "twice", [scope]) for scope in (cnn, mlp)),
        *(parameter("Boolean", "seen again", [mlp]) for _ in range(2)),
        parameter("Boolean", "several", [("kind", ["cnn", "mlp", "rnn"])]),
        parameter("Boolean", "within", [cnn, deep]),
        parameter("Boolean", "under both", [("flip", [True]), mlp]),
        parameter("Boolean", "under what is flat", [("twice", [True])]),
        parameter("Boolean", "of a float", [("rate", [0.5])]),
        parameter("Boolean", "of what is fixed", [("fixed", ["yes"])]),
        parameter("Boolean", "never", [("kind", ["rnn"])]),
        parameter("Boolean", "unseen", [mlp]),
    )
    space = space_of([each for each in given if each.name not in ("fixed", "unseen")], {})
    conditions = conditions_of(given, space)
    assert conditions == {
        "deep": Condition("kind", ("cnn",)),
        "seen again": Condition("kind", ("mlp",)),
        "several": Condition("kind", ("cnn", "mlp")),
        "within": Condition("deep", (True,)),
    }
    assert list(parents_first(space, conditions)) == list(space)
