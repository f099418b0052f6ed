import pytest

from search.errors import StudyFileError
from search.study_file.env import AsWritten, expand, variable_errors


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


@pytest.mark.parametrize(
    ("secret", "said", "shown"),
    [
        ("/home/me/mri", "no /home/me/mri/a", "no ${V}/a"),
        ("pass word/1", "mysql://u:pass%20word/1@h", "mysql://u:${V}@h"),
        ("pass word/1", "mysql://u:pass%20word%2F1@h", "mysql://u:${V}@h"),
        ("bell\ainside", "KeyError: 'bell\\x07inside'", "KeyError: '${V}'"),  # as repr has it
        ("naïve word", r'{"key": "na\u00efve word"}', '{"key": "${V}"}'),  # and JSON
        ("first line\nlast line", "got 'last line'", "got '${V}'"),
        ("two\n  lines", "got two lines", "got ${V}"),  # in a message of one line
        ("mysql://u:hunter22@h/x", "password hunter22", "password ${V}"),
        ("mysql://u:se@cret99@h/x", "password se@cret99", "password ${V}"),
        ("12345678", "no 12345678", "no ${V}"),
        ("1234", "epoch 1234", "epoch 1234"),  # what is short and common hides nothing, and would be hidden everywhere
        ("abc", "abc", "abc"),
        ("word", "a word, a sword and words", "a ${V}, a sword and words"),
        ("longsecret", "mylongsecrets", "my${V}s"),
    ],
)
def test_a_secret_is_hidden_in_each_form_that_it_may_be_said_in(secret, said, shown):
    as_written = AsWritten.of({"key": "${V}"}, {"V": secret}, "objective")
    assert as_written.text(said) == shown


def test_of_several_secrets_the_longest_is_hidden_first_and_of_equal_ones_the_first_is_named():
    variables = {"A": "longsecret", "B": "longsecret-and-more", "C": "longsecret"}
    as_written = AsWritten.of({name: f"${{{name}}}" for name in reversed(variables)}, variables, "objective")
    assert as_written.text("longsecret-and-more, longsecret") == "${B}, ${A}"


WRITTEN = {"data": "${V}/a", "sizes": ["${V}", "plain"], "deep": {"data": "${V}/b"}, "optimizer": "${O:-sgd}", "epochs": 3}


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        (
            {"data": "/home/me/mri/a", "sizes": ["/home/me/mri", "plain"], "deep": {"data": "/home/me/mri/b"}, "epochs": 3},
            {key: value for key, value in WRITTEN.items() if key != "optimizer"},
        ),
        ({"optimizer": "sgd"}, {"optimizer": "${O:-sgd}"}),
        ({"optimizer": ["sgd"]}, {"optimizer": ["${O:-sgd}"]}),  # each of several models has one
        ({"optimizer": "adam", "data": "/elsewhere"}, {"optimizer": "adam", "data": "/elsewhere"}),
        ({"sizes": ["one", "two", "/home/me/mri"]}, {"sizes": ["one", "two", "${V}"]}),
        ({"files": {"/home/me/mri/c": ("/home/me/mri",)}}, {"files": {"${V}/c": ["${V}"]}}),
        ("in /home/me/mri", "in ${V}"),
        ({"x": "/home/me/mri"}, {"x": "/home/me/mri"}),  # it was drawn
        ({"y": "/home/me/mri"}, {"y": "${V}"}),  # another value of that name was
    ],
)
def test_what_an_objective_keeps_is_what_the_study_file_says(kept, shown):
    as_written = AsWritten.of(WRITTEN, {"V": "/home/me/mri"}, "objective")
    assert as_written.value(kept, {"x": "/home/me/mri", "y": "other"}) == shown


def test_what_was_drawn_is_no_setting_of_the_file_whatever_it_equals():
    as_written = AsWritten.of({"optimizer": "${O:-sgd}"}, {}, "objective")
    assert as_written.value({"optimizer": "sgd"}, {"optimizer": "sgd"}) == {"optimizer": "sgd"}


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("${TUMORCLS_DATA}", []),
        ("${NAMED:-x}", []),
        ("${HOME}", ["a variable must begin with TUMORCLS_, or be named in study.environment"]),
        ("${NAMED:-${TUMORCLS_DATA}}", ["a default must be plain text"]),
    ],
)
def test_a_file_reads_the_variables_that_it_may(text, rules):
    found = [str(error) for error in variable_errors({"data": ["plain", {"deep": text}]}, ["NAMED"])]
    assert [error.partition(";")[0] for error in found] == rules
