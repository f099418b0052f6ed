import json
from datetime import timedelta

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from search.errors import StudyError
from search.keras_tuner.importing import Imported, import_project
from search.keras_tuner.objective import Objective
from search.keras_tuner.project import read_project
from search.records.attributes import FAILURE_KEY, IMPORTED_KEY, METRICS_KEY, RETRY_KEY, STATUS_KEY
from tests.search.keras_tuner.projects import START, X, metric, parameter, trial

LOSS = Objective("val_loss", "min")
SPACE = [
    X,
    parameter("Choice", "model", values=["cnn", "mlp"]),
    parameter("Int", "units", [("model", ["cnn"])], min_value=8, max_value=32, step=8, sampling="linear"),
    parameter("Int", "units", [("model", ["mlp"])], min_value=64, max_value=128, step=64, sampling="linear"),
    parameter("Fixed", "optimizer", value="adam"),
]


@pytest.fixture
def study():
    return optuna.create_study(storage="sqlite:///demo.db", study_name="demo")


def load(folder, study, *objectives):
    return import_project(read_project(folder), study, objectives or [LOSS])


def test_a_complete_trial(write_project, study):
    history = {"val_loss": metric("min", 0.5, 0.2), "loss": metric("min", 0.4, 0.1)}
    done = trial({"x": 0.5, "model": "mlp", "units": 64, "optimizer": "adam"}, 0.2, history, best_step=1)
    load(write_project(done, space=SPACE), study)
    (found,) = study.trials
    assert (found.state, found.value, found.intermediate_values) == (TrialState.COMPLETE, 0.2, {0: 0.5, 1: 0.2})
    assert found.params == {"x": 0.5, "model": "mlp", "units": 64, "optimizer": "adam"}
    assert found.distributions["x"] == FloatDistribution(-1, 1)
    assert found.distributions["optimizer"] == CategoricalDistribution(["adam"])
    assert (found.datetime_start, found.duration) == (START, timedelta(seconds=30))
    assert found.user_attrs == {
        IMPORTED_KEY: "00",
        STATUS_KEY: "COMPLETED",
        METRICS_KEY: {"val_loss": 0.2, "loss": 0.1},
    }


def test_only_active_parameters(write_project, study):
    one = trial({"x": 0.5, "model": "cnn", "units": 8}, 0.2)
    two = trial({"x": 0.1, "model": "mlp", "units": 128}, 0.1)
    left_over = trial({"x": 0.1, "model": None, "units": 128}, 0.3)
    load(write_project(one, two, left_over, space=SPACE), study)
    assert [found.params.get("units") for found in study.trials] == [8, 128, None]


def test_what_is_not_in_the_space_is_no_parameter(write_project, study):
    load(write_project(trial({"x": 0.5, "tuner/epochs": 2, "tuner/trial_id": "07"}, 0.2)), study)
    (found,) = study.trials
    assert found.params == {"x": 0.5}
    assert (found.user_attrs["tuner/epochs"], found.user_attrs["tuner/trial_id"]) == (2, "07")


@pytest.mark.parametrize(
    ("status", "state"),
    [("FAILED", "FAIL"), ("INVALID", "FAIL"), ("RUNNING", "RUNNING"), ("IDLE", "RUNNING"), ("STOPPED", "PRUNED")],
)
def test_states(write_project, study, status, state):
    broken = trial({"x": 0.5}, status=status, message="Traceback:\n  here\nValueError: too\tlarge\n")
    load(write_project(trial({"x": 0.1}, 0.1), broken), study)
    found = study.trials[1]
    assert found.state.name == state
    assert found.user_attrs[FAILURE_KEY] == "ValueError: too large"
    assert found.user_attrs[STATUS_KEY] == status


def test_a_trial_without_its_value_failed(write_project, study):
    load(write_project(trial({"x": 0.1}, 0.1), trial({"x": 0.2}, 0.1, {"loss": metric("min", float("nan"))})), study)
    assert study.trials[1].state is TrialState.FAIL
    assert study.trials[1].user_attrs[FAILURE_KEY] == "no value of val_loss"


def test_several_objectives(write_project):
    history = {"val_loss": metric("min", 0.5), "accuracy": metric("max", 0.9), "multi_objective": metric("min", -0.4)}
    study = optuna.create_study(directions=["minimize", "maximize"])
    load(write_project(trial({"x": 0.1}, -0.4, history)), study, LOSS, Objective("accuracy", "max"))
    assert study.trials[0].values == [0.5, 0.9]
    assert study.trials[0].intermediate_values == {}


def test_again_adds_nothing(write_project, study):
    folder = write_project(trial({"x": 0.1}, 0.1), trial({"x": 0.2}, status="FAILED"))
    assert load(folder, study) == Imported({TrialState.COMPLETE: 1, TrialState.FAIL: 1}, 0, 0)
    before = study.trials
    assert load(folder, study) == Imported({}, 0, 2)
    assert study.trials == before


def test_again_adds_what_is_new(write_project, study):
    load(write_project(trial({"x": 0.1}, 0.1), trial({"x": 0.2, "tuner/epochs": 2}, status="RUNNING")), study)
    space = [X, parameter("Boolean", "late")]
    second, third = trial({"x": 0.2, "late": True}, 0.04), trial({"x": 0.3}, 0.09)
    later = write_project(trial({"x": 0.1}, 0.1), second, third, space=space)
    assert load(later, study) == Imported({TrialState.COMPLETE: 1}, 1, 1)
    assert [(found.state.name, found.value) for found in study.trials] == [("COMPLETE", value) for value in (0.1, 0.04, 0.09)]
    assert study.trials[1].params == {"x": 0.2, "late": True}
    assert study.trials[1].user_attrs[STATUS_KEY] == "COMPLETED"


@pytest.mark.parametrize("status", ["INVALID", "RUNNING"])
def test_what_was_tried_again_under_one_id_is_a_retry(write_project, study, status):
    load(write_project(trial({"x": 0.1}, 0.1), trial({"x": 0.2}, status=status)), study)
    if status == "RUNNING":  # a launch in between has given it up
        study.tell(1, state=TrialState.FAIL)
    later = write_project(trial({"x": 0.1}, 0.1), trial({"x": 0.2}, 0.04))
    assert load(later, study) == Imported({TrialState.COMPLETE: 1}, 0, 1)
    assert study.trials[2].user_attrs[RETRY_KEY] == 1
    assert load(later, study) == Imported({}, 0, 2)


def test_another_project_is_refused(write_project, study):
    load(write_project(trial({"x": 0.1}, 0.1)), study)
    with pytest.raises(StudyError, match=r"must hold trials of this project; got another trial_00 as its trial 0\. Add"):
        load(write_project(trial({"x": 0.3}, 0.1), name="other"), study)
    assert len(study.trials) == 1


def test_another_project_whose_trials_have_other_ids_is_refused(write_project, study):
    """KerasTuner gives ids as many digits as `max_trials` has, and every project the same name."""
    load(write_project(trial({"x": 0.1}, 0.1), trial({"x": 0.2}, 0.2), name="mnist/untitled_project"), study)
    other = write_project(trial({"x": 0.1}, 0.01), name="cifar/untitled_project", digits=3)
    with pytest.raises(StudyError) as caught:
        load(other, study)
    assert str(caught.value) == (
        'cifar/untitled_project: study "demo" must hold trials of this project; got trial_00 of another one as its trial 0. '
        "Add --study with another name."
    )
    assert len(study.trials) == 2


@pytest.mark.parametrize("status", ["RUNNING", "INVALID"])
def test_a_trial_that_had_not_ended_is_not_ended_by_that_of_another_project(write_project, study, status):
    load(write_project(trial({"x": 0.1}, status=status)), study)
    with pytest.raises(StudyError, match=r"got another trial_00 as its trial 0\."):
        load(write_project(trial({"x": 0.3}, 0.1), name="other"), study)
    assert [(found.params, found.value) for found in study.trials] == [({"x": 0.1}, None)]


def test_another_project_is_refused_before_anything_is_added(write_project, study):
    load(write_project(trial({"x": 0.1}, 0.1)), study)
    other = write_project(trial({"x": 0.3}, 0.1), trial({"x": 0.4}, 0.1), name="other", start_order=["01", "00"])
    with pytest.raises(StudyError, match=r"got another trial_00 as its trial 0\."):
        load(other, study)
    assert len(study.trials) == 1


def test_a_study_of_which_no_trial_was_imported_is_refused(write_project, study):
    study.optimize(lambda trial: trial.suggest_float("x", -1, 1), n_trials=2)
    with pytest.raises(StudyError, match=r"must hold trials of this project; got 2 trials of which none was imported\. Add"):
        load(write_project(trial({"x": 0.1}, 0.1)), study)
    assert len(study.trials) == 2


def test_a_project_that_has_grown_moved_and_lost_a_file_goes_on_in_a_study_that_was_launched(write_project, study):
    one, two, three = trial({"x": 0.1}, 0.1), trial({"x": 0.2}, 0.2), trial({"x": 0.3}, 0.3)
    load(write_project(one, two), study)
    study.optimize(lambda trial: trial.suggest_float("x", -1, 1), n_trials=1)
    folder = write_project(one, two, three, name="elsewhere/project")
    (folder / "trial_01/trial.json").write_text("{")
    assert load(folder, study) == Imported({TrialState.COMPLETE: 1}, 0, 1)
    assert [found.user_attrs.get(IMPORTED_KEY) for found in study.trials] == ["00", "01", None, "02"]


def test_another_space_is_refused(write_project, study):
    load(write_project(trial({"x": 0.1}, 0.1)), study)
    study.add_trial(optuna.create_trial(value=1.0, params={"y": "a"}, distributions={"y": CategoricalDistribution(["a"])}))
    space = [X, parameter("Boolean", "y")]
    with pytest.raises(StudyError, match='study "demo" must have the same space; got: '):
        load(write_project(trial({"x": 0.1}, 0.1), trial({"x": 0.1, "y": True}, 0.1), space=space), study)


def test_another_space_of_a_trial_that_has_ended_since_is_refused(write_project, study):
    first = [X, parameter("Choice", "kind", values=["a", "b"])]
    load(write_project(trial({"x": 0.1, "kind": "a"}, 0.1), trial({"x": 0.2}, status="RUNNING"), space=first), study)
    space = [X, parameter("Choice", "kind", values=["a", "c"])]
    later = write_project(trial({"x": 0.1, "kind": "a"}, 0.1), trial({"x": 0.2, "kind": "c"}, 0.2), space=space)
    with pytest.raises(StudyError, match=r'study "demo" must have the same space; got: .*[^.]\. Add --study'):
        load(later, study)
    assert study.trials[1].state is TrialState.RUNNING


def test_infinity_and_nan_of_other_metrics_are_left_out(write_project, study):
    history = {"val_loss": metric("min", 0.1), "loss": metric("min", float("nan"))}
    folder = write_project(trial({"x": 0.1}, 0.1, history))
    assert "NaN" in (folder / "trial_00/trial.json").read_text()
    load(folder, study)
    assert json.loads(json.dumps(study.trials[0].user_attrs[METRICS_KEY])) == {"val_loss": 0.1}
