import tomllib

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import TypeAdapter

from search.study_file.conditions import Condition
from search.study_file.distributions import (
    check_value,
    continuous,
    describe_distribution,
    describe_space,
    fraction_of,
    listed,
    value_at,
    values_of,
    write_space,
)
from search.study_file.space import Param


def test_values_of():
    assert list(values_of(IntDistribution(1, 5, step=2))) == [1, 3, 5]
    assert list(values_of(CategoricalDistribution(["b", "a"]))) == ["b", "a"]
    assert list(values_of(FloatDistribution(0, 0.3, step=0.1))) == pytest.approx([0, 0.1, 0.2, 0.3])


def test_a_step_that_floats_cannot_add_up_stays_in_the_range():
    tenths = FloatDistribution(0, 0.3, step=0.1)
    assert 3 * 0.1 > 0.3
    assert list(values_of(tenths))[-1] == value_at(tenths, 0.99) == 0.3


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (IntDistribution(1, 4), [1, 2, 3, 4]),
        (IntDistribution(2, 8, step=3), [2, 5, 8]),
        (FloatDistribution(0, 1, step=0.5), [0, 0.5, 1]),
        (CategoricalDistribution(["b", "a"]), ["b", "a"]),
    ],
)
def test_equal_shares_belong_to_equally_many_values(distribution, values):
    parts = 12 * len(values)
    drawn = [value_at(distribution, (at + 0.5) / parts) for at in range(parts)]
    assert drawn == [value for value in values for _ in range(12)]


def test_a_value_is_listed_as_the_space_has_it():
    """By whole steps, of which seven of a tenth are not quite 0.7."""
    tenths = FloatDistribution(0, 1, step=0.1)
    assert [listed(at / 10, tenths) for at in range(11)] == list(values_of(tenths))
    assert listed(0.7, FloatDistribution(0, 1)) == 0.7


@pytest.mark.parametrize(
    "distribution",
    [
        IntDistribution(2, 8, step=3),
        FloatDistribution(0, 1, step=0.1),
        CategoricalDistribution(["b", "a", 3]),
        IntDistribution(1, 63, log=True),
    ],
    ids=repr,
)
def test_a_value_lies_in_its_own_share_of_the_range(distribution):
    values = list(values_of(distribution))
    places = fraction_of(distribution, np.array([distribution.to_internal_repr(value) for value in values]))
    assert [value_at(distribution, place) for place in places] == values
    assert 0 < places[0] < places[-1] < 1
    assert value_at(distribution, 0.0) == values[0]
    assert value_at(distribution, np.nextafter(1.0, 0.0)) == values[-1]
    if not getattr(distribution, "log", False):
        assert places == pytest.approx((np.arange(len(values)) + 0.5) / len(values)), "in the middle of it"


def test_where_a_number_lies_in_its_range():
    assert list(fraction_of(FloatDistribution(1, 3), np.array([1, 1.5, 3]))) == [0, 0.25, 1]
    assert list(fraction_of(FloatDistribution(1e-4, 1.0, log=True), np.array([1e-4, 1e-2, 1]))) == pytest.approx([0, 0.5, 1])
    assert list(fraction_of(FloatDistribution(-1.7e308, 1.7e308), np.array([-1.7e308, 0, 1.7e308]))) == [0, 0.5, 1]
    for one in (FloatDistribution(2, 2), IntDistribution(2, 2), FloatDistribution(2, 2, log=True)):
        assert list(fraction_of(one, np.array([2, 2]))) == [0.5, 0.5]


def test_a_number_that_is_drawn_lies_within_its_range():
    for low in (1e-5, 1e-4, 1e-3, 1e-2, 2e-4, 3e-4, 5e-4, 0.3, 0.7):
        for high in (1.0, 3.0, 5.0, 10.0, 100.0):
            distribution = FloatDistribution(low, high, log=True)
            ends = value_at(distribution, 0.0), value_at(distribution, np.nextafter(1.0, 0.0))
            assert low <= ends[0] <= ends[1] <= high


def test_value_at_keeps_to_the_scale():
    assert value_at(FloatDistribution(1, 3), 0.25) == 1.5
    assert value_at(FloatDistribution(1e-4, 1.0, log=True), 0.5) == pytest.approx(1e-2)
    whole = [value_at(IntDistribution(1, 64, log=True), (at + 0.5) / 1000) for at in range(1000)]
    assert (whole[0], whole[-1]) == (1, 64)
    assert 400 < sum(value <= 6 for value in whole) < 600, "half of a logarithmic range lies below the root of its ends"


def test_continuous():
    assert continuous({"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1, step=0.5), "c": IntDistribution(0, 1)}) == [
        "a"
    ]


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (4, None),
        (20, None),
        (3, "must lie in [4, 20]"),
        (6, "must be 4 plus"),
        (4.0, "must be a whole number"),
        (True, "must be a whole"),
    ],
)
def test_check_value_of_an_int(value, rule):
    found = check_value("n", value, {"n": IntDistribution(4, 20, step=4)})
    assert (found is None) if rule is None else found[0].startswith(rule)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (0, None),
        (0.3, None),
        (3 * 0.1, "must lie in"),
        (0.7 - 0.4, None),
        (0.1005, "must be 0.0 plus a multiple"),
        (True, "must be"),
    ],
)
def test_check_value_of_a_float_with_a_step(value, rule):
    found = check_value("x", value, {"x": FloatDistribution(0, 0.3, step=0.1)})
    assert (found is None) if rule is None else found[0].startswith(rule)


def test_check_value_of_choices_tells_true_from_one():
    space = {"c": CategoricalDistribution([1, "a"])}
    assert check_value("c", 1, space) is None
    assert check_value("c", True, space)[0] == 'must be one of [1, "a"]'


def test_describe_distribution_reads_like_the_file():
    assert describe_distribution(FloatDistribution(1e-4, 1e-2, log=True)) == {
        "type": "float",
        "low": 1e-4,
        "high": 1e-2,
        "log": True,
    }
    assert describe_distribution(IntDistribution(1, 64, log=True)) == {"type": "int", "low": 1, "high": 64, "log": True}
    assert describe_distribution(IntDistribution(4, 20, step=4)) == {"type": "int", "low": 4, "high": 20, "step": 4}
    assert describe_distribution(CategoricalDistribution([1, "a"])) == {"type": "categorical", "choices": [1, "a"]}


def test_a_condition_is_described_with_its_parameter():
    space = {"kind": CategoricalDistribution(["a", "b"]), "x": IntDistribution(1, 2)}
    assert describe_space(space, {"x": Condition("kind", ("a",))})["x"]["when"] == {"param": "kind", "in": ["a"]}
    assert "when" not in describe_space(space, {})["x"]


def test_a_space_is_written_as_it_is_read(folder):
    space = {
        "x": FloatDistribution(1e-5, 1.0, log=True),
        "cnn/units": IntDistribution(8, 32, step=8),
        "a b": CategoricalDistribution(["ß", 'quo"te', "\x7f", True, 1.5, 3]),
    }
    conditions = {"x": Condition("a b", ('quo"te', True)), "a b": Condition("cnn/units", (16,))}
    tables = tomllib.loads(write_space(space, conditions))["space"]
    assert {name: TypeAdapter(Param).validate_python(table).distribution() for name, table in tables.items()} == space
    written = {name: TypeAdapter(Param).validate_python(table).when for name, table in tables.items()}
    assert {name: when.condition() for name, when in written.items() if when is not None} == conditions
