import copy
import math
import pickle
from enum import StrEnum

import optuna
import pytest

from search.study_file.env import AsWritten
from search.workers.activity import Interrupted
from search.workers.protocol import Artifact, Constraint, Report, ReportReply, RunTrial, UserAttr
from search.workers.trial import WorkerTrial, never_asked


class Kind(StrEnum):
    A = "a"


def make(params=None, answer=None, directions=1):
    said = []

    def ask(report):
        said.append(report)
        return answer or ReportReply()

    task = RunTrial(3, params or {}, {"seed": 5}, directions)
    return WorkerTrial(task, ask, said.append), said


def test_suggest_answers_from_what_the_driver_sampled():
    trial, _ = make({"x": 0.5, "n": 8, "c": "b", "whole": 2})
    assert trial.suggest_float("x", 0.0, 1.0, log=False) == 0.5
    assert trial.suggest_float("whole", 0, 4) == 2.0
    assert trial.suggest_int("n", 4, 20, step=4) == trial.suggest_int("n", 8, 8) == 8
    assert trial.suggest_float("x", 0.0, 0.5) == trial.suggest_float("x", 0.5, 1.0) == 0.5
    assert trial.suggest_categorical("c", ["a", "b"]) == "b"
    assert (trial.number, trial.user_attrs["seed"]) == (3, 5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda trial: trial.suggest_float("y", 0, 1),
            "not in \\[space\\], or its `when` does not hold; this trial has \\['b', 'n', 'x'\\]",
        ),
        (lambda trial: trial.suggest_float("x", 0, 0.4), "expects a value in \\[0, 0.4\\]; got 0.5"),
        (lambda trial: trial.suggest_float("x", 0, 1, step=0.2), "expects 0 plus a multiple of 0.2; got 0.5"),
        (lambda trial: trial.suggest_float("x", 0, 1, step=0.495), "expects 0 plus a multiple of 0.495; got 0.5"),
        (lambda trial: trial.suggest_float("x", 0.6, 1), "expects a value in \\[0.6, 1\\]; got 0.5"),
        (lambda trial: trial.suggest_float("b", 0, 1), "expects a float; got True"),
        (lambda trial: trial.suggest_int("b", 0, 1), "expects an int; got True"),
        (lambda trial: trial.suggest_int("x", 0, 1), "expects an int; got 0.5"),
        (lambda trial: trial.suggest_int("n", 4, 20, step=5), "expects 4 plus a multiple of 5; got 8"),
        (lambda trial: trial.suggest_categorical("n", [1, 2]), "expects one of \\[1, 2\\]; got 8"),
    ],
)
def test_suggest_refuses_what_the_objective_does_not_expect(call, words):
    trial, _ = make({"x": 0.5, "n": 8, "b": True})
    with pytest.raises(ValueError, match=words):
        call(trial)


def test_report_is_answered():
    trial, said = make(answer=ReportReply(prune=True))
    assert not trial.should_prune()
    trial.report(1, 0)
    assert trial.should_prune()
    assert said == [Report(3, 1.0, 0)]


def test_report_rejects_what_optuna_rejects():
    trial, said = make()
    with pytest.raises(TypeError, match="supposed to be a float"):
        trial.report("high", 0)
    with pytest.raises(TypeError, match="supposed to be an int"):
        trial.report(1.0, "first")
    with pytest.raises(ValueError, match="non-negative"):
        trial.report(1.0, -1)
    assert said == []


def test_a_step_counts_once():
    trial, said = make()
    trial.report(1.0, 0)
    with pytest.warns(UserWarning, match="already reported"):
        trial.report(2.0, 0)
    assert said == [Report(3, 1.0, 0)]


def test_what_is_infinite_is_kept_as_no_number():
    """It would be the best intermediate value there is, or the worst."""
    trial, said = make()
    for step, value in enumerate((math.inf, -math.inf, math.nan)):
        trial.report(value, step)
    assert len(said) == 3
    assert all(math.isnan(report.value) for report in said)


def test_several_directions_have_no_reports_as_in_optuna():
    trial, _ = make(directions=2)
    for call in (lambda: trial.report(1.0, 0), trial.should_prune):
        with pytest.raises(NotImplementedError, match="multi-objective"):
            call()


def test_a_stop_gets_past_except_exception():
    trial, _ = make(answer=ReportReply(stop=True))
    assert not issubclass(Interrupted, Exception)
    with pytest.raises(Interrupted):
        trial.report(1.0, 0)


def nested(depth, kind):
    value = 1
    for _ in range(depth):
        value = [value] if kind is list else {"key": value}
    return value


def test_user_attributes_must_be_json():
    trial, said = make()
    trial.set_user_attr("key", {"a": [1]})
    assert said == [UserAttr(3, "key", {"a": [1]})]
    assert trial.user_attrs["key"] == {"a": [1]}
    with pytest.raises(TypeError):
        trial.set_user_attr("key", object())


def test_the_driver_hears_of_no_class_of_the_objectives():
    """It would import the objective's module to read the message."""
    trial, said = make()
    trial.set_user_attr("key", [Kind.A, (1,)])
    assert said == [UserAttr(3, "key", ["a", [1]])]
    assert type(said[0].value[0]) is str


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda trial: trial.report(1.0, 2**31),
            "the step must be below 2,147,483,648, which storages can hold; got 2147483648",
        ),
        (lambda trial: trial.set_user_attr("k" * 513, 1), "a text in UTF-8 of at most 512 characters, without NUL; got kkk"),
        (lambda trial: trial.set_user_attr("\ud83e", 1), "a text in UTF-8 of at most 512 characters, without NUL; got "),
        (lambda trial: trial.set_user_attr(7, 1), "a text in UTF-8 of at most 512 characters, without NUL; got 7"),
        (lambda trial: trial.set_user_attr("key", "x" * 99), "key must have at most 100 bytes as JSON, .* got 101"),
        (lambda trial: trial.set_user_attr("key", nested(201, list)), "key: lists and dictionaries may be nested 200 deep"),
        (lambda trial: trial.set_user_attr("key", nested(201, dict)), "key: lists and dictionaries may be nested 200 deep"),
        (lambda trial: trial.set_user_attr("key", nested(9999, list)), "key: lists and dictionaries may be nested 200 deep"),
        (lambda trial: trial.set_constraint("c" * 501, 1), "a text in UTF-8 of at most 500 characters, without NUL; got c"),
        (lambda trial: trial.set_constraint("search:memory", 1), "a key must not begin with search:; got 'search:memory'"),
        (lambda trial: trial.upload_artifact("a\0", b""), "the name must be a file's"),
        (lambda trial: trial.upload_artifact("a", "text"), "the content of a must be bytes; got str"),
    ],
)
def test_what_no_storage_can_hold_is_refused_in_one_line(call, words):
    said = []
    trial = WorkerTrial(RunTrial(3, {}, {}, longest_attr=100), said.append, said.append)
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        call(trial)
    assert str(caught.value).isprintable()
    assert said == []


def test_what_every_storage_can_hold_is_kept():
    trial, said = make()
    for key in ("", "k" * 512, "naïve → 🧠 \n"):
        trial.set_user_attr(key, "x" * 100_000)
    trial.report(1.0, 2**31 - 1)
    assert len(said) == 4


@pytest.mark.parametrize("kind", [list, dict])
def test_the_deepest_value_that_is_kept_gets_past_all_that_is_done_with_it(kind):
    """From below the frames of a training loop, and to where Optuna copies the trials that it returns."""
    trial, said = make()
    deepest = nested(200, kind)

    def keep(frames):
        if frames:
            return keep(frames - 1)
        trial.set_user_attr("key", deepest)
        return AsWritten({}, {}, {"SECRET": "secret"}).value(said[0].value, {}), copy.deepcopy(deepest)

    assert keep(250) == (deepest, deepest)


def test_a_file_of_a_trial_has_its_largest_size(monkeypatch):
    monkeypatch.setattr("search.workers.trial.MAX_ARTIFACT_BYTES", 4)
    trial, said = make()
    trial.upload_artifact("a.txt", b"1234")
    with pytest.raises(ValueError, match=r"a\.txt must have at most 4 bytes; got 5"):
        trial.upload_artifact("a.txt", b"12345")
    assert said == [Artifact(3, "a.txt", b"1234")]


def test_a_trial_whose_checkpoints_cannot_be_kept_goes_on_without(tmp_path):
    """It is said once, and the trial is given no folder that is not there."""
    (tmp_path / "full").touch()
    said = []
    trial = WorkerTrial(RunTrial(3, {}, {}, checkpoints=tmp_path / "full" / "3"), said.append, said.append)
    assert trial.checkpoint_folder() is trial.checkpoint_folder() is None
    [notice] = said
    assert notice.text.startswith(f"{tmp_path / 'full'}: checkpoints cannot be kept; got ")
    (tmp_path / "room").mkdir()
    trial = WorkerTrial(RunTrial(3, {}, {}, checkpoints=tmp_path / "room" / "3"), said.append, said.append)
    assert trial.checkpoint_folder() == trial.checkpoint_folder() == tmp_path / "room" / "3"
    assert (tmp_path / "room" / "3").is_dir()


def test_a_constraint_is_what_it_is_in_optuna():
    trial, said = make()
    theirs = optuna.trial.create_trial(value=0.0)
    for each in (trial, theirs):
        each.set_constraint("size", "1.5")
        each.set_constraint("latency", -math.inf)
        with pytest.warns(UserWarning, match="The constraint value is ignored because this constraint `key='size'` is already"):
            each.set_constraint("size", 0)
        with pytest.raises(TypeError, match="The `value` argument is of type '<class 'list'>' but supposed to be a float"):
            each.set_constraint("depth", [1])
        with pytest.raises(ValueError, match="Attempted to set a constraint for 'depth', but NaN is not allowed"):
            each.set_constraint("depth", math.nan)
    assert trial.constraints == theirs.constraints == {"size": 1.5, "latency": -math.inf}
    assert said == [Constraint(3, "size", 1.5), Constraint(3, "latency", -math.inf)]


def test_a_trial_that_goes_on_knows_its_constraints_and_says_them_anew():
    said = []
    trial = WorkerTrial(RunTrial(3, {}, {}, constraints={"size": 1.0}), said.append, said.append)
    assert trial.constraints == {"size": 1.0}
    trial.set_constraint("size", -1)
    assert (trial.constraints, said) == ({"size": -1.0}, [Constraint(3, "size", -1.0)])


@pytest.mark.parametrize("name", ["study", "distributions", "datetime_start", "relative_params", "set_system_attr", "rport"])
def test_what_a_trial_has_not_is_told_in_one_line_with_what_it_has(name):
    trial, _ = make({"x": 0.5})
    assert not hasattr(trial, name)
    assert getattr(trial, name, None) is None
    with pytest.raises(
        AttributeError, match=f"a trial of search has no '{name}'; it has .*set_constraint.*trial.study"
    ) as caught:
        getattr(trial, name)
    assert str(caught.value).isprintable()
    has = {known for known in dir(trial) if not known.startswith("_")}
    assert all(each in str(caught.value) for each in has)
    assert has - set(dir(optuna.Trial)) == {"checkpoint_folder", "directions", "progress", "upload_artifact"}


@pytest.mark.parametrize(
    ("ask", "rest"),
    [
        (lambda trial: None, ("x", "n", "c")),
        (lambda trial: trial.suggest_float("x", 0, 1), ("n", "c")),
        (lambda trial: (trial.suggest_int("n", 0, 9), trial.suggest_categorical("c", ["b"])), ("x",)),
        (lambda trial: trial.params["x"], ()),
        (lambda trial: [hasattr(trial, "study"), trial.user_attrs, trial.number], ("x", "n", "c")),
    ],
)
def test_a_trial_knows_what_nobody_asks_it_for(ask, rest):
    trial, _ = make({"x": 0.5, "n": 8, "c": "b"})
    ask(trial)
    assert never_asked(trial) == rest


def test_a_trial_that_goes_on_may_have_been_asked_before(tmp_path):
    trial = WorkerTrial(RunTrial(3, {"x": 0.5}, {}, checkpoints=tmp_path / "3"), abs, print)
    assert never_asked(trial) == ("x",)
    trial.checkpoint_folder()
    assert never_asked(WorkerTrial(RunTrial(3, {"x": 0.5}, {}, checkpoints=tmp_path / "3"), abs, print)) is None


def test_a_trial_can_be_copied_and_pickled():
    trial = WorkerTrial(RunTrial(3, {"x": 0.5}, {"seed": 5}), abs, print, print)
    for again in (copy.copy(trial), copy.deepcopy(trial), pickle.loads(pickle.dumps(trial))):
        assert (again.number, again.params, again.user_attrs, again.constraints) == (3, {"x": 0.5}, {"seed": 5}, {})
        assert again.suggest_float("x", 0.0, 1.0) == 0.5


def test_the_keys_of_the_driver_are_its_own():
    trial, _ = make()
    with pytest.raises(ValueError, match="a key that begins with search: must be search:config and search:provenance"):
        trial.set_user_attr("search:owner", {})
    trial.set_user_attr("search:config", {"x": 1})
