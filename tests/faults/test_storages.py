"""A storage is deleted, cut, damaged or replaced under its driver, raced for, and read by all sorts of programs at once.

Whatever happens, each finished trial is in the storage with its value, or the launch ends with one line, exit code 1, and all
of its trials in a file beside it.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from search.records.attributes import FINALIST_KEY, IMPORTED_KEY, SEED_KEY, WARM_KEY
from search.storage import open as storage
from tests.patience import PATIENCE_S
from tests.search.keras_tuner.conftest import write_project
from tests.search.keras_tuner.projects import trial
from tests.search.servers import assert_no_password, mariadb, postgresql, small_disk

__all__ = ["assert_no_password", "mariadb", "postgresql", "small_disk", "write_project"]

TRIALS = 60
SLOW = {"study": {"trials": str(TRIALS)}, "objective": {"steps": "2", "pause": "0.05"}, "pruner": {"name": '"none"'}}
PLACES = {"sqlite": "sqlite:///store/demo.db", "journal": "journal:///store/demo.log"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, toml, environment):
    """The values that the study's trials have, whatever happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copy(Path(__file__).parents[1] / "search" / "objectives.py", folder)
    tables = {**SLOW, "objective": {"steps": "2"}}
    (folder / "demo.toml").write_text(toml(**tables))
    command = [sys.executable, "-m", "search", "launch", "demo.toml", "--quiet"]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return [trial.value for trial in optuna.load_study(study_name="demo", storage=f"sqlite:///{folder}/demo.db").trials]


def values(url, name="demo"):
    study = storage.open_study(url, name)
    found = {trial.number: trial.value for trial in study.trials if trial.state.name == "COMPLETE"}
    storage.close(study)
    return found


def other_study(path):
    url = f"{'journal' if path.suffix == '.log' else 'sqlite'}:///{path}"
    made = storage.create_study(url, "demo", ["maximize"], ["score"])
    for number in range(60):
        made.add_trial(optuna.create_trial(value=float(number)))
    storage.close(made)
    return path


def delete(path):
    path.unlink()


def empty(path):
    os.truncate(path, 0)


def cut(path):
    os.truncate(path, path.stat().st_size // 3)


def garbage(path):
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4)
        file.write(os.urandom(size // 2))


def replace(path):
    other_study(path.with_stem("other")).replace(path)


def overwrite(path):
    shutil.copyfile(other_study(path.with_stem("other")), path)


def remove_folder(path):
    while path.parent.exists():
        shutil.rmtree(path.parent, ignore_errors=True)  # the driver may write into it in this very moment


def rename_folder(path):
    path.parent.rename("elsewhere")


def delete_log(path):
    path.with_name(f"{path.name}-wal").unlink()


def empty_log(path):
    os.truncate(f"{path}-wal", 0)


def delete_index(path):
    path.with_name(f"{path.name}-shm").unlink()


def sql(statement):
    def run(path):
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            connection.executescript(statement)

    return run


def delete_study(path):
    optuna.delete_study(study_name="demo", storage=f"sqlite:///{path}")


EVERYWHERE = [delete, empty, cut, garbage, replace, overwrite, remove_folder, rename_folder]
IN_SQLITE = {
    "log deleted": delete_log,
    "log emptied": empty_log,
    "index deleted": delete_index,
    "a table dropped": sql("DROP TABLE trial_values"),
    "the schema dropped": sql("DROP TABLE trials; DROP TABLE studies; DROP TABLE study_user_attributes"),
    "trials deleted": sql("DELETE FROM trials WHERE number < 2"),
    "a value changed": sql("UPDATE trial_values SET value = 7 WHERE trial_id = 2"),
    "the study deleted": delete_study,
    "the study renamed": sql("UPDATE studies SET study_name = 'other'"),
}


def attack(write, start, url, harm):
    """Does harm to a storage in the middle of a launch; returns how that ended."""
    Path("store").mkdir()
    write(**{**SLOW, "study": {**SLOW["study"], "storage": f'"{url}"'}})
    driver = start("launch", "demo.toml")
    for _ in range(3):
        while " complete" not in driver.stdout.readline():
            assert driver.poll() is None
    harm()
    _, errors = driver.communicate()
    return driver.returncode, errors


def assert_saved(errors, undisturbed):
    """One line says so, and names a file with all trials that the driver had ended."""
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith("error: "), errors
    assert "No further trial is started." in errors
    saved = re.search(r"search status '(journal:///[^']*)#demo'", errors)
    assert saved, errors
    found = values(saved.group(1))
    assert len(found) >= 3
    assert found == {number: undisturbed[number] for number in found}
    assert sorted(found) == list(range(len(found)))
    return saved.group(1), len(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("harm", EVERYWHERE)
def test_a_file_is_harmed(write, start, search, undisturbed, kind, harm):
    code, errors = attack(write, start, PLACES[kind], lambda: harm(Path(PLACES[kind].partition("///")[2])))
    if code == 0:  # what was harmed had been written anew from the log
        assert values(PLACES[kind]) == dict(enumerate(undisturbed))
        return
    assert code == 1
    saved, count = assert_saved(errors, undisturbed)
    assert count < TRIALS, "it ends at once"
    search("launch", "demo.toml", "--storage", saved)
    assert sorted(values(saved).values()) == sorted(undisturbed), "and goes on from there"


@pytest.mark.slow
@pytest.mark.parametrize("harm", IN_SQLITE.values(), ids=IN_SQLITE)
def test_a_database_is_harmed(write, start, undisturbed, harm):
    code, errors = attack(write, start, PLACES["sqlite"], lambda: harm(Path("store/demo.db")))
    if code == 0:
        assert values(PLACES["sqlite"]) == dict(enumerate(undisturbed))
        return
    assert code == 1
    assert_saved(errors, undisturbed)


# Raced for ------------------------------------------------------------------------------------------------------------------

READY = """
import sys
import optuna
from search.results import finalists, status
from search.driver import launch as launching, warm_start
from search.storage import reference, open as storage
from search.study_file import samplers, load as study_file
from search.cli import main
from search.keras_tuner import importing
from search.driver.ownership import Owner
exec(sys.argv.pop(1))
print("ready", flush=True)
sys.stdin.readline()
main()
"""

WIDE = """
import time
def slowly(self, may_live=Owner.may_live):
    time.sleep(0.3)
    return may_live(self)
def read(attr, from_attr=Owner.from_attr):
    time.sleep(0.3)
    return from_attr(attr)
Owner.may_live, Owner.from_attr = slowly, read
"""
"""Widens the window between reading who drives a study and writing it."""

WIDE_MARK = """
import secrets, time
def token(size, token_hex=secrets.token_hex):
    time.sleep(0.5)
    return token_hex(size)
secrets.token_hex = token
"""
"""Widens that between reading that a study has no token and giving it one."""


@pytest.fixture
def race(environment):
    """Runs a command twice in the same instant; returns what the two that ran it say."""

    def run(*arguments, first=""):
        command = [sys.executable, "-c", READY, first, *map(str, arguments)]
        pipe = subprocess.PIPE
        pair = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) for _ in "ab"]
        for process in pair:
            assert process.stdout.readline() == "ready\n", process.communicate()
        for process in pair:
            process.stdin.write("\n")
            process.stdin.flush()
        said = [process.communicate(timeout=PATIENCE_S) for process in pair]
        return [(process.returncode, *texts) for process, texts in zip(pair, said, strict=True)]

    return run


def assert_one_drove(ended):
    """One of two drove the study, and the other says so in one line; where the first was done already, both have."""
    codes = sorted(code for code, *_ in ended)
    if codes == [0, 0]:
        return
    assert codes == [0, 1], ended
    (errors,) = (errors for code, _, errors in ended if code == 1)
    assert errors.startswith('error: study "demo'), errors
    assert "one driver at a time; got one at work" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite:///raced.db", "journal:///raced.log"])
@pytest.mark.parametrize("first", ["", WIDE], ids=["as it is", "with a wide window"])
def test_two_launches_in_one_instant(write, race, url, first):
    write(study={"trials": "5", "storage": f'"{url}"'})
    for _ in range(int(os.environ.get("RACES", "3"))):
        assert_one_drove(race("launch", "demo.toml", first=first))
        study = storage.open_study(url, "demo")
        assert [trial.state.name in ("COMPLETE", "PRUNED") for trial in study.trials] == [True] * 5
        storage.close(study)
        for path in Path().glob("raced.*"):
            path.unlink()


@pytest.mark.slow
def test_two_resumes_after_a_kill_in_one_instant(write, race, start, wait_for):
    write(study={"trials": "6", "objective": '"objectives:gated"'})
    driver = start("launch", "demo.toml")
    wait_for(Path("waiting").exists)
    driver.kill()
    driver.wait()
    Path("gate").touch()
    assert_one_drove(race("launch", "demo.toml", first=WIDE))
    study = storage.open_study("sqlite:///demo.db", "demo")
    assert [trial.state.name for trial in study.trials].count("FAIL") == 1
    assert sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in study.trials) == 6
    storage.close(study)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", WIDE], ids=["as it is", "with a wide window"])
def test_two_finalists_in_one_instant(write, race, search, first):
    write(study={"trials": "5"})
    search("launch", "demo.toml")
    assert_one_drove(race("finalists", "demo.toml", "--top", "2", "--seeds", "2", first=first))
    study = storage.open_study("sqlite:///demo.db", "demo-finalists")
    pairs = [(trial.user_attrs[FINALIST_KEY], trial.user_attrs[SEED_KEY]) for trial in study.trials]
    assert len(pairs) == len(set(pairs)) == 4
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    storage.close(study)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", WIDE], ids=["as it is", "with a wide window"])
def test_two_warm_starts_in_one_instant(write, race, search, first):
    write(study={"trials": "5"}, pruner={"name": '"none"'})
    search("launch", "demo.toml")
    assert_one_drove(race("launch", "demo.toml", "--as", "demo-2", "--warm-start", "demo", "--trials", "2", first=first))
    study = storage.open_study("sqlite:///demo.db", "demo-2")
    assert [WARM_KEY in trial.user_attrs for trial in study.trials] == [True] * 5 + [False] * 2
    storage.close(study)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", WIDE, WIDE_MARK], ids=["as it is", "with a wide window", "before the token"])
def test_two_imports_in_one_instant(write_project, race, first):
    project = write_project(*(trial({"x": x / 10}, score=x / 10) for x in range(8)))
    assert_one_drove(race("import-keras-tuner", project, "--study", "demo", "--storage", "sqlite:///demo.db", first=first))
    study = storage.open_study("sqlite:///demo.db", "demo")
    names = [trial.user_attrs[IMPORTED_KEY] for trial in study.trials]
    assert len(names) == len(set(names)) == 8
    storage.close(study)


# Read by all sorts of programs ----------------------------------------------------------------------------------------------

AUDIT = """
import sys
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)) and ".db" in str(arguments[0]):
        print("opened", arguments[0], file=sys.stderr, flush=True)
sys.addaudithook(watch)
from search.cli import main
main()
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("launch", "demo.toml", "--trials", "7"),
        ("launch", "demo.toml", "--as", "demo-2", "--warm-start", "demo"),
        ("finalists", "demo.toml", "--top", "2", "--seeds", "2"),
        ("status", "demo.toml"),
        ("report", "demo.toml"),
        ("export", "demo.toml"),
        ("compare", "demo.toml", "sqlite:///other.db", "-o", "compare.html"),
    ],
    ids=lambda arguments: " ".join(arguments[:1]),
)
def test_nothing_but_sqlite_opens_a_database(write, search, environment, arguments):
    """Any other handle on the file that a process closes drops the locks that SQLite has on it there."""
    write(study={"trials": "5"}, pruner={"name": '"none"'})
    search("launch", "demo.toml", "--quiet")
    other = optuna.create_study(study_name="other", storage="sqlite:///other.db", direction="maximize")
    other.add_trial(optuna.trial.create_trial(value=1.0))
    done = subprocess.run([sys.executable, "-c", AUDIT, *arguments], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


class Beside:
    """Runs commands beside a driver, over and over, until told to stop."""

    def __init__(self, environment):
        self.failed, self.rounds = [], 0
        self._environment = environment
        self._over = threading.Event()
        self._threads = []

    def add(self, *command):
        def work():
            while not self._over.is_set():
                done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=self._environment)
                self.rounds += 1
                if done.returncode:
                    self.failed.append((command, done.stdout, done.stderr))

        self._threads.append(threading.Thread(target=work))
        self._threads[-1].start()

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def beside(environment):
    running = Beside(environment)
    yield running
    running.stop()


SEARCH = (sys.executable, "-m", "search")
OPENS = "open('demo.db', 'rb').read(); __import__('time').sleep(0.02)"
COPIES = "import sqlite3; a, b = sqlite3.connect('demo.db'), sqlite3.connect('copy.db'); a.backup(b); a.close(); b.close()"
ROUNDS = int(os.environ.get("ROUNDS", "1"))


@pytest.mark.slow
def test_finalists_lose_nothing_beside_readers(write, search, start, beside):
    write(study={"trials": "6"}, objective={"steps": "2", "pause": "0.05"})
    search("launch", "demo.toml")
    dashboard = start("dashboard", "demo.toml", "--port", "0")
    assert "http://" in dashboard.stdout.readline()
    beside.add(*SEARCH, "status", "demo.toml")
    beside.add(sys.executable, "-c", OPENS)
    for seeds in range(4, 4 + ROUNDS):
        done = search("finalists", "demo.toml", "--top", "4", "--seeds", str(seeds), "--quiet")
        assert "Winner" in done.stdout
        plain = optuna.load_study(study_name="demo-finalists", storage="sqlite:///demo.db")
        assert [trial.state.name for trial in plain.trials] == ["COMPLETE"] * 4 * seeds
        plain._storage._backend.engine.dispose()  # type: ignore[attr-defined]
    assert (beside.failed, beside.rounds > 1) == ([], True)


@pytest.mark.slow
def test_a_launch_loses_nothing_beside_readers_and_copies(write, search, beside, undisturbed):
    write(**SLOW)
    search("launch", "demo.toml", "--trials", "1")
    optuna_command = "from optuna.cli import main; main()"
    beside.add(*SEARCH, "report", "demo.toml", "-o", "beside.html")
    beside.add(sys.executable, "-c", optuna_command, "trials", "--study-name", "demo", "--storage", "sqlite:///demo.db")
    beside.add("cp", "demo.db", "backup.db")
    beside.add(sys.executable, "-c", COPIES)
    beside.add(sys.executable, "-c", OPENS)
    for trials in range(2, TRIALS + 1, max(1, (TRIALS - 1) // ROUNDS)):
        search("launch", "demo.toml", "--trials", str(trials), "--quiet")
    search("launch", "demo.toml", "--quiet")
    beside.stop()
    assert (beside.failed, beside.rounds > 1) == ([], True)
    assert values("sqlite:///demo.db") == dict(enumerate(undisturbed))


# Servers --------------------------------------------------------------------------------------------------------------------


def drop(server, name):
    force = " WITH (FORCE)" if server.scheme == "postgresql" else ""
    server.execute(f"DROP DATABASE {name}{force}")


def truncate(server, name):
    sql = {
        "postgresql": [*server.sql[:-2], name, "-c", "TRUNCATE studies CASCADE"],
        "mariadb": [*server.sql, f"USE {name}; SET FOREIGN_KEY_CHECKS = 0; TRUNCATE studies; TRUNCATE trials"],
    }[server.scheme]
    subprocess.run(sql, check=True, capture_output=True, user=server.account)


@pytest.mark.slow
@pytest.mark.parametrize("harm", [drop, truncate])
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_database_of_a_server_is_dropped(request, write, start, undisturbed, assert_no_password, kind, harm):
    server = request.getfixturevalue(kind)
    url = server.new_database()
    code, errors = attack(write, start, url, lambda: harm(server, url.rpartition("/")[2]))
    assert code == 1
    assert_saved(errors, undisturbed)
    assert_no_password(errors, Path("demo.rescued.log").read_text())


# Disks ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLACES)
def test_a_disk_runs_full(small_disk, write, start, search, undisturbed, kind):
    """Nothing is lost of what was stored, and the end that found no room is in the file that is saved elsewhere."""
    url = PLACES[kind].replace("store/", "small/")
    filler = small_disk / "filler"
    code, errors = attack(
        write, start, url, lambda: filler.write_bytes(b"x" * max(0, shutil.disk_usage(small_disk).free - 8192))
    )
    assert code == 1
    assert len(errors.splitlines()) == 1
    assert errors.startswith("error: ")
    filler.unlink()
    assert set(values(url).items()) <= set(enumerate(undisturbed))
    search("launch", "demo.toml", "--trials", "6")  # the log of more would not find room
    found = values(url)
    assert len(found) >= 6
    assert sorted(found.values()) == sorted(undisturbed[: len(found)])


@pytest.mark.parametrize("kind", PLACES)
def test_a_disk_that_nobody_may_write_to_is_read(small_disk, write, search, kind):
    url = PLACES[kind].replace("store/", "small/")
    path = write(study={"trials": "3", "storage": f'"{url}"'})
    search("launch", path)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "3/3 trials finished" in search("status", path).stdout
    assert "x = " in search("export", path).stdout
    search("report", path)
    refused = search("launch", path, code=1).stderr
    assert "Give yourself write permission to the file and its folder" in refused


def test_a_log_that_cannot_be_read_in_says_so(small_disk, write, search):
    path = write(study={"trials": "3", "storage": '"sqlite:///small/demo.db"'})
    search("launch", path)
    script = "import os, sqlite3; c = sqlite3.connect('small/demo.db'); c.execute('PRAGMA user_version = 1'); os._exit(0)"
    subprocess.run([sys.executable, "-c", script], check=True)
    Path("small/demo.db-shm").unlink()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "Copy the file with its demo.db-wal to where you may write" in search("status", path, code=1).stderr


# Who only reads -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLACES)
def test_a_dashboard_beside_a_driver_only_reads(write, start, search, wait_for, kind):
    url = PLACES[kind]
    Path("store").mkdir()
    write(study={"objective": '"objectives:gated"', "storage": f'"{url}"', "trials": "2"})
    driver = start("launch", "demo.toml")
    wait_for(Path("waiting").exists)
    dashboard = start("dashboard", "demo.toml", "--port", "0")
    address = dashboard.stdout.readline().split()[0]
    told = dashboard.stderr.readline()
    assert f"is open for reading alone, as process {driver.pid} on" in told
    assert "notes and names cannot be edited here" in told
    with urllib.request.urlopen(f"{address.replace('/dashboard', '/api')}?after=0") as answer:
        assert json.loads(answer.read())["trials"][0]["state"] == "Running"
    Path("gate").touch()
    _, errors = driver.communicate()
    assert (driver.returncode, errors) == (0, "")


def test_readers_write_nothing(write, search):
    write(study={"trials": "3"})
    search("launch", "demo.toml")
    before = Path("demo.db").read_bytes()
    script = "import os, sqlite3; c = sqlite3.connect('demo.db'); c.execute('PRAGMA user_version = 1'); os._exit(0)"
    subprocess.run([sys.executable, "-c", script], check=True)  # a driver that was killed
    log = Path("demo.db-wal").read_bytes()
    for command in ("status", "export", "report"):
        search(command, "demo.toml")
    assert (Path("demo.db").read_bytes(), Path("demo.db-wal").read_bytes()) == (before, log)


def test_a_database_has_one_name(write, search):
    write(study={"trials": "3"})
    search("launch", "demo.toml")
    os.link("demo.db", "twin.db")
    assert "a database must have one name" in search("launch", "demo.toml", code=1).stderr
    assert "3/3 trials finished" in search("status", "demo.toml").stdout
