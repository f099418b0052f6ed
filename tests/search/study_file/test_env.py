import pytest

from search.errors import StudyFileError
from search.study_file.env import AsWritten, expand


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


@pytest.mark.parametrize(
    ("name", "content", "kept"),
    [
        ("config.json", b'{"data": "/home/me/mri/a"}', b'{"data": "${TUMORCLS_DATA}/a"}'),
        ("NOTES.TXT", b"/home/me/mri", b"${TUMORCLS_DATA}"),
        ("picture.png", b"\x89PNG /home/me/mri", b"\x89PNG /home/me/mri"),
        ("latin.txt", b"\xff /home/me/mri", b"\xff /home/me/mri"),
    ],
)
def test_a_file_of_a_trial_says_what_the_study_file_says(name, content, kept):
    as_written = AsWritten.of({"data": "${TUMORCLS_DATA}/a"}, {"TUMORCLS_DATA": "/home/me/mri"}, "objective")
    assert as_written.file(name, content) == kept
