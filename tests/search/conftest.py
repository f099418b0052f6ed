import contextlib
import datetime
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from search import cli
from search.records.attributes import OWNER_KEY, SEED_KEY
from tests.in_process import run_in_process
from tests.patience import PATIENCE_S
from tests.search.servers import assert_no_password, mariadb, password, postgresql, small_disk  # noqa: F401  fixtures

REPOSITORY = Path(__file__).parents[2]

BASE = {
    "study": {
        "name": '"demo"',
        "objective": '"objectives:parabola"',
        "direction": '"maximize"',
        "metric": '"score"',
        "trials": "8",
    },
    "space": {"x": '{ type = "float", low = -10.0, high = 10.0 }'},
}


class Command(subprocess.Popen[str]):
    """A command in a process group of its own. What it left behind is told where it does not end."""

    def communicate(self, input=None, timeout=PATIENCE_S):
        try:
            return super().communicate(input, timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            said = "\n".join(super().communicate())
            logs = "\n".join(f"{log}: {log.read_text(errors='replace')[-2000:]}" for log in sorted(Path().glob("*.log")))
            pytest.fail(f"did not end within {timeout:g} s: {self.args!r}\n{said}\n{logs}")


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def pass_(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock, in the hands of a test."""
    return Clock(monkeypatch)


@pytest.fixture
def berlin(monkeypatch):
    """The time zone of a place whose clock goes back from 3:00 to 2:00 in the night to 2026-10-25."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(
    params=[datetime.timedelta(days=1), datetime.timedelta(days=-1), datetime.timedelta(minutes=-35)],
    ids=["goes on", "is set back", "has an hour twice"],
)
def two_launches(request, berlin):
    """A study of two launches, the second of which begins so much later by a wall clock: it has the better value.

    Trials of five seconds begin every ten; the second launch begins when the first has ended.
    """
    study = optuna.create_study(study_name="two", direction="maximize")
    night = datetime.datetime(2026, 10, 25, 2, 40)
    for number, (pid, value) in enumerate([(1, 5.0), (1, 1.0), (1, 1.0), (2, 9.0), (2, 1.0)]):
        owner = {"host": f"node{pid}", "pid": pid, "started": 1.0, "boot": f"boot{pid}", "worker": 0, "clock": 10.0 * number}
        trial = optuna.trial.create_trial(value=value, user_attrs={OWNER_KEY: owner})
        trial.datetime_start = night + datetime.timedelta(seconds=10 * number) + (pid - 1) * request.param
        trial.datetime_complete = trial.datetime_start + datetime.timedelta(seconds=5)
        study.add_trial(trial)
    return study


@pytest.fixture(scope="session")
def toml():
    """Returns the function that writes a study file's text."""
    return _toml


def _toml(**tables):
    """BASE with `tables` laid over it: values are TOML source, None removes a key or a table, a string is a whole table."""
    merged = {name: dict(table) for name, table in BASE.items()}
    for name, table in tables.items():
        if table is None or isinstance(table, str):
            merged[name] = table
        else:
            merged[name] = {**merged.get(name, {}), **table}
    lines = []
    for name, table in merged.items():
        if isinstance(table, str):
            lines.append(table)
        elif table is not None:
            lines += [f"[{name}]", *(f"{key} = {value}" for key, value in table.items() if value is not None)]
    return "\n".join(lines) + "\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test works in an empty folder with the fake objectives in it, far from any real study."""
    shutil.copy(Path(__file__).with_name("objectives.py"), tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("objectives", None)


@pytest.fixture
def write(folder, toml):
    """Writes a study file and returns its path."""

    def write_file(name="demo.toml", **tables):
        path = Path(name)
        path.write_text(toml(**tables))
        return path

    return write_file


@pytest.fixture(scope="session")
def environment():
    """The environment of a child that imports this source tree, wherever it runs."""
    paths = [str(REPOSITORY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), "COLUMNS": "200"}


@pytest.fixture
def search(folder, monkeypatch):
    """Runs a command of ``search`` to its end, in this process; its workers are processes all the same."""

    def run(*arguments, code=0, **extra):
        sys.modules.pop("objectives", None)  # a process of its own would read the file as it is now
        with monkeypatch.context() as patch:
            patch.setattr(sys, "warnoptions", ["error"])  # for the workers
            done = run_in_process(cli.main, "search", *map(str, arguments), **{"COLUMNS": "200", **extra})
        return _checked(done, code)

    return run


@pytest.fixture
def search_process(folder, environment):
    """Runs ``python -m search`` to its end, as `search` does: where the process is the point."""

    def run(*arguments, code=0, **extra):
        command = [sys.executable, "-W", "error", "-m", "search", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env={**environment, **extra})
        return _checked(done, code)

    return run


def _checked(done, code):
    """Returns what a command left, having made sure of its exit code, and that all it says is a line for each error."""
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    if code == 1:
        assert done.stderr
        assert all(line.startswith("error: ") for line in done.stderr.splitlines()), done.stderr
    return done


@pytest.fixture
def start(folder, environment):
    """Starts ``python -m search`` in a process group of its own, and sees to it that nothing of it outlives the test."""
    started = []

    def begin(*arguments, **extra):
        command = [sys.executable, "-m", "search", *map(str, arguments)]
        pipe = subprocess.PIPE
        env = {**environment, **extra}
        process = Command(command, stdout=pipe, stderr=pipe, text=True, env=env, start_new_session=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def wait_for():
    """Waits until a condition holds, and fails the test if it does not, however busy the machine may be."""

    def wait(condition, seconds=PATIENCE_S):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.05)
        pytest.fail("waited in vain")

    return wait


@pytest.fixture
def read_study(folder):
    """Opens a study as anybody with plain Optuna would."""
    import optuna

    def read(name="demo", url="sqlite:///demo.db"):
        kind, _, path = url.partition(":///")
        if kind == "journal":
            url = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
        return optuna.load_study(study_name=name, storage=url)

    return read


@pytest.fixture(scope="session")
def results():
    """Returns what must not depend on kills and retries: parameters, seeds, values, reports of the trials that finished."""

    def read(study):
        kept = [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]
        return [(t.params, t.user_attrs[SEED_KEY], t.values, t.intermediate_values, t.state) for t in kept]

    return read
