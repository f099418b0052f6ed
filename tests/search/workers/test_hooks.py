"""What an objective says of itself is taken in the bounds that storage and screen set."""

from types import SimpleNamespace

import pytest

from search.errors import ObjectiveError
from search.workers.hooks import describe_change, take_fingerprint, take_notes, take_reports


@pytest.mark.parametrize(
    "found", [7, {"data": 7}, {7: "data"}, ["data"], {"data": "x" * 20_000}, {str(i): "x" * 100 for i in range(200)}]
)
def test_a_fingerprint_is_names_and_short_texts(found):
    class Bad:
        def fingerprint(self):
            return found

    with pytest.raises(ObjectiveError, match="must return names and short hashes") as caught:
        take_fingerprint(Bad())
    assert len(str(caught.value)) < 300


def test_a_change_is_told_by_name():
    before, now = {"data": "a", "weights": "w", "code": "1"}, {"data": "b", "weights": "w", "backend": "jax"}
    assert describe_change(object(), before, now) == (
        "data was a, and is b; code was 1, and is not there; backend was not there, and is jax"
    )


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        (("a", "b\nc"), ("a", "b c")),
        (["x" * 5000], ("x" * 1000,)),
        ("text", ()),
        (None, ()),
        (list("abcdefghijklm"), tuple("abcdefghij")),
    ],
)
def test_notes_are_a_few_short_lines(notes, said):
    assert take_notes(SimpleNamespace(notes=notes)) == said
    assert take_notes(lambda trial: 0) == ()


def test_what_an_objective_reports():
    assert take_reports(lambda trial: 0) == {}
    assert take_reports(SimpleNamespace(reports={"epoch": ["epochs"]})) == {"epoch": ("epochs",)}
    for reports in ("epochs", 3, {"epoch": "epochs"}, {"epoch": 3}, {"epoch": [3]}, {"step": ["epochs"]}):
        with pytest.raises(ObjectiveError, match="reports must name settings or parameters"):
            take_reports(SimpleNamespace(reports=reports))
