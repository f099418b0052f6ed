"""Launches with real processes: what is killed, interrupted and resumed. The same by a script, in no time: test_verdicts.py."""

import importlib
import multiprocessing
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from search.driver.launch import announce_local_code, launch, open_runtime
from search.errors import StudyError
from search.records.attributes import FAILURE_KEY, FILE_KEY, RETRY_KEY, SEED_KEY, SHOWN_SEED
from search.records.constraints import MEMORY_CONSTRAINT
from search.study_file.load import load
from tests.patience import PATIENCE_S

SLOW = {"study": {"objective": '"objectives:Parabola"', "trials": "6"}, "objective": {"pause": "0.04"}}


def test_a_script_that_launches_without_a_guard_is_told_what_it_lacks(write, monkeypatch):
    """Each of its workers imports it, and would launch as well."""
    spec = load(write())
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(StudyError, match="must stand below a line if __name__"):
        launch(spec)
    assert not Path("demo.db").exists()


def test_a_budget_that_a_pruner_cannot_work_with_begins_no_study(write, search):
    write(study={"trials": "3"}, pruner={"name": '"median"', "n_startup_trials": "3"})
    refused = search("launch", "demo.toml", code=1)
    assert "pruner.n_startup_trials: median can never prune: it waits for complete trials, 3 at least, " in refused.stderr
    assert "which must be below the budget of 3 trials" in refused.stderr
    assert refused.stdout == ""
    assert not Path("demo.db").exists()


def test_a_file_is_tried_with_fewer_trials_than_its_pruner_waits_for(write, search):
    """Its own budget is what a pruner must be able to work with; the study goes on with it."""
    pruner = {"name": '"median"', "n_startup_trials": "3"}
    write(study={"objective": '"objectives:Telling"'}, objective={"epochs": "2"}, pruner=pruner)
    lines = search("launch", "demo.toml", "--trials", "1").stdout.splitlines()
    assert lines[1] == "note: with 1 trial nothing is pruned"
    assert "Budget reached: 1/1 trials." in lines
    assert "note: with 3 trials nothing is pruned" in search("launch", "demo.toml", "--trials", "3").stdout
    assert "note: " not in search("launch", "demo.toml").stdout
    warm = ("launch", "demo.toml", "--as", "two", "--trials", "3")
    assert "note: " not in search(*warm, "--warm-start", "demo").stdout
    assert "note: " not in search(*warm).stdout, "what it has taken over counts for its pruner at a later launch too"
    several = search("launch", "demo.toml", "--as", "four", "--trials", "2", "--warm-start", "demo,two").stdout
    assert "note: with 2 trials nothing is pruned" in several, "a portfolio brings configs, and no trials"
    assert search("launch", "demo.toml", "--as", "three", "--trials", "1", "--quiet").stdout == ""


def test_a_module_that_the_package_hides_is_told_first(write):
    said = []
    spec = load(write())
    Path("search.py").touch()
    announce_local_code(spec, said.append)
    assert said[0] == "search.py here is hidden by the package search. Rename it."
    assert said[1].startswith("Runs the code of objectives.py in this folder")


NEVER_ASKED = "its objective never asked for"


def test_a_parameter_that_the_objective_never_asks_for_is_told_once_with_the_first_trial_that_knows(write, search):
    """One that is read from `params` is asked for, and so is none that its condition leaves out."""
    more = '{ type = "int", low = 1, high = 9 }'
    path = write(study={"trials": "3"}, space={"y": more, "z": more})
    told = [line for line in search("launch", path, "--workers", "2").stderr.splitlines() if NEVER_ASKED in line]
    assert len(told) == 1
    assert told[0].startswith("warning: space.y, space.z: trial ")
    assert "has them and its objective never asked for them. Are they used? If only beside" in told[0]
    path = write(study={"trials": "1", "name": '"one"'}, space={"z": more})
    assert "warning: space.z: trial 0 has it and its objective never asked for it. Is it used?" in search("launch", path).stderr
    Path("scoped.py").write_text("def objective(trial):\n    return trial.suggest_categorical('kind', ['a', 'b']) == 'b'\n")
    space = {
        **{"x": None, "kind": '{ type = "categorical", choices = ["a", "b"] }'},
        "y": '{ type = "int", low = 1, high = 9, when = { param = "kind", is = "a" } }',
    }
    for kind, says in (("a", True), ("b", False)):
        study = {"trials": "1", "name": f'"{kind}"', "objective": '"scoped:objective"'}
        path = write(study=study, space=space, enqueue=f'[[enqueue]]\nkind = "{kind}"\n')
        assert (NEVER_ASKED in search("launch", path).stderr) is says
    path = write(study={"trials": "1", "name": '"read"', "objective": '"objectives:Knows"'})
    assert NEVER_ASKED not in search("launch", path).stderr


def rows(query):
    """Asks the database itself, without a lock or a cache between."""
    if not Path("demo.db").exists():
        return []
    try:
        with closing(sqlite3.connect("file:demo.db?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:  # the tables are being made
        return []


def reports_of(number):
    query = "SELECT COUNT(*) FROM trial_intermediate_values JOIN trials USING (trial_id) WHERE number = {}"
    return (rows(query.format(number)) or [(0,)])[0][0]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, toml, environment, results):
    """What SLOW gives when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copy(Path(__file__).parents[1] / "objectives.py", folder)
    (folder / "demo.toml").write_text(toml(**SLOW))
    command = [sys.executable, "-m", "search", "launch", "demo.toml"]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=PATIENCE_S)
    return results(optuna.load_study(study_name="demo", storage=f"sqlite:///{folder}/demo.db"))


def test_a_launch_from_the_file_to_the_next_commands(write, search_process, read_study, undisturbed, results):
    write(**SLOW)
    done = search_process("launch", "demo.toml")
    lines = done.stdout.splitlines()
    assert lines[0] == "Runs the code of objectives.py in this folder, which demo.toml names as its objective."
    assert lines[1].startswith("starting | 0/6 trials")
    assert len([line for line in lines if line.startswith("trial ") and " started: x=" in line]) == 6
    assert len([line for line in lines if line.startswith("trial ") and line.endswith("0 failed")]) == 6
    assert "6/6 trials" in lines[-5]
    assert lines[-4] == "Budget reached: 6/6 trials."
    assert lines[-3].startswith("Best trial ")
    assert lines[-2:] == [
        "Look at it:  search dashboard demo.toml",
        "Export it:   search export demo.toml -o best.toml",
    ]
    assert sorted(path.name for path in Path().glob("demo*")) == ["demo.db", "demo.toml", "demo.worker-0.log"], (
        "no -wal is left"
    )
    study = read_study()
    assert results(study) == undisturbed, "the same file and seed give the same study"
    assert study.metric_names == ["score"]
    assert study.user_attrs[FILE_KEY]["space"] == {"x": {"type": "float", "low": -10.0, "high": 10.0}}
    assert {trial.user_attrs["pid"] for trial in study.trials} != {os.getpid()}

    again = search_process("launch", "demo.toml")
    assert again.stdout.splitlines()[1] == "Budget reached: 6/6 trials."
    assert search_process("launch", "demo.toml", "--quiet").stdout == ""
    assert len(read_study().trials) == 6


def test_the_driver_killed_in_the_middle_of_a_trial(write, search, start, wait_for, read_study, undisturbed, results):
    write(**SLOW)
    for number in (1, 4):
        driver = start("launch", "demo.toml")
        wait_for(lambda: reports_of(number) >= 2)  # noqa: B023
        workers = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
        driver.wait()
        wait_for(lambda: not any(psutil.pid_exists(w.pid) and w.status() != "zombie" for w in workers))  # noqa: B023
    done = search("launch", "demo.toml")
    assert "Lost by a driver that died, and taken up again: trials" in done.stdout
    study = read_study()
    assert {trial.state for trial in study.trials} <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    lost = [trial for trial in study.trials if trial.state is TrialState.FAIL]
    assert len(lost) == 2
    for trial in lost:
        assert trial.user_attrs[FAILURE_KEY] == "the driver died while this trial was running"
        retries = [other for other in study.trials if other.user_attrs.get(RETRY_KEY) == trial.number]
        assert [retry.params for retry in retries] == [trial.params]
    assert results(study) == undisturbed, "killed twice and resumed, the study is what it would have been"
    assert rows("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_the_first_interrupt_ends_trials_at_their_next_report(
    write, start, search, wait_for, read_study, undisturbed, number, results
):
    write(**SLOW)
    driver = start("launch", "demo.toml")
    wait_for(lambda: reports_of(2) >= 1)
    os.killpg(driver.pid, number)  # as a terminal does, and Slurm: the workers get it too
    out, err = driver.communicate()
    assert driver.returncode == 130
    assert err == ""
    assert "To go on: search launch demo.toml" in out
    study = read_study()
    assert [trial.state.name for trial in study.trials[2:]] == ["FAIL", "WAITING"]
    assert study.trials[2].user_attrs[FAILURE_KEY] == "interrupted"
    search("launch", "demo.toml")
    assert results(read_study()) == undisturbed


@pytest.mark.slow
def test_an_interrupt_reaches_workers_that_wait_for_no_answer(write, start, wait_for, read_study):
    write(**SLOW, pruner={"name": '"none"'})
    driver = start("launch", "demo.toml")
    wait_for(lambda: reports_of(2) >= 1)
    os.killpg(driver.pid, signal.SIGINT)
    driver.communicate()
    assert driver.returncode == 130
    assert [trial.state.name for trial in read_study().trials[2:]] == ["FAIL", "WAITING"]


def test_the_second_interrupt_ends_at_once(write, start, wait_for, read_study):
    write(study={"objective": '"objectives:deaf"', "trials": "3"})
    driver = start("launch", "demo.toml")
    wait_for(lambda: Path("deaf").exists())
    os.killpg(driver.pid, signal.SIGINT)
    time.sleep(0.5)
    assert driver.poll() is None, "the first one waits for a report"
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.wait(timeout=PATIENCE_S) == 130
    assert [trial.state.name for trial in read_study().trials] == ["FAIL", "WAITING"]


@pytest.mark.slow
def test_an_objective_that_catches_everything_is_still_interrupted(write, start, wait_for):
    write(study={"objective": '"objectives:swallow"', "trials": "3"})
    driver = start("launch", "demo.toml")
    wait_for(lambda: reports_of(0) >= 2)
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.wait(timeout=PATIENCE_S) == 130


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("kill", "the worker process was killed by SIGKILL (out of memory?)"),
        pytest.param("exit", "the worker process ended with exit code 7", marks=pytest.mark.slow),
    ],
)
def test_a_worker_that_dies_is_replaced(write, search, read_study, mode, reason):
    write(study={"objective": '"objectives:misbehave"', "trials": "3"}, objective={"mode": f'"{mode}"'})
    search("launch", "demo.toml")
    study = read_study()
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[1].user_attrs[FAILURE_KEY] == reason
    retry = study.trials[2]
    assert (retry.user_attrs[RETRY_KEY], retry.user_attrs[SEED_KEY]) == (1, study.trials[1].user_attrs[SEED_KEY])
    assert retry.params == study.trials[1].params


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_and_says_where(write, search, read_study):
    study = {"objective": '"objectives:hang"', "trials": "3", "report_timeout": "1", "max_retries": "1"}
    write(study=study, objective={"bad": "[1, 2]"})
    out = search("launch", "demo.toml").stdout
    trials = read_study().trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    reason = "no report for 1 s (report_timeout); the worker was killed"
    assert [trial.user_attrs.get(FAILURE_KEY) for trial in trials] == [None, reason, reason, None, None]
    assert [trial.user_attrs.get(RETRY_KEY) for trial in trials] == [None, None, 1, None, None], "tried again once"
    assert f"trial 1 failed, and is tried again: {reason}" in out
    assert f"trial 2 failed: {reason}" in out
    assert "objectives.py" in Path("demo.worker-0.log").read_text(), "the stack of the worker that hung"


def test_a_config_that_needs_too_much_memory_is_infeasible(write, search, read_study):
    write(study={"objective": '"objectives:run_out"', "trials": "8"}, objective={"above": "0.0"})
    out = search("launch", "demo.toml").stdout
    trials = read_study().trials
    assert {trial.state.name for trial in trials} == {"COMPLETE", "PRUNED", "FAIL"}
    tried_twice = {trial.user_attrs[RETRY_KEY]: trial for trial in trials if RETRY_KEY in trial.user_attrs}
    for trial in trials:
        assert (trial.user_attrs.get(FAILURE_KEY) is not None) == (trial.params["x"] > 0)
        if trial.state is TrialState.FAIL:
            assert tried_twice[trial.number].constraints == {MEMORY_CONSTRAINT: 1.0}, (
                "first in a used worker, then in a fresh one"
            )
    assert "worker 0 is replaced: memory ran out in it" in out
    assert "infeasible: MemoryError: cannot allocate 3 TiB" in out
    assert " infeasible\n" in out


@pytest.mark.slow
def test_memory_that_ran_out_in_a_used_worker_is_not_held_against_the_config(write, search, read_study):
    write(study={"objective": '"objectives:run_out"', "trials": "6"}, objective={"leaks": "true", "above": "-11.0"})
    search("launch", "demo.toml")
    assert {trial.state.name for trial in read_study().trials} == {"COMPLETE", "FAIL"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "mib", "pids", "why"),
    [
        ({"worker_trials": "2"}, 0, 3, "2 trials run (worker_trials)"),
        ({"worker_memory": '"400MB"'}, 250, 3, "in use after a trial, more than worker_memory = 400 MB"),
    ],
)
def test_a_worker_is_replaced_between_trials(write, search, read_study, keys, mib, pids, why):
    write(study={"objective": '"objectives:grow"', "trials": "6", **keys}, objective={"mib": str(mib)})
    out = search("launch", "demo.toml").stdout
    trials = read_study().trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    assert len({trial.user_attrs["pid"] for trial in trials}) == pids
    assert len([line for line in out.splitlines() if line.startswith("worker 0 is replaced: ") and why in line]) == pids - 1
    assert Path("demo.worker-0.log").read_text().count("leaving: ") == pids - 1


@pytest.mark.parametrize(
    ("keys", "trials", "says"),
    [
        ({"max_reports": "9"}, 3, "All reports are used up (max_reports): 3/50 trials. To go on, raise it"),
        pytest.param(
            {"max_device_time": '"0.5s"'}, None, "All device time is used up (max_device_time): ", marks=pytest.mark.slow
        ),
        pytest.param({"patience": "3"}, None, "No better trial for a while (patience): ", marks=pytest.mark.slow),
    ],
)
def test_budgets_hold_over_launches(write, search, read_study, keys, trials, says):
    write(study={"objective": '"objectives:Parabola"', "trials": "50", **keys}, objective={"pause": "0.03"})
    assert says in search("launch", "demo.toml").stdout
    done = len(read_study().trials)
    assert done == trials or (trials is None and done < 50)
    assert says in search("launch", "demo.toml").stdout
    assert len(read_study().trials) == done, "there is nothing left to use"


def test_several_workers_share_the_budget(write, search, read_study):
    write(study={"objective": '"objectives:Parabola"', "trials": "12"}, objective={"pause": "0.05"})
    search("launch", "demo.toml", "--workers", 2)
    trials = read_study().trials
    assert [trial.state.is_finished() for trial in trials] == [True] * 12
    assert len({trial.user_attrs["pid"] for trial in trials}) == 2


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"study": {"objective": '"nowhere:f"'}}, 'objective nowhere:f could not start: no module named "nowhere"'),
        (
            {"objective": {"kind": '"own"'}},
            "objectives:NoStart could not start: data: the folder must exist; got /none. Create it.",
        ),
        ({"objective": {"kind": '"exit"'}}, "worker 0: must start; got: the worker process ended with exit code 3"),
        (
            {"objective": {"kind": '"${TUMORCLS_SURELY_UNSET}"'}},
            "demo.toml: objective.kind: the environment variable TUMORCLS_SURELY_UNSET must be set",
        ),
    ],
)
def test_an_objective_that_cannot_start_ends_the_launch(write, search, tables, expected):
    write(**{**tables, "study": {"objective": '"objectives:NoStart"', **tables.get("study", {})}})
    done = search("launch", "demo.toml", code=1)
    assert expected in done.stderr
    assert rows("SELECT * FROM trials") == [], "no trial is wasted"
    if "SURELY" not in expected:
        assert "Details: demo.worker-0.log" in done.stderr


def test_a_worker_that_could_start_before_gets_another_chance(write, search, read_study):
    write(study={"objective": '"objectives:StartsTwice"', "trials": "2"}, objective={"fails": "2"})
    search("launch", "demo.toml")
    assert [trial.state.name for trial in read_study().trials] == ["FAIL", "COMPLETE", "COMPLETE"]


def test_failed_starts_in_a_row_end_the_launch(write, search, read_study):
    write(study={"objective": '"objectives:StartsTwice"', "trials": "2"}, objective={"fails": "3"})
    done = search("launch", "demo.toml", code=1)
    assert "worker 0: must start; got: the worker process ended with exit code 3" in done.stderr


def test_failures_in_a_row_end_the_launch(write, search):
    write(study={"objective": '"objectives:misbehave"'}, objective={"mode": '"raise"', "bad": "[0, 1, 2, 3]"})
    done = search("launch", "demo.toml", code=1)
    assert "3 trials in a row failed, the last one (trial 2) because: OwnError: the disk is full" in done.stderr
    assert "Traceback" in Path("demo.worker-0.log").read_text()


def test_a_second_driver_is_refused(write, start, search, wait_for):
    write(study={"objective": '"objectives:deaf"'})
    driver = start("launch", "demo.toml")
    wait_for(lambda: Path("deaf").exists())
    done = search("launch", "demo.toml", code=1)
    assert f"one driver at a time; got one at work, process {driver.pid} on" in done.stderr
    search("status", "demo.toml")


def test_a_storage_that_breaks_in_the_middle_says_so_in_one_line(write, start, wait_for):
    write(**SLOW)
    driver = start("launch", "demo.toml")
    wait_for(lambda: reports_of(1) >= 1)
    with closing(sqlite3.connect("demo.db")) as connection, connection:
        connection.execute("DROP TABLE trial_intermediate_values")
    _, err = driver.communicate()
    assert driver.returncode == 1
    assert err.startswith("error: sqlite:///demo.db: the storage must be readable and writable; got: no such table")
    assert len(err.splitlines()) == 1


def test_what_workers_print_goes_to_the_log(write, search):
    Path("noisy.py").write_text(
        "import os\nos.system('echo from C')\ndef f(trial):\n    print('from Python', os.getpid())\n    return 1.0\n"
    )
    write(study={"objective": '"noisy:f"', "trials": "1"})
    done = search("launch", "demo.toml")
    assert "from" not in done.stdout + done.stderr
    head, *printed = Path("demo.worker-0.log").read_text().splitlines()
    began = re.fullmatch(r"worker-0: process (\d+), begun \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", head)
    assert began is not None
    assert printed == ["from C", f"from Python {began[1]}"]


def test_the_same_objective_runs_with_plain_optuna():
    objectives = importlib.import_module("objectives")

    study = optuna.create_study(direction="maximize")

    def with_seed(trial):
        trial.set_user_attr(SHOWN_SEED, 0)
        return objectives.Parabola()(trial)

    study.optimize(with_seed, n_trials=3)
    assert len(study.trials[0].intermediate_values) == 4


@pytest.mark.parametrize(
    ("gpus", "workers", "per_device", "share"),
    [("", 4, 2, 1.0), ("0", 1, 4, 1.0), ("0", 2, 4, 0.5), ("0,1,2,3", 5, 4, 0.8), ("0,1,2,3", 2, 1, 1.0)],
)
def test_a_worker_takes_the_share_of_a_device_that_the_launch_has_for_it(write, monkeypatch, gpus, workers, per_device, share):
    """Five on four GPUs keep four busy, whichever two of them share one."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    spec = load(write(study={"workers_per_device": str(per_device)}))
    with open_runtime(spec, "sqlite:///demo.db", workers, quiet=True) as runtime:
        assert runtime.device_share == share
