"""How much a study file may ask for, to the last one. What asks for far too much: faults/test_study_files.py."""

import math

import pytest
from pydantic_core import PydanticCustomError

from search.study_file.limits import MAX_FILE_BYTES, Unreadable, check_name, check_scalar, check_size, read_toml

TOO_DEEP = "arrays and tables may be nested 20 deep"


@pytest.fixture
def read(tmp_path):
    """Reads a file with this content."""

    def read(content):
        path = tmp_path / "any.toml"
        path.write_text(content, encoding="utf-8")
        return read_toml(path)[1]

    return read


@pytest.mark.parametrize("name", ["x", "x" * 200, "learning rate", "naïve/ß"])
def test_a_name(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 201, " x", "x ", "x\ny", "x\x1b[0m"])
def test_what_is_no_name(name):
    with pytest.raises(PydanticCustomError, match="a name must have"):
        check_name(name)


@pytest.mark.parametrize("number", [0.0, 1e-300, -1e-300, 1e300, -1e300])
def test_a_number_of_the_space(number):
    assert check_size(number) == number


@pytest.mark.parametrize("number", [9e-301, -9e-301, 1.1e300, -1.1e300, 5e-324])
def test_a_number_with_which_arithmetic_fails(number):
    with pytest.raises(PydanticCustomError, match="must be 0, or lie between 1e-300 and 1e\\+300"):
        check_size(number)


@pytest.mark.parametrize("value", [True, 1, 1.5, "", "x" * 1000])
def test_a_choice(value):
    assert check_scalar(value) is value


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ([1], "a number, a string or a boolean"),
        (None, "a number, a string or a boolean"),
        (math.inf, "a finite number"),
        (math.nan, "a finite number"),
        ("x" * 1001, "at most 1000 characters"),
    ],
)
def test_what_is_no_choice(value, rule):
    with pytest.raises(PydanticCustomError, match=rule):
        check_scalar(value)


@pytest.mark.parametrize(
    ("content", "tables"),
    [
        ("", {}),
        (f"x = [{2**63 - 1}, {-(2**63)}]", {"x": [2**63 - 1, -(2**63)]}),
        (f'x = "{"#" * (MAX_FILE_BYTES - 6)}"', {"x": "#" * (MAX_FILE_BYTES - 6)}),
    ],
    ids=["empty", "integers", "largest"],
)
def test_a_file_within_the_bounds(read, content, tables):
    assert read(content) == tables


def test_so_deep_may_tables_and_arrays_be(read):
    for content in (f"x = {'[' * 20}{']' * 20}", ".".join("x" * 20) + " = 1"):
        assert read(content).keys() == {"x"}


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (f"x = {'[' * 21}{']' * 21}", f"{TOO_DEEP}; got deeper ones"),
        (f"x = {'[' * 9999}{']' * 9999}", f"{TOO_DEEP}; got deeper ones"),
        (".".join("x" * 21) + " = 1", f"{TOO_DEEP}; got a key of more than 20 parts"),
        ("[" + " . ".join(['"a b"'] * 21) + "]", f"{TOO_DEEP}; got a key of more than 20 parts"),
        (f"x = {2**63}", "a whole number must fit in 64 bits, as TOML has it; got one of 19 digits"),
        (f"[x]\ny = [{-(2**63) - 1}]", "a whole number must fit in 64 bits, as TOML has it; got one of 19 digits"),
        ("#" * (MAX_FILE_BYTES + 1), "must have at most 256 KiB; got more"),
        ("x = ", "must be TOML in UTF-8; got: Invalid value"),
    ],
)
def test_a_file_beyond_the_bounds(read, content, rule):
    with pytest.raises(Unreadable) as caught:
        read(content)
    assert str(caught.value).startswith(rule)
    assert "\n" not in str(caught.value)
