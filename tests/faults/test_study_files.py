"""Study files from strangers, and what editors and accidents make of ours: one line, or a study that runs; never a hang."""

import copy
import datetime
import json
import math
import os
import random
import subprocess
import sys
import time
import tomllib
import warnings
from pathlib import Path

import optuna
import pytest
import tomli_w

from search.driver.ask import TrialSource
from search.driver.compatibility import check_same
from search.driver.initial_design import initial_design
from search.errors import ObjectiveError, SearchError, StudyError, StudyFileError
from search.records.attributes import FAILURE_KEY, traceback_of
from search.storage import open as storage
from search.study_file import pruners, samplers
from search.study_file.env import AsWritten
from search.study_file.load import load
from search.workers.process import build_objective
from tests.patience import PATIENCE_S

STUDIES = Path(__file__).parents[2] / "studies"
FILES = {name: (STUDIES / f"{name}.toml").read_bytes() for name in ("quickstart", "brain-mri")}

NASTY = [
    *(None, True, False, 0, -1, 1, 2, 3, 0.0, -0.0, 0.1, 0.5, 1.0, 5e-324, 2.2e-308, 1e-300, 1e300, 1e308, -1e308),
    *(float("inf"), float("-inf"), float("nan"), 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**18, 10**40),
    *("", " ", "x", "1", "1e400s", "infs", "nan", "0s", "9" * 400 + "d", "1.5h", "99999999999999999999GB", "4GB", "auto"),
    *(
        "a\nb",
        "a\0b",
        "\x1b[31m",
        "\u202egnp.exe",
        "ü",
        "u\u0308",
        "e" * 10_000,
        "[bold]",
        "{x}",
        "%s",
        "${HOME}",
        "${",
        "../x",
    ),
    *("sqlite:///a?b.db", "sqlite:///:memory:", "mysql://u:p@h/d?a=b", "subprocess:Popen", "a.b.c:D", "tpe", "grid", "none"),
    *("random", "qmc", "nsgaii", "nsgaiii", "gp", "cmaes", "hyperband", "median", "wilcoxon", "threshold", "patient"),
    *("float", "int", "categorical", "maximize", "minimize", "learning_rate", "epochs", "data"),
    *([], {}, [[]], [{}], {"x": 1}, [1, 1.0, True], ["a", 1, 2.5], list(range(1001)), ["x"] * 3, {"name": "median"}, [None]),
    *({"param": "epochs", "is": 6}, {"param": "batch_size", "in": [16, 32]}, {"param": "dropout", "is": 0.1}),
    *(
        {"type": "float", "low": 0.0, "high": 1.0},
        {"type": "int", "low": 1, "high": 10**9},
        {"type": "categorical", "choices": [1]},
    ),
]
KEYS = [
    *("name", "objective", "storage", "direction", "directions", "metric", "metrics", "trials", "seed", "timeout", "patience"),
    *("max_reports", "max_device_time", "max_failures", "max_retries", "report_timeout", "worker_memory", "worker_trials"),
    *(
        "workers_per_device",
        "executor",
        "environment",
        "type",
        "low",
        "high",
        "log",
        "step",
        "choices",
        "when",
        "param",
        "is",
        "in",
    ),
    *("n_startup_trials", "n_ei_candidates", "multivariate", "group", "constant_liar", "initial_design", "population_size"),
    *("mutation_prob", "crossover_prob", "swapping_prob", "dividing_parameter", "qmc_type", "scramble", "popsize", "lr_adapt"),
    *("n_warmup_steps", "interval_steps", "n_min_trials", "percentile", "min_resource", "max_resource", "reduction_factor"),
    *("min_early_stopping_rate", "bootstrap_count", "patience", "min_delta", "wrapped", "lower", "upper", "p_threshold"),
    *(
        "epochs",
        "dropout",
        "x",
        "ü",
        "a.b",
        "",
        " ",
        "x" * 300,
        "a\nb",
        "\u202e",
        "study",
        "space",
        "sampler",
        "pruner",
        "enqueue",
    ),
]


def places(value, path=()):
    """Every place below the top of a document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def mutate_tables(tables, rng):
    """One to three changes of values, keys and tables; None stands for what TOML has not, and is removed."""
    tables = copy.deepcopy(tables)
    for _ in range(rng.choice([1, 1, 2, 3])):
        *way, last = rng.choice(list(places(tables)))
        holder = tables
        for key in way:
            holder = holder[key]
        kind = rng.randrange(7)
        if kind <= 2:
            holder[last] = copy.deepcopy(rng.choice(NASTY))
        elif kind == 3:
            holder.pop(last)
        elif kind == 4 and isinstance(holder, dict):
            holder[rng.choice(KEYS)] = holder.pop(last)
        elif kind == 5 and isinstance(holder, dict):
            holder[rng.choice(KEYS)] = copy.deepcopy(rng.choice(NASTY))
        else:
            for _ in range(rng.choice([1, 5, 30])):
                holder[last] = rng.choice([[holder[last]], {"x": holder[last]}])
    return tomli_w.dumps(without_none(tables)).encode()


def without_none(value):
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value if item is not None] if isinstance(value, list) else value


def mutate_bytes(content, rng):
    """One to eight bytes changed, removed or put in, or a part cut out or doubled."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 2, 8])):
        at = rng.randrange(len(content))
        kind = rng.randrange(6)
        if kind == 0:
            content[at] = rng.randrange(256)
        elif kind == 1:
            del content[at]
        elif kind == 2:
            content[at:at] = rng.choice(
                [b"9", b"-", b".", b'"', b"[", b"]", b"{", b"}", b"=", b"\n", b"\r", b"\0", b"e", b"_", b"#"]
            )
        elif kind == 3:
            del content[at : at + rng.randrange(60)]
        elif kind == 4:
            content[at:at] = content[at : at + rng.randrange(60)]
        else:
            content[at:at] = rng.choice(
                [b"9" * 30, b"9" * 5000, b"[" * 2000, b"a." * 40, "\ufeffü\u202e".encode(), b"'''", b'"""']
            )
    return bytes(content)


def try_study(path):
    """Loads a study and asks for two trials in memory; returns the line where it is refused."""
    try:
        spec = load(path)
    except SearchError as error:
        return str(error)
    study = optuna.create_study(directions=list(spec.directions))
    study.pruner = pruners.make(spec.pruner.name, spec.pruner.options)
    startup = samplers.startup_trials(spec.sampler.name, spec.sampler.options)
    list(initial_design(spec.space, spec.conditions, startup, spec.seed))
    asker = TrialSource(study, spec)
    for _ in range(2):
        if (trial := asker.ask({})) is None or asker.exhausted:
            break
        if len(spec.directions) == 1:
            trial.report(0.5, 0)
            trial.should_prune()
        study.tell(trial, [0.5] * len(spec.directions))
    return None


def check_lines(lines, path):
    assert len(lines.splitlines()) <= 21
    for line in lines.splitlines():
        assert line.startswith(f"{path}: ")
        assert len(line) < 1500
        assert line.isprintable(), "nothing moves the cursor, and each error is one line"


def fuzz(rounds, seed, path):
    """Returns how many mutations ran, and how many were refused."""
    rng = random.Random(seed)
    ran = 0
    for at in range(rounds):
        content = FILES[rng.choice(list(FILES))]
        mutated = mutate_bytes(content, rng) if rng.random() < 0.4 else mutate_tables(tomllib.loads(content.decode()), rng)
        path.write_bytes(mutated)
        begun = time.process_time()
        try:
            line = try_study(path)
            if line is not None:
                check_lines(line, path)
        except BaseException:
            print(f"mutation {at} of seed {seed}:\n{mutated[:3000]!r}")
            raise
        assert time.process_time() - begun < 10, mutated[:3000]
        ran += line is None
    return ran, rounds - ran


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_study_file_is_one_line_or_a_study_that_runs(seed, tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        ran, refused = fuzz(500, seed, tmp_path / "study.toml")
    assert ran > 20, "the mutations must leave something to run"
    assert refused > 100, "the mutations must break something"


BASE = '[study]\nname = "d"\nobjective = "o:p"\ndirection = "maximize"\ntrials = 8\n'
SPACE = '[space]\nx = { type = "float", low = 0.0, high = 1.0 }\n'


def study(line="", space=SPACE, rest=""):
    return f"{BASE}{line}\n{space}{rest}\n"


def parameters(count, source):
    return "[space]\n" + "\n".join(f"x{at} = {source}" for at in range(count)) + "\n"


def floats(rest):
    return f'[space]\nx = {{ type = "float", {rest} }}\n'


def choices(listed):
    return f'[space]\nx = {{ type = "categorical", choices = {listed} }}\n'


WHOLE = '{ type = "int", low = 1, high = 10 }'
HOSTILE = {
    "nested arrays": (study(rest="[objective]\na = " + "[" * 1000 + "]" * 1000), "nested 20 deep"),
    "nested tables": (study(rest="[objective]\na = " + "{ a = " * 1000 + "1" + " }" * 1000), "nested 20 deep"),
    "a dotted key": (study(rest="[objective]\n" + ".".join(["a"] * 60_000) + " = 1"), "nested 20 deep"),
    "a dotted table": (study(rest="[" + " . ".join(['"a"'] * 30_000) + "]"), "nested 20 deep"),
    "5,000 digits": (study("seed = " + "1" * 5000), "must be TOML in UTF-8; got: Exceeds the limit"),
    "4,000 digits": (study("seed = " + "1" * 4000), "must fit in 64 bits, as TOML has it; got one of 4000 digits"),
    "a large file": (study(rest="#" * 300_000), "at most 256 KiB"),
    "tiny steps": (study(space=floats("low = 0.0, high = 1e300, step = 1e-300")), "at most 1000000"),
    "the largest float": (
        study(space=floats("low = -1e308, high = 1e308")),
        "between 1e-300 and 1e+300",
    ),
    "denormals": (study(space=floats("low = 5e-324, high = 1.0, log = true")), "between 1e-300"),
    "a step above the range": (
        study(space=floats("low = 0.0, high = 1.0, step = 1e20")),
        "a multiple of",
    ),
    "a step beside the end": (
        study(space=floats("low = 0.0, high = 0.3000000001, step = 0.1")),
        "multiple",
    ),
    "inexact integers": (
        study(space=f'[space]\nx = {{ type = "int", low = 0, high = {2**63 - 1} }}\n'),
        "must be <= 900719925474",
    ),
    "many choices": (
        study(space=choices(f"{list(range(20_000))}")),
        "at most 1000 entries",
    ),
    "long choices": (
        study(space=choices(f'["{"x" * 1001}"]')),
        "at most 1000 characters",
    ),
    "a choice that is none": (
        study(space=choices("[nan]")),
        "must be a finite number",
    ),
    "a choice of arrays": (
        study(space=choices("[[1]]")),
        "a number, a string or a boolean",
    ),
    "many parameters": (study(space=parameters(3000, WHOLE)), "at most 200 parameters"),
    "a grid of 10^9": (study(space=parameters(9, WHOLE), rest='[sampler]\nname = "grid"'), "at most 10000 points"),
    "a grid of 2^53": (
        study(space=f'[space]\nx = {{ type = "int", low = 0, high = {2**53} }}\n', rest='[sampler]\nname = "grid"'),
        "at most 10000 points",
    ),
    "many entries": (study(rest="[[enqueue]]\nx = 0.5\n" * 5000), "at most 1000 entries"),
    "a late start": (study(rest=f'[sampler]\nname = "tpe"\nn_startup_trials = {2**31}'), "must lie in [0, 1000]"),
    "no candidates": (study(rest='[sampler]\nname = "tpe"\nn_ei_candidates = 0'), "must lie in [1, 1000]"),
    "many candidates": (study(rest=f'[sampler]\nname = "tpe"\nn_ei_candidates = {10**12}'), "must lie in [1, 1000]"),
    "a chance of nan": (study(rest='[sampler]\nname = "nsgaii"\nmutation_prob = nan'), "must lie in [0, 1]"),
    "reference points": (
        study("", rest='[sampler]\nname = "nsgaiii"\ndividing_parameter = 100').replace(
            'direction = "maximize"', f"directions = {['maximize'] * 9}"
        ),
        "at most 10000 reference points",
    ),
    "a late rung": (study(rest=f'[pruner]\nname = "successive_halving"\nmin_early_stopping_rate = {10**6}'), "[0, 100]"),
    "a threshold of nan": (study(rest='[pruner]\nname = "threshold"\nlower = nan'), "must lie in"),
    "1e400 seconds": (study('timeout = "1e400s"'), "must be a positive time"),
    "endless seconds": (study("timeout = inf"), "at most 3650 days"),
    "no seconds": (study("timeout = nan"), "must be a positive time"),
    "400 digits of seconds": (study(f'timeout = "{"9" * 400}s"'), "must be a positive time"),
    "400 digits of bytes": (study(f'worker_memory = "{"9" * 400}GB"'), "must be a positive size"),
    "10^18 trials": (study().replace("trials = 8", f"trials = {10**18}"), "must be <= 1000000"),
    "a null character": (study('storage = "sqlite:///a\\u0000b.db"'), "without line breaks"),
    "a line break": (study('metric = "a\\nb"'), "must have no line breaks"),
    "two equal metrics": (
        study().replace('direction = "maximize"', 'directions = ["maximize", "minimize"]\nmetrics = ["a", "a"]'),
        "metrics must differ",
    ),
    "a long name": (study(space=f'[space]\n"{"x" * 10_000}" = {WHOLE}\n'), "1 to 200 characters"),
    "an empty name": (study(space=f'[space]\n"" = {WHOLE}\n'), "1 to 200 characters"),
    "a name that turns": (study(space=f'[space]\n"\u202ea" = {WHOLE}\n'), "no control characters"),
    "names that look the same": (study(space=f'[space]\n"\u00fc" = {WHOLE}\n"u\u0308" = {WHOLE}\n'), "look the same"),
    "a long study": (study().replace('"d"', f'"{"d" * 300}"'), "at most 100 characters"),
    "a shell": (study().replace("o:p", "subprocess:Popen"), "not of Python's own modules"),
    "a module of a module": (study().replace("o:p", "os.path:join"), "not of Python's own modules"),
    "another's secret": (study(rest='[objective]\na = [{ b = "${AWS_SECRET_ACCESS_KEY}" }]'), "named in study.environment"),
    "UTF-16": (study().encode("utf-16"), "got UTF-16. Save it as UTF-8"),
    "Latin-1": (study(rest="# ü").encode("latin-1"), "must be TOML in UTF-8; got a byte that is none, 0xfc"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_file_asks_for_has_bounds(name, tmp_path):
    content, expected = HOSTILE[name]
    path = tmp_path / "study.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    begun = time.process_time()
    with pytest.raises(StudyFileError) as caught:
        load(path)
    assert time.process_time() - begun < 10, "it takes well below a second"
    check_lines(str(caught.value), path)
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", ["quickstart", "brain-mri"])
@pytest.mark.parametrize("change", [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n")])
def test_what_editors_of_windows_write_is_read(name, change, tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(change(FILES[name]))
    assert load(path).space == load(STUDIES / f"{name}.toml").space


def test_only_a_regular_file_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero", "/dev/null"):
        with pytest.raises(StudyFileError, match="must be a regular file; got a folder, a pipe or a device"):
            load(path)
    for path in ("a\0b", "x" * 5000):
        with pytest.raises(StudyFileError):
            load(path)


def test_the_bounds_hold_what_they_allow(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(study(space=parameters(200, WHOLE), rest='[sampler]\nname = "tpe"\nn_startup_trials = 1000'))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    assert try_study(path) is None


LEAKY = """
import json
import os


class Leaky:
    def __init__(self, *, token, deep, start="yes"):
        self.token, self.deep = token, deep
        if start == "no":
            raise RuntimeError(f"cannot open {token!r}")

    def __call__(self, trial):
        trial.set_user_attr("search:config", {"token": self.token, "deep": self.deep, "x": trial.params["x"], "other": 1})
        trial.set_user_attr("note", [f"at {self.token}/x", {self.deep["paths"][0]: 1}, json.dumps(self.deep)])
        if trial.number == 1:
            try:
                raise OSError(self.deep["url"])
            except OSError:
                raise ValueError(f"{self.token} is not {self.deep['paths']}")
        return self.token if trial.number == 2 else trial.params["x"]
"""
SECRET, PLACE, PASSWORD = "hunter2-s3cret", "/home/somebody/dätä", "pa55word"


@pytest.fixture
def desk(tmp_path):
    """A folder with a study whose objective tells its settings wherever it can; returns what runs a command there."""
    (tmp_path / "leaky.py").write_text(LEAKY, encoding="utf-8")
    (tmp_path / "study.toml").write_text(
        study('environment = ["MY_TOKEN", "MY_URL"]\nmax_failures = 9').replace("o:p", "leaky:Leaky").replace("= 8", "= 3")
        + '[sampler]\nname = "random"\n[objective]\ntoken = "${MY_TOKEN}"\nstart = "${TUMORCLS_START:-yes}"\n'
        + 'deep = { paths = ["${TUMORCLS_PLACE:-data}/a", "b"], url = "${MY_URL}" }\n'
    )
    url = f"postgresql://me:{PASSWORD}@host/db"
    variables = {
        "MY_TOKEN": SECRET,
        "TUMORCLS_PLACE": PLACE,
        "MY_URL": url,
        "COLUMNS": "200",
        "PYTHONPATH": str(STUDIES.parent),
    }

    def run(*arguments, **extra):
        command = [sys.executable, "-m", "search", *arguments]
        environ = {**os.environ, **variables, **extra}
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=PATIENCE_S)

    return run


def leaks(folder, *texts):
    """What of the environment is in any file of a folder, or in texts."""
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()] + [text.encode() for text in texts]
    forms = [form for value in (SECRET, PLACE, PASSWORD) for form in (value.encode(), json.dumps(value)[1:-1].encode())]
    return [form for form in forms for content in contents if form in content]


@pytest.mark.slow
def test_no_value_of_the_environment_is_stored_exported_reported_or_shown(desk, tmp_path):
    done = desk("launch", "study.toml")
    assert done.stdout.splitlines()[0] == "Runs the code of leaky.py in this folder, which study.toml names as its objective."
    assert "Budget reached: 3/3" in done.stdout, done.stderr
    said = [done.stdout, done.stderr]
    for arguments in (
        ("export", "study.toml", "-o", "best.toml"),
        ("report", "study.toml", "-o", "r.html"),
        ("status", "study.toml"),
    ):
        done = desk(*arguments)
        assert done.returncode == 0, done.stderr
        said += [done.stdout, done.stderr]
    failed = desk("launch", "study.toml", "--as", "other", TUMORCLS_START="no")
    assert failed.returncode == 1
    assert "cannot open '${MY_TOKEN}'" in failed.stderr
    assert leaks(tmp_path, *said, failed.stdout, failed.stderr) == []
    exported = tomllib.loads((tmp_path / "best.toml").read_text())
    assert exported["environment"] == ["MY_TOKEN", "MY_URL"]
    assert exported["config"]["token"] == "${MY_TOKEN}"
    assert exported["config"]["deep"] == {"paths": ["${TUMORCLS_PLACE:-data}/a", "b"], "url": "${MY_URL}"}
    trials = optuna.load_study(study_name="d", storage=f"sqlite:///{tmp_path / 'd.db'}").trials
    assert trials[1].user_attrs[FAILURE_KEY] == "ValueError: ${MY_TOKEN} is not ['${TUMORCLS_PLACE}/a', 'b']"
    assert "OSError: ${MY_URL}" in traceback_of(trials[1])
    assert trials[2].user_attrs[FAILURE_KEY] == "the objective must return one number; got '${MY_TOKEN}'"
    assert trials[0].user_attrs["note"][:2] == ["at ${MY_TOKEN}/x", {"${TUMORCLS_PLACE}/a": 1}]


@pytest.mark.parametrize(
    ("settings", "value", "expected"),
    [
        ({"a": "${TUMORCLS_A}"}, {"a": "adam", "b": "adams"}, {"a": "${TUMORCLS_A}", "b": "adams"}),
        ({"a": "x/${TUMORCLS_A:-y}"}, {"a": ["x/adam"]}, {"a": ["x/${TUMORCLS_A:-y}"]}),
        ({"a": ["${TUMORCLS_U:-none}"]}, {"a": ["none"], "b": "none"}, {"a": ["${TUMORCLS_U:-none}"], "b": "none"}),
        ({"a": "${TUMORCLS_A}"}, {"x": "adam", "a": 3}, {"x": "adam", "a": 3}),
        ({"a": "plain"}, {"a": "plain", "n": [1, None, 2.5]}, {"a": "plain", "n": [1, None, 2.5]}),
        ({"a": "${TUMORCLS_S}"}, {"a": "ab", "b": "ab"}, {"a": "${TUMORCLS_S}", "b": "ab"}),
        ({"a": "${TUMORCLS_A}"}, "see adam, ADAM", "see ${TUMORCLS_A}, ADAM"),
    ],
)
def test_the_file_s_words_come_back(settings, value, expected):
    environ = {"TUMORCLS_A": "adam", "TUMORCLS_S": "ab"}
    kept = AsWritten.of(settings, environ, "objective").value(value, {"x": "adam"})
    assert kept == expected


@pytest.mark.parametrize("attribute", ["Popen", "system", "path.join", "eval", "partial", "open"])
def test_python_s_own_code_is_no_objective_however_it_is_reached(attribute, tmp_path, monkeypatch):
    lines = ["import os", "from os import path, system", "from subprocess import Popen", "from functools import partial"]
    (tmp_path / "reaches.py").write_text("\n".join([*lines, "eval, open = eval, open"]))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ObjectiveError, match="must be an objective of yours or of a package; got "):
        build_objective(f"reaches:{attribute}", {})


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.0, 2**63 - 1, [math.nan, {"a": math.nan}], datetime.date(2026, 1, 2)])
def test_a_setting_that_json_has_not_does_not_bar_the_way_back(value, tmp_path):
    path, url = tmp_path / "study.toml", f"sqlite:///{tmp_path / 'x.db'}"
    path.write_text(study() + tomli_w.dumps({"objective": {"a": value}}))
    for _ in range(2):
        opened = storage.create_study(url, "d", ["maximize"], [])
        check_same(opened, load(path))
        opened.add_trial(optuna.trial.create_trial(value=1.0))
        storage.close(opened)
    path.write_text(study() + tomli_w.dumps({"objective": {"a": True}}))
    opened = storage.create_study(url, "d", ["maximize"], [])
    with pytest.raises(StudyError, match=r"objective\.a: must stay as it was"):
        check_same(opened, load(path))
    storage.close(opened)
