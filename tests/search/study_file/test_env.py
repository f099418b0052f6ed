import pytest

from search.errors import StudyFileError
from search.study_file.env import expand


def test_variables_are_expanded_in_nested_values():
    settings = {"data": ["${A}/x", {"deep": "${B:-b}"}], "n": 3, "plain": "$A {A}"}
    assert expand(settings, {"A": "a"}, "objective") == {"data": ["a/x", {"deep": "b"}], "n": 3, "plain": "$A {A}"}


@pytest.mark.parametrize(("environ", "expected"), [({}, "d"), ({"A": ""}, "d"), ({"A": "a"}, "a")])
def test_a_default_stands_in_for_unset_and_empty(environ, expected):
    assert expand({"key": "${A:-d}"}, environ, "objective") == {"key": expected}


def test_an_unset_variable_is_named():
    with pytest.raises(
        StudyFileError, match=r"^x.toml: objective.data\[0\]: the environment variable A must be set; got \"\$\{A\}\""
    ):
        expand({"data": ["${A}"]}, {}, "x.toml: objective")
