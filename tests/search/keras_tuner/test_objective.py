import pytest

from search.errors import ProjectError
from search.keras_tuner.objective import Objective, find_objective, parse_objective, values_of
from search.keras_tuner.project import read_project
from tests.search.keras_tuner.projects import metric, trial


@pytest.fixture
def trials():
    """Two trials whose score is the best val_accuracy; one that failed."""
    return [
        trial({"x": 0.0}, 0.9, {"loss": metric("min", 0.3, 0.9), "val_accuracy": metric("max", 0.9, 0.8)}),
        trial({"x": 0.5}, 0.7, {"loss": metric("min", 0.7, 0.5), "val_accuracy": metric("max", 0.6, 0.7)}, best_step=1),
        trial({"x": 1.0}, status="FAILED"),
    ]


def test_the_objective_is_the_metric_that_explains_every_score(write_project, trials):
    assert find_objective(read_project(write_project(*trials))) == Objective("val_accuracy", "max")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"a": 0.5, "b": 0.5}, "one metric must explain the scores of the trials; got a, b. Add --objective"),
        ({"a": 0.1, "b": 0.2}, "one metric must explain the scores of the trials; got none of a, b. Add --objective"),
        ({}, "one metric must explain the scores of the trials; got none of none."),
        (None, "the objective shows in COMPLETED trials only; got none. Add --objective"),
    ],
)
def test_an_objective_that_cannot_be_told(write_project, scores, message):
    metrics = {name: metric("max", value) for name, value in (scores or {}).items()}
    only = trial({"x": 0.0}, status="FAILED") if scores is None else trial({"x": 0.0}, 0.5, metrics)
    with pytest.raises(ProjectError, match=message):
        find_objective(read_project(write_project(only)))


def test_values(write_project, trials):
    first, second, failed = read_project(write_project(*trials)).trials
    loss, accuracy = Objective("loss", "min"), Objective("val_accuracy", "max")
    assert values_of(second, [loss]) == [0.5]
    assert values_of(second, [Objective("score", "max")]) == [0.7]
    # Together they are those of the best step, not each one's best.
    assert values_of(first, [loss, accuracy]) == [0.3, 0.9]
    assert values_of(second, [Objective("loss", "max"), accuracy]) == [0.5, 0.7]
    assert values_of(failed, [loss]) is None


@pytest.mark.parametrize("text", ["val_loss", "val_loss:up", ":min"])
def test_an_option_that_names_no_objective(text):
    with pytest.raises(ProjectError, match=f"--objective: must be a metric and its direction; got {text}"):
        parse_objective(text)


def test_a_metric_may_have_a_colon():
    assert parse_objective("f1:macro:max") == Objective("f1:macro", "max")
