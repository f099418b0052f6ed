"""A KerasTuner project of anybody's: what can be read is imported, the rest is one line; soon, and in little memory."""

import json
import math
import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import optuna
import pytest

from search import cli
from tests.patience import PATIENCE_S
from tests.search.keras_tuner.conftest import write_project
from tests.search.keras_tuner.projects import X, metric, parameter, trial

__all__ = ["write_project"]

DEEP = '{"a":' * 50_000 + "1" + "}" * 50_000


def ranged(kind="Float", low=0.0, high=1.0, step=None, sampling="linear", name="y"):
    return parameter(kind, name, min_value=low, max_value=high, step=step, sampling=sampling)


def observed(values, step):
    observations = [{"value": values, "step": step}]
    return {"metrics": {"metrics": {"val_loss": {"direction": "min", "observations": observations}}}}


SPACES = {
    "log with 0": ranged(sampling="log"),
    "log below 0": ranged(low=-1.0, sampling="log"),
    "reverse log of steps with 0": ranged(step=2.0, sampling="reverse_log"),
    "step 0": ranged(step=0.0),
    "step below 0": ranged(step=-0.1),
    "step 0 of a whole number": ranged("Int", 0, 9, 0),
    "step 1 that multiplies": ranged(low=1.0, high=9.0, step=1.0, sampling="log"),
    "step that hardly multiplies": ranged(low=1.0, high=9.0, step=1.0 + 1e-12, sampling="log"),
    "tiny step": ranged(step=1e-300),
    "subnormal": ranged(low=5e-324, high=1e-320, sampling="log"),
    "nan": ranged(low=math.nan),
    "infinite": ranged(high=math.inf),
    "nan step": ranged(step=math.nan),
    "huge": ranged(low=-1.7e308, high=1.7e308),
    "huge and tiny": ranged(low=1e-300, high=1e300, step=1e-300),
    "huge whole number": ranged("Int", 0, 10**400),
    "whole number beyond 64 bits": ranged("Int", -(2**64), 2**64),
    "min above max": ranged(low=2.0),
    "min above max of whole numbers": ranged("Int", 3, 1),
    "booleans as numbers": ranged("Int", False, True),
    "texts as numbers": ranged("Float", "0", "1"),
    "no choices": parameter("Choice", "y", values=[]),
    "choices without number": parameter("Choice", "y", values=list(range(100_000))),
    "choices that are tables": parameter("Choice", "y", values=[{"a": 1}, [2]]),
    "choices that are nan": parameter("Choice", "y", values=[math.nan, math.inf]),
    "long choice": parameter("Choice", "y", values=["x" * 1_000_000]),
    "long name": ranged(name="y" * 10_000),
    "no name": ranged(name=""),
    "name that is a number": ranged(name=3),
    "name with half a character": ranged(name="\ud800"),
    "unknown kind": parameter("Complex", "y", min_value=0, max_value=1),
    "no kind": {"config": {"name": "y"}},
    "conditions of no kind": {"class_name": "Boolean", "config": {"name": "y", "conditions": [[[]], 3]}},
    "sampling of no kind": ranged(sampling="sometimes"),
}
TEXTS = {
    "empty": "",
    "cut": '{"trial_id": "01", "hyperpar',
    "blank": " \n",
    "zeros": "\0" * 4096,
    "not UTF-8": b"\xff\xfe\xfd",
    "a list": "[]",
    "null": "null",
    "a number": "1e400",
    "deep": DEEP,
    "deep list": "[" * 100_000,
    "many digits": "9" * 5_000,
    "large": '"' + "x" * 20_000_000 + '"',
    "markup": '"[/bold]\\u001b[31m"',
}
KEYS = {
    "id of another folder": {"trial_id": "00"},
    "id of no folder": {"trial_id": "../../x\n"},
    "id that is a number": {"trial_id": 1},
    "no id": {"trial_id": None},
    "score that is text": {"score": "0.1"},
    "score that is true": {"score": True},
    "step below 0": {
        "metrics": {"metrics": {"val_loss": {"direction": "min", "observations": [{"value": [1.0], "step": -1}]}}}
    },
    "step beyond all storages": {
        "metrics": {"metrics": {"val_loss": {"direction": "min", "observations": [{"value": [1.0], "step": 2**70}]}}}
    },
    "metrics that are a list": {"metrics": []},
    "direction of no kind": {"metrics": {"metrics": {"val_loss": {"direction": "up", "observations": []}}}},
    "value that is a table": {"hyperparameters": {"space": [X], "values": {"x": {"a": 1}}}},
    "value that is nan": {"hyperparameters": {"space": [X], "values": {"x": math.nan}}},
    "value that is infinite": {"hyperparameters": {"space": [X], "values": {"x": math.inf}}},
    "value that is huge": {"hyperparameters": {"space": [X], "values": {"x": 10**400}}},
    "status of no kind": {"status": "SOLD"},
    "no hyperparameters": {"hyperparameters": None},
    "a range that is none": {"hyperparameters": {"space": [SPACES["step 0"]], "values": {"y": 0.5}}},
}
ODD = {  # what is taken for what it is
    "score that is missing": {"score": None},
    "score 1e400": {"score": math.inf},
    "score that is nan": {"score": math.nan},
    "value beyond its range": {"hyperparameters": {"space": [X], "values": {"x": 77.0}}},
    "value of another type": {"hyperparameters": {"space": [X], "values": {"x": "seven"}}},
    "value that is missing": {"hyperparameters": {"space": [X], "values": {}}},
    "metric that is infinite": {"metrics": {"metrics": {"val_loss": metric("min", math.inf, -math.inf)}}},
    "metric without values": {
        "metrics": {"metrics": {"val_loss": {"direction": "min", "observations": [{"value": [], "step": 0}]}}}
    },
    "metric of huge values": {"metrics": {"metrics": {"val_loss": metric("min", 10**400, 1.7e308)}}},
    "values called as ours": {
        "hyperparameters": {"space": [X], "values": {"x": 0.1, "search:owner": 3, "search:warm_start": "a"}}
    },
    "long message": {"message": "[/red]\x1b[31m\n" * 100_000, "status": "FAILED"},
    "running": {"status": "RUNNING"},
}


@pytest.fixture
def imports(folder, monkeypatch, capsys):
    """Imports a project in this process: exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["search", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        assert left.value.code in (0, 1, None)
        if left.value.code:
            assert len(err.splitlines()) == 1, err
            assert err.startswith("error: ")
        assert "\x1b" not in out + err
        return left.value.code or 0, out, err

    return run


@pytest.fixture
def project(write_project):
    def write(**oracle):
        return write_project(*(trial({"x": 0.1 * at}, 0.1 + at) for at in range(3)), **oracle)

    return write


def spoil(path, content):
    if isinstance(content, dict):
        path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)


def trials(name="project"):
    return optuna.load_study(study_name=name, storage=f"sqlite:///{name}.db").trials


@pytest.mark.parametrize("kind", [*TEXTS, *KEYS])
def test_one_trial_that_cannot_be_read_is_named_and_the_rest_is_imported(imports, project, kind):
    spoil(project() / "trial_01" / "trial.json", {**TEXTS, **KEYS}[kind])
    code, out, _ = imports("import-keras-tuner", "project")
    assert code == 0
    assert [line.partition(": ")[0] for line in out.splitlines()][1] == "Left out"
    assert out.count("project/trial_01/trial.json: ") == out.count("Left out: ") == 1
    assert len(out.splitlines()) == 4
    assert [found.params["x"] for found in trials()] == [0.0, 0.2]


@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_but_whole_is_imported(imports, project, kind):
    spoil(project() / "trial_01" / "trial.json", ODD[kind])
    code, out, _ = imports("import-keras-tuner", "project", "--objective", "val_loss:min")
    assert (code, "Left out" in out) == (0, False)
    assert len(trials()) == 3
    assert all(math.isfinite(found.value) for found in trials() if found.state.name == "COMPLETE")
    imports("import-keras-tuner", "project", "--objective", "val_loss:min")
    assert len(trials()) == 3, "none twice"
    for arguments in (["status", "sqlite:///project.db"], ["report", "sqlite:///project.db"]):
        assert imports(*arguments)[0] == 0


@pytest.mark.parametrize("kind", [*TEXTS, *SPACES])
@pytest.mark.parametrize("command", ["import-keras-tuner", "space-from-keras-tuner"])
def test_an_oracle_that_cannot_be_read_is_one_line(imports, project, kind, command):
    folder = project()
    content = TEXTS.get(kind) if kind in TEXTS else {"hyperparameters": {"space": [X, SPACES[kind]], "values": {}}}
    spoil(folder / "oracle.json", content)
    code, out, err = imports(command, "project")
    assert (code, out) == (1, "")
    assert err.startswith("error: project/oracle.json: ")
    assert len(err) < 1_000
    assert not Path("project.db").exists()


def test_names_of_a_space_are_text(imports, project):
    names = ["[/red]", "a\nb", "\x1b[31m", "<script>", "naïve", '"', "\x7f", "search:owner"]
    project(space=[X, *(ranged(name=name) for name in names)])
    code, out, _ = imports("space-from-keras-tuner", "project")
    assert code == 0
    assert list(tomllib.loads(out)["space"]) == ["x", *names]


@pytest.mark.parametrize("what", ["trial", "oracle"])
@pytest.mark.parametrize("how", ["pipe", "device", "folder", "link to itself", "no rights"])
def test_what_is_no_regular_file(imports, project, what, how):
    path = project() / ("oracle.json" if what == "oracle" else "trial_01/trial.json")
    path.unlink()
    match how:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "link to itself":
            path.symlink_to(path)
        case "no rights":
            path.write_text("")
            path.chmod(0)
    code, _, _ = imports("import-keras-tuner", "project")
    assert code == (what == "oracle") or how == "link to itself"


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_moments_at_the_ends_of_the_calendar(imports, project, moment):
    folder = project(display={"trial_start": {"00": moment, "01": "2026-01-01T00:00:00"}})
    os.utime(folder / "trial_02" / "trial.json", (2**40, 2**40))
    assert imports("import-keras-tuner", "project")[0] == 0
    assert len(trials()) == 3


def test_the_same_trial_twice_in_the_order_is_one(imports, project):
    project(start_order=["00", "01", "00", "02"])
    assert imports("import-keras-tuner", "project")[0] == 0
    assert len(trials()) == 3


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%41", "new\nline", "\udcff"])
def test_a_folder_that_no_file_can_be_named_after(imports, write_project, name):
    write_project(trial({"x": 0.1}, 0.1), name=name)
    code, _, err = imports("import-keras-tuner", name)
    assert code == 1
    assert "Add --study and --storage" in err
    assert imports("import-keras-tuner", name, "--study", "safe", "--storage", "sqlite:///safe.db")[0] == 0


@pytest.mark.slow
def test_little_memory_and_time(project):
    folder = project()
    for path in (folder / "trial_01" / "trial.json", folder / "trial_02" / "trial.json"):
        with path.open("wb") as file:
            file.truncate(8 * 2**30)  # a sparse file
    limit = 2 * 2**30
    done = subprocess.run(
        [sys.executable, "-m", "search", "import-keras-tuner", "project"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("must have at most 16384 KiB; got more") == 2
