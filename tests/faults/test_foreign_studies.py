"""Every command on studies of anybody's: a page, a table or one line, and never a traceback."""

import contextlib
import json
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
import warnings
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning

from search import cli
from search.driver.warm_start import warm_start
from search.errors import SearchError
from search.results.dashboard import save_charts, save_note
from search.results.report.page import render
from search.storage import open as storage
from search.storage import reference
from search.study_file.load import load
from tests.faults.foreign import KINDS, MARKUP, fill
from tests.patience import PATIENCE_S

FILE = """[study]
name = "new"
objective = "objective:f"
directions = {directions}
trials = 2
[space]
x = {{ type = "float", low = -10.0, high = 10.0 }}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("objective.py").write_text("def f(trial):\n    return trial.suggest_float('x', -10, 10)\n")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return tmp_path


@pytest.fixture
def search(monkeypatch, capsys):
    """Runs a command in this process: exit code, stdout, stderr. What is neither done nor one line fails the test."""

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["search", *map(str, arguments)])
        with pytest.raises(SystemExit) as left, warnings.catch_warnings():
            cli.main()
        out, err = capsys.readouterr()
        assert left.value.code in (0, 1, None), (arguments, err)
        if left.value.code == 1:
            assert err.startswith("error: ")
            assert len(err.splitlines()) == 1, err
        return left.value.code or 0, out, err

    return run


def plain_optuna(url):
    if url.startswith("sqlite"):
        return optuna.storages.RDBStorage(url)
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(url.partition(":///")[2]))


def make(kind, url):
    """Returns the study, and the directions as a study file has them; the storage may refuse to hold such a one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study = KINDS[kind](plain_optuna(url))
    return study, [direction.name.lower() for direction in study.directions]


@contextlib.contextmanager
def opened_once(url):
    """Has the commands of the block find a study opened, which takes longer than what each of them does with a trial."""
    opened = reference.open_reference(url, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "open_reference", lambda *_: opened)
        patch.setattr(storage, "close", lambda study: None)
        yield
    storage.close(opened.study)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
@pytest.mark.parametrize("backend", ["sqlite", "journal"])
@pytest.mark.parametrize("kind", KINDS)
def test_whoever_made_it(search, kind, backend):
    url = f"{backend}:///foreign.db"
    other = f"{backend}:///other.db"
    try:
        study, directions = make(kind, url)
    except UnicodeEncodeError:
        assert backend == "sqlite", "a journal takes everything that JSON does"
        return
    shutil.copy("foreign.db", "other.db")  # Optuna would take long to write the same once more
    count, results = (
        len(study.trials),
        [t for t in study.trials if t.state.name == "COMPLETE" and all(map(math.isfinite, t.values))],
    )
    for arguments in (("status", url), ("status", "--all", url)):
        assert search(*arguments)[0] == 0
    for arguments in (
        ("report", url, "-o", "report.html"),
        ("export", url, "-o", "best.toml"),
        ("compare", f"a={url}", f"b={other}"),
    ):
        search(*arguments)
    search("export", url, "--by", "compromise")
    with opened_once(url):
        for number in range(min(count, 40)):
            search("export", url, "--trial", number)
    if Path("best.toml").exists():
        exported = tomllib.loads(Path("best.toml").read_text())["provenance"]
        assert exported["trial"] in {trial.number for trial in results}
    Path("new.toml").write_text(FILE.format(directions=json.dumps(directions)))
    new, spec = optuna.create_study(directions=directions), load(Path("new.toml"))
    source = storage.open_study(url, None, writable=True)
    taken = warm_start(new, spec, source)
    assert taken is not None
    assert taken.taken <= len(results)
    with contextlib.suppress(SearchError):
        save_charts(source)
        save_note(source, spec, "demo.toml")


def test_no_script_but_its_own_runs_on_a_page():
    study = optuna.create_study(study_name=MARKUP)
    space = {MARKUP: optuna.distributions.CategoricalDistribution([MARKUP, '<img src="http://example.com/x.png">'])}
    fill(study, [1.0, 2.0, 3.0], space=space, user_attrs={"search:failure": MARKUP})
    fill(study, [None], space=space, state="FAIL", user_attrs={"search:failure": MARKUP, "search:traceback": MARKUP})
    page = render(study)
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    [nonce] = re.findall(r"'nonce-(\w+)'", policy)
    own = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)
    assert len(re.findall("<script", own)) == own.count(f'nonce="{nonce}"') > 2
    assert "<img" not in own


def raw(kind, statement, *values):
    """A study that is changed below Optuna."""
    make(kind, "sqlite:///raw.db")
    with closing(sqlite3.connect("raw.db")) as connection, connection:
        connection.execute(statement, values)


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'deep', ?)", DEEP),
        (
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'search:config', ?)",
            '{"a":' * 900 + "1" + "}" * 900,
        ),
        ("INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, 'deep', ?)", DEEP),
        ("INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'x', ?)", "{not json"),
        ("UPDATE trial_params SET distribution_json = ?", '{"name": "NoDistribution", "attributes": {}}'),
        ("UPDATE trial_params SET distribution_json = ?", "{"),
        ("UPDATE trial_params SET param_value = ?", 1e9),
        ("UPDATE trials SET datetime_start = ?", None),
        ("UPDATE trials SET datetime_complete = ?", None),
        ("UPDATE trial_values SET value = ?", None),
        ("DELETE FROM trial_values WHERE 1 OR ?", None),
        ("DELETE FROM study_directions WHERE 1 OR ?", None),
        ("UPDATE trials SET number = ?", 0),
        ("UPDATE trials SET number = number + ?", 10),
        ("UPDATE trials SET state = ?", "GONE"),
    ],
)
def test_what_no_optuna_wrote(search, statement, value):
    raw("one trial", statement, value)
    url, sound = "sqlite:///raw.db", "sqlite:///sound.db"
    make("one trial", sound)
    for arguments in (("status", url), ("report", url, "-o", "r.html"), ("export", url), ("compare", f"a={url}", f"b={sound}")):
        search(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_terminal_that_knows_ascii_only(encoding):
    make("name: unicode", "sqlite:///a.db")
    url = "sqlite:///a.db"
    env = {**os.environ, **encoding, "PYTHONPATH": str(Path(cli.__file__).parents[1]), "COLUMNS": "80"}
    for arguments in (["status", url], ["export", url], ["report", url, "-o", b"\xff\xfe.html"], ["status", "no\udcff.toml"]):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "search", *arguments],
            env=env,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert b"Traceback" not in done.stderr
        assert done.returncode == (arguments[-1] == "no\udcff.toml")
        assert not done.returncode or len(done.stderr.splitlines()) == 1
    assert os.path.exists(b"\xff\xfe.html")


@pytest.mark.slow
def test_tumorcls_on_a_terminal_that_knows_ascii_only():
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    for arguments, code in (
        (["phantoms", "na\u00efve [/red] \u2192", "--images", "40"], 0),
        (["phantoms", b"\xff\xfe\n", "--images", "40"], 0),
        (["audit", "na\u00efve [/red] \u2192"], 0),
        (["audit", b"\xfa\x1b[31m\n"], 1),
        (["train", "--config", b"\xfa\x1b[31m\n", "-o", "m.keras"], 1),
    ):
        command = [sys.executable, "-m", "tumorcls", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, timeout=PATIENCE_S, check=False)
        assert b"Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, (arguments, done)
        assert b"\x1b" not in done.stderr + done.stdout
        assert not code or len(done.stderr.splitlines()) == 1
