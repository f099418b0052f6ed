import io
import json
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
from optuna.trial import TrialState
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

from search.driver.compatibility import check_same
from search.errors import DashboardError
from search.records.attributes import FILE_KEY, PROVENANCE_KEY, QUEUED_KEY
from search.results.dashboard import MARK, open_for, save_charts, save_note, serve
from search.storage.open import close, create_study
from search.study_file.load import load


@pytest.fixture
def spec(write):
    space = {
        "rate": "{ type = 'float', low = 1e-4, high = 0.1, log = true }",
        "kind": "{ type = 'categorical', choices = ['a', 'b'] }",
    }
    return load(write(space=space, enqueue="[[enqueue]]\nx = 1.5", objective={"steps": "3"}))


@pytest.fixture
def study(spec):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="demo", direction="maximize")
    check_same(study, spec)
    return study


@pytest.fixture
def finish(study, spec):
    def run(value, **attrs):
        trial = study.ask(spec.space)
        for key, content in attrs.items():
            trial.set_user_attr(key, content)
        study.tell(trial, value, state=None if value is not None else TrialState.FAIL)

    return run


def charts(study):
    return get_plotly_graph_objects(study._storage.get_study_system_attrs(study._study_id))


def test_the_note_says_what_is_searched(study, spec, finish):
    save_note(study, spec, "demo.toml")
    note = optuna_dashboard.get_note(study)
    for line in (
        "| x | -10 to 10 |",
        "| rate | 0.0001 to 0.1, log |",
        "| kind | a, b |",
        "| steps | `3` |",
        "**Baseline**, enqueued first: x=1.5.",
        "search export demo.toml -o best.toml",
    ):
        assert line in note.splitlines()
    finish(0.25, **{QUEUED_KEY: {"x": 1.5}, PROVENANCE_KEY: {"split_sha256": "abc"}})
    save_note(study, spec, "demo.toml")
    note = optuna_dashboard.get_note(study)
    assert "**Baseline**, enqueued first: x=1.5. Trial 0: score 0.25." in note
    assert "| split_sha256 | `abc` |" in note


def test_the_note_says_what_the_values_were_measured_with_whatever_the_file_says_by_now(study, write):
    space = {"x": None, "other": '{ type = "float", low = 0.0, high = 99.0 }'}
    spec = load(write(study={"objective": '"objectives:Parabola"', "seed": "9"}, objective={"steps": "99"}, space=space))
    save_note(study, spec, "demo.toml")
    lines = optuna_dashboard.get_note(study).splitlines()
    assert "| steps | `3` |" in lines
    assert [line for line in lines if " to " in line] == ["| x | -10 to 10 |", "| rate | 0.0001 to 0.1, log |"]
    assert "| kind | a, b |" in lines
    assert "Maximizes **score**, of `objectives:parabola`. Budget 8 trials, seed 0." in lines


def test_a_record_of_any_shape_has_a_note(study, spec):
    space = {"x": 5, "y": {"type": "categorical"}, "z": {"type": "float", "low": "a", "high": 1}}
    study.set_user_attr(FILE_KEY, {**study.user_attrs[FILE_KEY], "space": space})
    save_note(study, spec, "demo.toml")
    assert "| x | 5 |" in optuna_dashboard.get_note(study).splitlines()


def test_the_note_names_the_study_that_it_is_of(write):
    file = write()
    create_study("sqlite:///demo.db", "wider", ["maximize"], ())
    opened = open_for(f"{file}#wider", None, pytest.fail)
    with pytest.raises(DashboardError):
        serve(opened, "no such host", 0, pytest.fail)
    assert "search export demo.toml#wider -o best.toml" in optuna_dashboard.get_note(opened.study).splitlines()


def test_a_link_among_the_files_of_trials_is_not_served(write, monkeypatch):
    """On a machine of several accounts, each reaches the port; and whoever made the study may have put a link there."""
    path, served = write(), []

    def keep(host, port, app, **_):
        served.append(app)
        raise OSError

    study = create_study("sqlite:///demo.db", "demo", ["maximize"], ())
    Path("secret").write_text("secret")
    Path("moved").mkdir()
    Path("moved/0a").write_text("own")
    Path("moved/0b").symlink_to(Path("secret").resolve())
    Path("demo.artifacts").symlink_to("moved")
    metas = [{"artifact_id": name, "filename": "a.png", "mimetype": "image/png", "encoding": None} for name in ("0a", "0b")]
    attributes = {f"artifacts:{meta['artifact_id']}": json.dumps(meta) for meta in metas}
    study.add_trial(optuna.trial.create_trial(value=1.0, system_attrs=attributes))
    close(study)
    monkeypatch.setattr("search.results.dashboard.make_server", keep)
    with pytest.raises(DashboardError):
        serve(open_for(str(path), None, pytest.fail), "localhost", 0, pytest.fail)

    def ask(name):
        environ = {"PATH_INFO": f"/artifacts/1/1/{name}", "REQUEST_METHOD": "GET", "HTTP_HOST": "localhost"}
        setup_testing_defaults(environ)
        answer = served[0](environ | {"wsgi.errors": io.StringIO()}, lambda *_: None)
        content = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        return content

    assert ask("0a") == b"own"
    assert b"secret" not in ask("0b")


def test_a_note_that_a_person_took_over_is_left_alone(study, spec):
    save_note(study, spec, "demo.toml")
    mine = optuna_dashboard.get_note(study).replace(MARK, "Mine.")
    optuna_dashboard.save_note(study, mine)
    save_note(study, spec, "demo.toml")
    assert optuna_dashboard.get_note(study) == mine


def test_charts_are_replaced_and_hold_every_trial(study, finish):
    save_charts(study)
    assert charts(study) == {}
    for value in (1.0, 3.0, None, 2.0):
        finish(value, worker=0)
        save_charts(study)
    found = {name: json.loads(chart) for name, chart in charts(study).items()}
    assert set(found) == {"workers", "best-so-far-and-baseline"}
    assert [trace["x"] for trace in found["best-so-far-and-baseline"]["data"]] == [[0, 1, 3], [0, 1, 3]]
    assert sum(len(trace["y"]) for trace in found["workers"]["data"]) == 4


def test_charts_of_many_trials_stay_small(study):
    study.add_trials([optuna.trial.create_trial(value=float(at)) for at in range(2000)])
    save_charts(study)
    assert sum(map(len, charts(study).values())) < 200_000
