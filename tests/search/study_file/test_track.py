"""``[track]``: what it may say, and where relative paths begin."""

import importlib.util
from pathlib import Path

import pytest

from search.driver.compatibility import describe
from search.errors import StudyFileError
from search.study_file.load import load
from search.study_file.track import same_database


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Every package is, whatever is."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


def refusal(path, **options):
    with pytest.raises(StudyFileError) as caught:
        load(path, **options)
    (line,) = caught.value.lines
    return line.removeprefix(f"{path}: ")


def test_relative_paths_start_at_the_study_files_folder(write, folder):
    Path("below").mkdir()
    track = load(write("below/demo.toml", track={"mlflow": '"sqlite:///m.db"', "tensorboard": '"runs"'})).track
    assert track.mlflow == f"sqlite:///{folder.resolve()}/below/m.db"
    assert track.tensorboard == Path("below/runs")
    track = load(write(track={"mlflow": '"http://lab:5000"', "experiment": '"mine"'})).track
    assert (track.mlflow, track.tensorboard, track.experiment) == ("http://lab:5000", None, "mine")


def test_it_may_change_at_any_time(write):
    plain, tracked = load(write()), load(write(track={"tensorboard": '"runs"'}))
    assert plain.track is None
    assert {**describe(plain), "sha256": ""} == {**describe(tracked), "sha256": ""}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"experiment": '"x"'}, "track: mlflow or tensorboard is required; got neither."),
        ({"tensorboard": '"runs"', "experiment": '"x"'}, 'track.experiment: only MLflow has experiments; got "x".'),
        (
            {"mlfow": '"sqlite:///m.db"', "tensorboard": '"r"'},
            'track.mlfow: unknown key; got "sqlite:///m.db". Did you mean "mlflow"?',
        ),
        ({"mlflow": "3"}, 'track.mlflow: must be a string; got 3. Write "...".'),
        ({"mlflow": '"runs.db"'}, 'track.mlflow: must be a server or a database of MLflow; got "runs.db".'),
        (
            {"mlflow": '"ftp://user:secret@lab"'},
            'track.mlflow: must be a server or a database of MLflow; got "ftp://user:***@lab".',
        ),
        ({"mlflow": '"sqlite://"'}, 'track.mlflow: must name a file; got "sqlite://".'),
        ({"mlflow": '"sqlite:///demo.db"'}, "track.mlflow: must be another database than the study's own; got"),
        (
            {"mlflow": '"mysql+pymysql://u:secret@lab/x?local_infile=1"'},
            "track.mlflow: must run nothing here and hand out no file; got the option local_infile. Remove it.",
        ),
        ({"mlflow": '"mysql://lab/x?read_default_file=a"'}, "track.mlflow: must run nothing here and hand out no file; got"),
        ({"mlflow": '"postgresql://lab/x?sslkey=a:b"'}, "track.mlflow: must run nothing here and hand out no file; got"),
        ({"tensorboard": '"s3://bucket"'}, 'track.tensorboard: must be a folder of this machine; got "s3://bucket".'),
        ({"tensorboard": '""'}, "track.tensorboard: must not be empty; got"),
    ],
)
def test_each_broken_rule_is_one_line(write, table, said):
    assert refusal(write(track=table)).startswith(said)


def test_a_package_that_is_missing_is_told_to_who_runs_trials_alone(write, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    path = write(track={"mlflow": '"http://lab:5000"'})
    line = 'track.mlflow: mlflow needs the package mlflow, which is not installed; got "mlflow". Run: pip install '
    assert refusal(path) == line + "'tumorcls[mlflow]'"
    assert load(path, imports=False).track.mlflow == "http://lab:5000"


def test_one_database_under_two_urls():
    assert same_database("postgresql://a:b@host/db", "postgresql+psycopg://c@host/db")
    assert not same_database("postgresql://host/db", "postgresql://host/other")
    assert same_database("sqlite:///x.db", f"sqlite:///{Path.cwd()}/x.db")
    assert not same_database("http://host/db", "postgresql://host/db")
