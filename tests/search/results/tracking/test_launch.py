"""Studies that are sent while they run, from the command line."""

import errno
import os
import signal
import threading
import time
from multiprocessing.context import SpawnProcess
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.results.tracking import launched
from search.results.tracking.turn import Turn
from search.storage.open import close, open_study
from search.study_file.load import load
from tests.search.results.tracking.conftest import read_events
from tests.search.results.tracking.mlflow_reading import Server, points, read

pytest.importorskip("tensorboard")
BOARD = {"tensorboard": '"runs"'}


def stored(name="demo"):
    return open_study(f"sqlite:///{name}.db", name).get_trials()


def kept():
    """What TensorBoard's reader finds of each trial, by its number."""
    folders = sorted(Path("runs/demo").glob("trial-*"))
    return {int(path.name[6:]): found for path, found in zip(folders, read_events(*folders), strict=True)}


def assert_holds(trials, found):
    """Every trial that has begun is there, with what it reported and its value."""
    assert sorted(found) == [trial.number for trial in trials if trial.state is not TrialState.WAITING]
    for number, run in found.items():
        trial = trials[number]
        reported = run["scalars"].get("reported/score", [])
        assert dict(reported) == pytest.approx(trial.intermediate_values, rel=1e-5)
        assert len(reported) == len(trial.intermediate_values), "each report once"
        assert [value for _, value in run["scalars"].get("score", [])] == pytest.approx(
            trial.values if trial.state is TrialState.COMPLETE else [], rel=1e-5
        )
        assert run["hparams"] == pytest.approx(trial.params)


@pytest.mark.slow
def test_a_study_that_is_killed_and_launched_again(start, search, write):
    path = write(study={"trials": "5"}, objective={"pause": "0.2"}, track=BOARD)
    driver = start("launch", path)
    deadline = time.monotonic() + 100
    while not list(Path().glob("runs/demo/trial-0002/*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    search("launch", path)
    trials = stored()
    assert sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials) == 5
    assert_holds(trials, kept())
    assert "got 0 trials that it lacked" in search("track", path).stdout


@pytest.mark.slow
def test_trials_that_are_paused_and_promoted_have_one_run(search, write):
    path = write(
        study={"objective": '"objectives:Climbing"', "trials": "5"},
        space={"epochs": '{ type = "int", low = 1, high = 4, fidelity = true }'},
        track=BOARD,
    )
    search("launch", path)
    trials = stored()
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert_holds(trials, kept())


@pytest.mark.slow
def test_machines_that_join_make_one_run_of_each_trial(start, search, write, postgresql):
    """Each has a process that would send; one has the turn, and another takes it over where that one is killed."""
    url = postgresql.new_database()
    path = write(study={"trials": "8", "storage": f'"{url}"'}, objective={"pause": "0.3"}, track=BOARD)
    first, second = start("worker", path), start("worker", path)
    deadline = time.monotonic() + 200
    while not list(Path().glob("runs/demo/trial-0001/*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)  # its workers and its sender too
    first.wait()
    out, err = second.communicate()
    assert second.returncode == 0, err
    assert "Nothing is left to start here" in out
    study = open_study(url, "demo")
    assert_holds(study.get_trials(), kept())
    close(study)


def test_a_study_that_ran_before_is_sent_whole(search, write):
    search("launch", write(), "--trials", 2, "--quiet")
    assert (
        search("track", "demo.toml", "--tensorboard", "runs").stdout
        == "TensorBoard's folder runs got 2 trials that it lacked.\n"
    )
    assert search("track", "sqlite:///demo.db#demo", "--tensorboard", "runs").stdout.endswith("got 0 trials that it lacked.\n")


def test_any_optuna_study_is_sent(search, folder):
    study = optuna.create_study(storage="sqlite:///plain.db", study_name="plain")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    search("track", "sqlite:///plain.db#plain", "--tensorboard", "runs")
    assert len(list(Path("runs/plain").glob("trial-*"))) == 3


def test_a_tracker_that_dies_costs_a_line_and_no_trial(search, write, monkeypatch):
    Path("runs").write_text("no folder")
    done = search("launch", write(track=BOARD), "--trials", 3, "--quiet")
    told, left = done.stderr.splitlines()
    assert told.startswith("warning: TensorBoard's folder runs does not take trials now: ")
    assert left.startswith("warning: TensorBoard's folder runs lacks 3 trials: ")
    assert left.endswith("To send what is missing: search track demo.toml#demo")
    Path("runs").unlink()
    assert "got 3 trials" in search("track", "demo.toml#demo").stdout


@pytest.mark.parametrize(
    ("kind", "error"),
    [(SpawnProcess, OSError(errno.EAGAIN, "Resource unavailable")), (threading.Thread, RuntimeError("can't start new thread"))],
)
def test_no_room_for_the_process_or_its_thread_costs_a_line(write, monkeypatch, kind, error):
    def no_room(self):
        raise error

    spec, said = load(write(track=BOARD)), []
    monkeypatch.setattr(kind, "start", no_room)
    with launched.followed(spec, "sqlite:///demo.db", "demo.toml#demo", pytest.fail, said.append):
        said.append("driven")
    [line, driven] = said
    assert driven == "driven"
    assert line == f"The trackers are not kept up to date; got: {error}. To send what is missing: search track demo.toml#demo"


def test_a_process_that_is_killed_or_hangs_costs_a_line(search, write, monkeypatch):
    monkeypatch.setattr(launched, "follow", hang)
    monkeypatch.setattr(launched, "_SILENCE_S", 0.5)
    done = search("launch", write(track=BOARD), "--trials", 2, "--quiet")
    assert done.stderr == (
        "warning: The trackers were not brought up to date. To send what is missing: search track demo.toml#demo\n"
    )
    assert len(stored()) == 2


def hang(connection, job):
    time.sleep(1000)


def test_one_process_sends_at_a_time(search, write):
    write(track=BOARD)
    optuna.create_study(storage="sqlite:///demo.db", study_name="demo", direction="maximize").ask()
    turn = Turn(open_study("sqlite:///demo.db", "demo"), "sqlite:///demo.db")
    assert turn.take()
    assert "got one that does" in search("track", "demo.toml", code=1).stderr
    turn.end()
    search("track", "demo.toml")


def test_where_it_cannot_be_sent(search, write):
    write()
    optuna.create_study(storage="sqlite:///demo.db", study_name="demo")
    refused = {
        (): "must have a [track] table; got none. Add --mlflow URI or --tensorboard DIR.",
        ("--mlflow", "mlflow.db"): 'must be a server or a database of MLflow; got "mlflow.db". Write http://HOST:PORT, or',
        ("--mlflow", "sqlite:///demo.db"): "track.mlflow: must be another database than the study's own; got",
        ("--tensorboard", "http://x"): 'must be a folder of this machine; got "http://x". Write "runs".',
    }
    for arguments, said in refused.items():
        assert said in search("track", "demo.toml", *arguments, code=1).stderr


def test_the_studys_own_database_given_on_the_command_line(search, write):
    pytest.importorskip("mlflow")
    path = write(track={"mlflow": '"sqlite:///other.db"'})
    error = search("launch", path, "--storage", "sqlite:///other.db", code=1).stderr
    assert "track.mlflow: must be another database than the study's own" in error
    assert not Path("other.db").exists()


@pytest.fixture
def server(folder):
    pytest.importorskip("mlflow")
    pytest.importorskip("flask_cors")  # and Flask: the small MLflow brings neither
    result = Server(folder)
    try:
        result.start()
        yield result
    finally:
        result.kill()


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle(start, search, write, server):
    """The study meets its budget; once the server is there again, it holds what the storage does."""
    path = write(
        study={"trials": "40", "objective": '"objectives:chaos"', "max_failures": "1000", "report_timeout": '"5s"'},
        track={"mlflow": f'"{server.uri}"', **BOARD},
    )
    launch = start("launch", path, "--workers", "2")
    deadline = time.monotonic() + 120
    while not (server.folder / "demo.db").exists() or not read(server.uri)[2]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    server.kill()
    out, err = launch.communicate()
    assert launch.returncode == 0, err
    assert "40/40" in out
    assert err.count("does not take trials now: ") == 1, "told once"
    assert "To send what is missing: search track demo.toml#demo" in err
    server.start()
    search("track", path)
    client, (parent,), found = read(server.uri)
    trials = stored()
    assert sorted(found) == [trial.number for trial in trials]
    statuses = {"COMPLETE": {"FINISHED"}, "PRUNED": {"KILLED"}, "FAIL": {"FAILED", "KILLED"}}
    for trial in trials:
        run = found[trial.number]
        assert run.info.status in statuses[trial.state.name]
        assert run.data.params == {name: str(value) for name, value in trial.params.items()}
        wanted = {"reported/score": trial.intermediate_values} if trial.intermediate_values else {}
        if trial.state is TrialState.COMPLETE:
            wanted["score"] = {max(trial.intermediate_values, default=0): trial.value}
        assert points(client, run) == wanted
    assert parent.info.status == "FINISHED"
    assert_holds(trials, kept())
