import json
import math
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import TrialState

from search.records.rungs import has_begun
from search.results.tracking.projection import digest_of, study_id_text, study_run, trial_run
from tests.search.results.tracking.conftest import BEGAN, add


def runs_of(study):
    return {trial.number: trial_run(study, trial, Path("none"), ["score"]) for trial in study.get_trials() if has_begun(trial)}


def test_each_kind_of_trial_has_one_run_and_one_that_only_waits_has_none(study):
    states = {number: run.state for number, run in runs_of(study).items()}
    assert states == {
        0: "complete", 1: "pruned", 2: "fail", 3: "interrupted", 4: "complete", 5: "paused", 6: "running", 8: "complete",
    }  # fmt: skip
    assert [number for number, run in runs_of(study).items() if not run.is_over] == [5, 6]


def test_what_a_run_holds(study):
    run = runs_of(study)[0]
    assert run.params == {"x": 0.25, "kind": "a"}
    assert run.tags == {"trial": "0", "state": "complete", "seed": "7", "attr.note": "fine"}
    assert [(point.name, point.step, point.value) for point in run.points] == [
        ("reported/score", 0, 0.1), ("reported/score", 1, 0.3), ("reported/score", 2, 0.5), ("score", 2, 0.5),
    ]  # fmt: skip
    seconds = [point.seconds - BEGAN.timestamp() for point in run.points]
    assert seconds == [20.0, 40.0, 60.0, 60.0], "spread over the trial's minute"


def test_no_value_but_of_a_complete_trial(study):
    runs = runs_of(study)
    assert [point.name for point in runs[1].points] == ["reported/score"] * 2
    assert math.isnan(runs[1].points[1].value)
    assert runs[2].points == ()
    assert (runs[2].tags["failure"], runs[4].tags["retry_of"]) == ("ValueError: no", "3")


def test_the_digest_tells_what_differs_and_nothing_else(study):
    def digests():
        return {number: digest_of(run) for number, run in runs_of(study).items()}

    first = digests()
    assert digests() == first
    study._storage.set_trial_intermediate_value(6, 1, 0.65)
    changed = digests()
    assert [number for number in first if changed[number] != first[number]] == [6]


def test_the_studys_own_run(study):
    run = study_run(study, study.get_trials())
    assert (run.id, run.name, run.running) == ("1234567890abcdef", "demo", False)
    assert [(point.step, point.value) for point in run.points] == [(0, 0.5), (4, 0.9)]
    assert run.tags == {"study": "demo", "directions": "maximize", "notice": "Research only."}


def test_bests_follow_each_other_whatever_a_wall_clock_shows(two_launches):
    run = study_run(two_launches, two_launches.get_trials())
    assert [(point.step, point.value) for point in run.points] == [(0, 5.0), (3, 9.0)]
    moments = [run.began, *(point.seconds for point in run.points), run.ended]
    assert moments == sorted(moments)


def plain(url, name="demo", trials=1):
    study = optuna.create_study(storage=url, study_name=name)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=trials)
    return study


def test_a_token_is_the_id_wherever_the_study_is(study):
    assert study_id_text(study, "here") == study_id_text(study, "there") == "1234567890abcdef"


def test_studies_of_plain_optuna_are_told_apart_and_found_again(folder):
    one, other = plain("sqlite:///a.db"), plain("sqlite:///a.db", "other")
    copied = optuna.create_study(storage="sqlite:///b.db", study_name="demo")
    copied.add_trials(one.trials)  # as a study is begun from another: they start at the same moment
    ids = [study_id_text(one, "a.db"), study_id_text(other, "a.db"), study_id_text(copied, "b.db")]
    one.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert study_id_text(optuna.load_study(storage="sqlite:///a.db", study_name="demo"), "a.db") == ids[0]
    optuna.delete_study(storage="sqlite:///a.db", study_name="demo")
    ids.append(study_id_text(plain("sqlite:///a.db"), "a.db"))
    assert len(set(ids)) == 4, "one that is begun anew is another one"


def test_several_directions_have_values_and_no_best():
    study = optuna.create_study(directions=["maximize", "minimize"])
    trial = study.ask()
    study.tell(trial, [0.5, 2.0])
    assert study_run(study, study.get_trials()).points == ()
    (point, other) = trial_run(study, study.get_trials()[0], Path(), ["f1", "seconds"]).points
    assert (point.name, point.value, other.name, other.value) == ("f1", 0.5, "seconds", 2.0)


def test_files_are_those_that_are_there(folder):
    study = optuna.create_study()
    store = Path("demo.artifacts")
    store.mkdir()
    trial = study.ask()
    for name in ("curve.svg", "gone.svg"):
        Path(name).write_text("<svg/>")
        gone = upload_artifact(artifact_store=FileSystemArtifactStore(store), file_path=name, study_or_trial=trial)
    (store / gone).unlink()
    study.tell(trial, 1.0)
    run = trial_run(study, study.get_trials()[0], store, ["value"])
    assert {name: path.read_text() for name, path in run.files.items()} == {"curve.svg": "<svg/>"}


def test_a_file_elsewhere_is_none_of_a_trial(folder):
    Path("demo.artifacts").mkdir()
    Path("secret").write_text("of whoever tracks a study that somebody gave him")
    study = optuna.create_study()
    attributes = {}
    for number, place in enumerate(("../secret", str(Path("secret").resolve()))):
        meta = {"artifact_id": place, "filename": f"{number}.txt", "mimetype": "text/plain", "encoding": None}
        attributes[f"artifacts:{number}"] = json.dumps(meta)
    Path("demo.artifacts/45-67").symlink_to(Path("secret").resolve())
    for number, (place, name) in enumerate(((5, "a.txt"), ("0123", None), ("45-67", "link.txt")), 7):
        meta = {"artifact_id": place, "filename": name, "mimetype": "text/plain", "encoding": None}
        attributes[f"artifacts:{number}"] = json.dumps(meta)
    for more in ({}, {"artifacts:3": "[]"}):
        study.add_trial(optuna.trial.create_trial(value=1.0, system_attrs={**attributes, **more}))
        assert trial_run(study, study.get_trials()[-1], Path("demo.artifacts"), ["value"]).files == {}


def test_a_value_that_is_infinite_is_none():
    study = optuna.create_study()
    add(study, TrialState.COMPLETE, value=float("inf"), params={})
    assert trial_run(study, study.get_trials()[0], Path(), ["value"]).points == ()
