import tomllib

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import TypeAdapter

from search.study_file.distributions import check_value, continuous, describe_distribution, value_at, values_of, write_space
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
    assert describe_distribution(IntDistribution(4, 20, step=4)) == {"type": "int", "low": 4, "high": 20, "step": 4}
    assert describe_distribution(CategoricalDistribution([1, "a"])) == {"type": "categorical", "choices": [1, "a"]}


def test_a_space_is_written_as_it_is_read(folder):
    space = {
        "x": FloatDistribution(1e-5, 1.0, log=True),
        "cnn/units": IntDistribution(8, 32, step=8),
        "a b": CategoricalDistribution(["ß", 'quo"te', True, 1.5, 3]),
    }
    tables = tomllib.loads(write_space(space))["space"]
    assert {name: TypeAdapter(Param).validate_python(table).distribution() for name, table in tables.items()} == space
