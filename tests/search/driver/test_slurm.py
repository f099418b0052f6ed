"""`search submit`: real tasks through submitit's local executor, and what Slurm's `sbatch` is given."""

import contextlib
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import psutil
import pytest

from search.cli import cli
from search.driver.slurm import parse_more
from search.errors import SearchError, SubmissionError
from search.storage import open as storage

pytest.importorskip("submitit", reason="no submitit here: pip install 'tumorcls[submitit]'")

SERVER = {"storage": '"postgresql://me@nowhere.example/studies"'}
BLIND = {"sampler": {"name": '"random"'}, "pruner": {"name": '"none"'}}


@pytest.fixture
def slurm(folder, monkeypatch):
    """Stands in for Slurm's programs: `sbatch` keeps the batch file, and answers as the real one does."""
    programs = folder / "slurm"
    programs.mkdir()
    for name, script in {"srun": "exit 1", "sbatch": f'cat "$1" > {folder}/batch.sh\necho "Submitted batch job 4711"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return programs


@pytest.fixture
def submit(capsys):
    """Runs ``search submit`` in this process, and returns what it prints."""

    def run(*arguments):
        cli.main(["submit", *map(str, arguments)], prog_name="search", standalone_mode=False)
        return capsys.readouterr().out

    return run


def requeued(batch, **environ):
    """Returns what Slurm is told once the task of a batch file was told to end, and has."""
    stand_ins = 'scontrol() { echo "$@"; }\nsrun() { return 130; }\n'
    return subprocess.run(["bash", "-c", stand_ins + batch], env=environ, capture_output=True, text=True).stdout


def states(url):
    study = storage.open_study(url, "demo")
    found = Counter(trial.state.name for trial in study.get_trials())
    storage.close(study)
    return found


@pytest.mark.slow
def test_tasks_run_to_the_end_of_the_budget(write, search_process, postgresql, folder, assert_no_password):
    url = postgresql.new_database()
    keys = {"objective": '"objectives:parabola"', "trials": "9", "storage": f'"{url}"'}
    path = write(study=keys, objective={"pause": "0.05"}, **BLIND)
    # The pipe of its output ends with the last of the processes that it leaves.
    sent = search_process("submit", path, "--jobs", 2, "--time", "5m", "--cluster", "local", "--logs", "logs")
    assert "Started here: processes " in sent.stdout
    assert "search status demo.toml" in sent.stdout
    assert states(url) == {"COMPLETE": 9}
    said = [log.read_text() for log in (folder / "logs").glob("*_log.out")]
    assert len(said) == 2
    assert all("Nothing is left to start here: " in one for one in said)
    assert_no_password(*said, *(log.read_text() for log in (folder / "logs").glob("*.err")))


@pytest.mark.slow
def test_a_task_that_is_told_to_end_gives_back_its_trial(write, start, postgresql, folder, wait_for):
    """By submitit's own signal, which its local executor sends when the time is up."""
    url = postgresql.new_database()
    keys = {"objective": '"objectives:parabola"', "trials": "3", "storage": f'"{url}"'}
    path = write(study=keys, objective={"steps": "300", "pause": "0.1"}, **BLIND)

    def runs():
        with contextlib.suppress(SearchError):  # the study is yet to be made
            return states(url)["RUNNING"]

    submitting = start("submit", path, "--jobs", 1, "--time", "5m", "--cluster", "local")
    wait_for(runs)
    controller = next(iter(folder.glob("demo.jobs/*_submitted.pkl"))).name.partition("_")[0]
    (task,) = psutil.Process(int(controller)).children()
    task.send_signal(signal.SIGUSR2)
    output, errors = submitting.communicate()
    assert (submitting.returncode, errors) == (0, ""), output
    log = next(iter(folder.glob("demo.jobs/*_log.out"))).read_text()
    assert "Interrupted: " in log
    assert states(url) == {"FAIL": 1, "WAITING": 1}


def test_what_slurm_is_given(write, submit, slurm, folder):
    path = write(study=SERVER)
    options = ["--gpus", 1, "--cpus", 4, "--mem", "16G", "--time", "8h", "--partition", "gpu", "--slurm", "account=lab"]
    sent = submit(path, "--jobs", 16, "--workers", 2, *options, "--as", "other", "--slurm", "exclusive")
    assert "Sent: job 4711, tasks: 16. Their logs: other.jobs/4711_*" in sent
    assert "squeue --job 4711" in sent
    assert "search status demo.toml#other" in sent
    batch = (folder / "batch.sh").read_text()
    given = {line.removeprefix("#SBATCH ") for line in batch.splitlines() if line.startswith("#SBATCH")}
    assert given >= {
        "--array=0-15%16",
        "--job-name=other",
        "--gpus-per-node=1",
        "--cpus-per-task=4",
        "--ntasks-per-node=1",
        "--mem=16G",
        "--time=480",
        "--partition=gpu",
        "--account=lab",
        "--exclusive",
        "--signal=TERM@120",
        "--requeue",
    }
    assert len(list((folder / "other.jobs").glob("4711_*_submitted.pkl"))) == 16
    assert "--cpus-per-task=4 " in batch.splitlines()[-1], "srun does not take it from sbatch"
    assert requeued(batch, SLURM_JOB_ID="7", SLURM_ARRAY_JOB_ID="5", SLURM_ARRAY_TASK_ID="2") == "requeue 5_2\n"


def test_a_task_does_not_return_to_the_queue_where_the_user_says_so(write, submit, slurm, folder):
    submit(write(study=SERVER), "--jobs", 1, "--time", "90s", "--slurm", "no-requeue")
    batch = (folder / "batch.sh").read_text()
    assert "#SBATCH --no-requeue\n" in batch
    assert "#SBATCH --requeue" not in batch
    assert requeued(batch, SLURM_JOB_ID="7") == ""
    assert "#SBATCH --time=2\n" in batch
    assert "--array" not in batch
    submit("demo.toml", "--jobs", 1, "--time", "90s")
    assert requeued((folder / "batch.sh").read_text(), SLURM_JOB_ID="7") == "requeue 7\n", "one task is no array"


@pytest.mark.parametrize(
    ("study", "options", "expected"),
    [
        ({}, [], "must be a server, PostgreSQL or MySQL; got a file"),
        (SERVER, [], "needs Slurm's sbatch on the PATH; got none"),
        (SERVER, ["--storage", "postgresql://me:pa55@nowhere.example/x"], "a password must not be written to demo.jobs"),
        (SERVER, ["--slurm", "array=0-3"], "--slurm array: must be left to search submit (--jobs)"),
        (SERVER, ["--time", "soon"], "--time: must be a positive time"),
        (SERVER, ["--cluster", "local", "--logs", "objectives.py"], "objectives.py: must be a folder to write to"),
    ],
)
def test_what_is_refused_before_anything_is_sent(write, submit, folder, study, options, expected):
    with pytest.raises(SearchError) as refused:
        submit(write(study=study), "--jobs", 2, "--time", "1h", *options)
    assert expected in str(refused.value)
    assert "pa55" not in str(refused.value)
    assert not (folder / "demo.jobs").exists()


def test_what_sbatch_says_is_passed_on(write, submit, slurm):
    (slurm / "sbatch").write_text('#!/bin/sh\necho "sbatch: error: invalid partition specified: cpu" >&2\nexit 1\n')
    said = r"^sbatch: must take the tasks; got: sbatch: error: invalid partition specified: cpu\. Correct"
    with pytest.raises(SubmissionError, match=said):
        submit(write(study=SERVER), "--jobs", 2, "--time", "1h", "--partition", "cpu")


def test_without_submitit_the_extra_is_named(write, search_process, folder, environment):
    Path("submitit.py").write_text("raise ImportError")
    path = os.pathsep.join([str(folder), environment["PYTHONPATH"]])
    refused = search_process("submit", write(study=SERVER), "--jobs", 2, "--time", "1h", code=1, PYTHONPATH=path)
    assert "Install the extra: pip install 'tumorcls[submitit]'" in refused.stderr


def test_options_of_sbatch_are_read():
    assert parse_more(["--mail-type=END", "exclusive", "gpu_bind=none"]) == {
        "mail-type": "END",
        "exclusive": True,
        "gpu-bind": "none",
    }
    with pytest.raises(SubmissionError, match=r'--slurm: must be KEY=VALUE; got "=lab"\. Write'):
        parse_more(["=lab"])
