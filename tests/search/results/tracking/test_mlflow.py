"""Against MLflow's own client and database."""

import contextlib
import itertools
import math
import socket
import sqlite3
import threading
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from sqlalchemy.exc import OperationalError

from search.results.tracking import mlflow_runs
from search.results.tracking.mlflow_runs import _KEY, MlflowRuns, _keys
from search.results.tracking.sync import Sync
from tests.search.results.tracking.mlflow_reading import copy_of, points, read

pytest.importorskip("mlflow")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    mlflow_runs._make_database(f"sqlite:///{path}")
    return path


@pytest.fixture
def uri(template, folder):
    return copy_of(template, folder / "mlflow.db")


def send(study, uri, artifacts="none"):
    return Sync(MlflowRuns(uri, None), Path(artifacts)).send(study)


def test_what_it_holds_is_what_the_storage_holds(study, uri):
    done = send(study, uri)
    assert (done.sent, done.missing, done.reason) == (8, 0, "")
    client, (parent,), trials = read(uri)
    statuses = {number: (run.info.status, run.data.tags["search.state"]) for number, run in sorted(trials.items())}
    assert statuses == {
        0: ("FINISHED", "complete"),
        1: ("KILLED", "pruned"),
        2: ("FAILED", "fail"),
        3: ("KILLED", "interrupted"),
        4: ("FINISHED", "complete"),
        5: ("SCHEDULED", "paused"),
        6: ("RUNNING", "running"),
        8: ("FINISHED", "complete"),
    }
    assert trials[0].data.params == {"x": "0.25", "kind": "a"}
    assert points(client, trials[0]) == {"reported/score": {0: 0.1, 1: 0.3, 2: 0.5}, "score": {2: 0.5}}
    assert math.isnan(points(client, trials[1])["reported/score"][1])
    assert trials[2].data.tags["search.failure"] == "ValueError: no"
    assert trials[4].data.tags["search.retry_of"] == "3"
    assert trials[0].info.end_time - trials[0].info.start_time == 60_000
    assert (parent.info.run_name, parent.info.status) == ("demo", "FINISHED")
    assert points(client, parent) == {"best/score": {0: 0.5, 4: 0.9}}
    assert parent.data.tags["search.notice"] == "Research only."
    assert send(study, uri).sent == 0, "nothing is sent twice"


def test_a_kill_at_any_call_leaves_nothing_twice(study, uri, monkeypatch):
    """Ends the process, as it were, after each call that writes, and goes on with a new one."""
    from mlflow import MlflowClient

    class Killed(BaseException):
        pass

    calls = {"left": 0}

    def counted(name):
        real = getattr(MlflowClient, name)

        def call(self, *args, **kwargs):
            result = real(self, *args, **kwargs)
            calls["left"] -= 1
            if calls["left"] == 0:
                raise Killed
            return result

        return call

    for name in ("create_run", "log_batch", "set_terminated", "update_run", "set_tag"):
        monkeypatch.setattr(MlflowClient, name, counted(name))
    kills = 0
    while True:
        calls["left"] = 7
        try:
            send(study, uri)
            break
        except Killed:
            kills += 1
    assert kills > 5
    client, (_parent,), trials = read(uri)
    assert sorted(trials) == [0, 1, 2, 3, 4, 5, 6, 8]
    assert points(client, trials[0]) == {"reported/score": {0: 0.1, 1: 0.3, 2: 0.5}, "score": {2: 0.5}}


def test_a_trial_that_goes_on_has_one_run(study, uri):
    sync = Sync(MlflowRuns(uri, None), Path("none"))
    sync.send(study)
    study._storage.set_trial_intermediate_value(6, 1, 0.65)
    assert sync.send(study).sent == 1
    study.tell(6, 0.7)
    assert (sync.send(study).sent, sync.send(study).sent) == (1, 0)
    client, _, trials = read(uri)
    assert trials[6].info.status == "FINISHED"
    assert points(client, trials[6]) == {"reported/score": {0: 0.6, 1: 0.65}, "score": {1: 0.7}}


def test_of_two_runs_of_a_trial_one_goes(study, uri, monkeypatch):
    """Two processes that sent at once, where nothing kept them apart."""
    with monkeypatch.context() as patch:
        patch.setattr(MlflowRuns, "_runs", lambda self: iter(()))  # neither sees what the other makes
        for _ in range(2):
            send(study, uri)
    assert send(study, uri).missing == 0
    _, parents, trials = read(uri)
    assert (len(parents), len(trials)) == (1, 8)


def test_a_run_that_was_deleted_comes_back(study, uri):
    send(study, uri)
    client, _, trials = read(uri)
    client.delete_run(trials[0].info.run_id)
    assert send(study, uri).sent == 1
    assert len(read(uri)[2]) == 8


def test_files_keep_their_names(uri, folder):
    study = optuna.create_study(study_name="demo")
    store = folder / "demo.artifacts"
    store.mkdir()
    (folder / "curve.svg").write_text("<svg/>")
    trial = study.ask()
    upload_artifact(artifact_store=FileSystemArtifactStore(store), file_path="curve.svg", study_or_trial=trial)
    send(study, uri, store)
    study.tell(trial, 1.0)
    send(study, uri, store)
    client, _, trials = read(uri)
    (file,) = client.list_artifacts(trials[0].info.run_id)
    assert file.path == "curve.svg"
    assert Path(client.download_artifacts(trials[0].info.run_id, file.path)).read_text() == "<svg/>"
    assert (folder / "mlflow.artifacts").is_dir(), "they lie beside the database"


def test_names_that_mlflow_does_not_take(uri):
    study = optuna.create_study(study_name="demo")
    trial = study.ask()
    for name in ("a?b", "a!b", "Größe"):
        trial.suggest_float(name, 0, 1)
    trial.set_user_attr("long", "x" * 10_000)
    study.tell(trial, 1.0)
    assert send(study, uri).missing == 0
    assert set(read(uri)[2][0].data.params) == {"a_b", "a_b_2", "Gr__e"}


def test_studies_of_one_name_in_two_storages_stay_two(uri, search):
    for name, value in (("a", 100.0), ("b", 200.0)):
        study = optuna.create_study(storage=f"sqlite:///{name}.db", study_name="s")
        study.optimize(lambda trial: value, n_trials=1)  # noqa: B023
    for name, lacked in (("a", 1), ("b", 1), ("a", 0), ("b", 0)):
        assert f"got {lacked} trial" in search("track", f"sqlite:///{name}.db#s", "--mlflow", uri).stdout
    client = read(uri, "none")[0]
    runs = client.search_runs([client.get_experiment_by_name("s").experiment_id])
    values = {run.data.tags["search.study_id"]: run.data.metrics["value"] for run in runs if "search.trial" in run.data.tags}
    assert sorted(values.values()) == [100.0, 200.0]
    assert len(runs) == 4


def test_a_server_that_is_not_there_is_told_and_not_raised(study):
    done = send(study, "http://127.0.0.1:9")
    assert (done.sent, done.missing) == (0, 8)
    assert done.reason == "Connection refused"


def test_a_server_that_hangs_up_is_told_in_a_few_words(study):
    """As one does that is killed while it answers."""

    def hang_up():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(2**16)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=hang_up, daemon=True).start()
        done = send(study, f"http://127.0.0.1:{listening.getsockname()[1]}")
        listening.shutdown(socket.SHUT_RDWR)
    assert (done.sent, done.missing) == (0, 8)
    assert done.reason == "Remote end closed connection without response"


def test_a_password_is_not_shown():
    assert MlflowRuns("http://user:secret@127.0.0.1:9", None).name == "MLflow, http://user:***@127.0.0.1:9,"


def test_a_database_that_is_none(study, folder):
    (folder / "mlflow.db").write_text("no database at all, but a long enough text")
    assert "not a database" in send(study, f"sqlite:///{folder}/mlflow.db").reason


def test_a_disk_that_is_full_is_told_in_a_few_words_and_what_to_do(search, monkeypatch):
    """SQLAlchemy begins with the statement, at any length; MLflow passes that on."""
    from mlflow.exceptions import MlflowException

    def fail(uri):
        try:
            raise OperationalError("CREATE TABLE alerts " + "x" * 300, {}, sqlite3.OperationalError("database or disk is full"))
        except OperationalError as error:
            raise MlflowException(error) from error

    optuna.create_study(storage="sqlite:///plain.db", study_name="plain").optimize(lambda trial: 1.0, n_trials=1)
    monkeypatch.setattr(mlflow_runs, "_make_database", fail)
    said = search("track", "sqlite:///plain.db#plain", "--mlflow", "sqlite:///mlflow.db", code=1).stderr
    assert said.endswith("lacks 1 trials; got: database or disk is full. Free some disk space, and try again.\n")


def test_keys_are_such_that_mlflow_takes_them():
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    parts = ["", ".", "..", "...", "/", " ", "a", ".a", "..a", "a.", "ä:"]
    names = ["/".join(name) for name in itertools.product(parts, repeat=3)] + parts
    names += [f"{'a' * length}/{part}/b" for length in range(225, 245) for part in parts] + ["/" * 300, "a/" * 200]
    keys = _keys(names)
    assert len(set(keys.values())) == len(set(names))
    for key in keys.values():
        _validate_metric_name(key)
        _validate_param_name(key)
        _validate_tag_name(f"search.{key}"[:_KEY])
    few = _keys(["a/.a/a.", "..", "//lr", "..a", "loss/"])
    assert list(few.values()) == ["a/.a/a.", "_", "_/_/lr", "_a", "loss/_"]


def test_keys_are_unique():
    assert _keys(["a", "a?", "a!", "a"]) == {"a": "a", "a?": "a_", "a!": "a__2"}
