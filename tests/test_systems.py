"""What the code asks of a system: Linux has all of it, macOS most, Windows too little."""

import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import search.cli
import tumorcls.cli
from search.workers import devices
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[1]

# What macOS does not have. `sitecustomize` is run by each Python before anything else, workers too. psutil goes on reading
# /proc, as it has a way of its own for each system.
AS_MACOS = """
import os, pathlib, select, signal, sys
for module, names in {
    os: ("sched_getaffinity", "sched_setaffinity", "memfd_create", "copy_file_range", "splice", "eventfd", "pidfd_open",
         "posix_fadvise", "posix_fallocate", "setns", "unshare", "getrandom"),
    select: ("epoll",),
    signal: ("sigtimedwait", "sigwaitinfo"),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
real_open, real_stat = pathlib.Path.open, pathlib.Path.stat
def hidden(path):
    return str(path).startswith(("/proc", "/sys", "/etc/machine-id"))
def open_(self, *args, **kwargs):
    if hidden(self):
        raise FileNotFoundError(2, "No such file or directory", str(self))
    return real_open(self, *args, **kwargs)
def stat(self, *args, **kwargs):
    if hidden(self):
        raise FileNotFoundError(2, "No such file or directory", str(self))
    return real_stat(self, *args, **kwargs)
pathlib.Path.open, pathlib.Path.stat = open_, stat
"""

IMPORT_ALL = """
import builtins, importlib, pkgutil, sys
real_import = builtins.__import__
def import_(name, globals=None, *rest, **named):
    ours = str((globals or {}).get("__name__")).startswith(("search", "tumorcls"))
    if ours and name in sys.argv[1:]:  # psutil has other ways where there is none, but not on Linux
        raise ImportError(f"no {name} on this system")
    return real_import(name, globals, *rest, **named)
builtins.__import__ = import_
left = []
for package in ("search", "tumorcls"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if module.name.endswith(("__main__", ".templates")):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name.partition(".")[0] not in ("google", "keras_tuner", "ray", "submitit", "tensorboard"):  # of extras
                left.append(f"{module.name}: {error!r}")
        except Exception as error:
            left.append(f"{module.name}: {error!r}")
assert not left, left
"""


@pytest.fixture
def as_macos(tmp_path):
    """The environment of a process that finds what macOS has."""
    (tmp_path / "sitecustomize.py").write_text(AS_MACOS)
    paths = [str(tmp_path), str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.mark.slow
def test_no_module_asks_for_what_not_every_system_has(as_macos):
    """Windows has neither `fcntl` nor `resource`: to read code there, and to run what only reads, every module is imported."""
    command = [sys.executable, "-c", IMPORT_ALL, "fcntl", "resource"]
    done = subprocess.run(command, env=as_macos, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_study_runs_on_what_macos_has(as_macos, tmp_path):
    """Two workers, a kill of the driver, and the commands that look."""
    (tmp_path / "mine.py").write_text("def square(trial):\n    x = trial.suggest_float('x', -1, 1)\n    return x * x\n")
    study = '[study]\nname = "demo"\nobjective = "mine:square"\ndirection = "minimize"\ntrials = 6\n'
    (tmp_path / "demo.toml").write_text(study + '[space]\nx = { type = "float", low = -1.0, high = 1.0 }\n')

    def search(*arguments):
        command = [sys.executable, "-m", "search", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=as_macos, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        return done.stdout

    probe = "import os, pathlib; assert not hasattr(os, 'sched_getaffinity') and not pathlib.Path('/proc/self').exists()"
    subprocess.run([sys.executable, "-c", probe], env=as_macos, check=True)
    assert "3/3" in search("launch", "demo.toml", "--workers", "2", "--trials", "3")
    assert "6/6" in search("launch", "demo.toml", "--workers", "2")
    assert "6/6" in search("status", "demo.toml")
    search("export", "demo.toml", "-o", "best.toml")


@pytest.mark.parametrize(
    ("system", "machine", "package"),
    [
        ("linux", "x86_64", "tensorflow-cpu"),
        ("linux", "aarch64", "tensorflow"),
        ("darwin", "arm64", "tensorflow"),
    ],
)
def test_the_backend_of_a_processor_is_one_that_is_published_for_it(system, machine, package):
    """tensorflow-cpu has wheels for x86-64 alone, so that `make demo` would stop at its installation elsewhere."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    asked = [Requirement(line) for line in setup["options.extras_require"]["cpu"].splitlines() if line]
    here = {"sys_platform": system, "platform_machine": machine}
    assert [one.name for one in asked if one.marker is None or one.marker.evaluate(here)] == [package]


def test_the_cpus_of_a_system_that_knows_no_restriction(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert devices.usable_cpus() == 8
    assert devices.environ_of(0, 2, (), 1, {})["OMP_NUM_THREADS"] == "4"


@pytest.mark.parametrize(("name", "module"), [("search", search.cli), ("tumorcls", tumorcls.cli)])
def test_windows_is_told_so_in_a_line(name, module, monkeypatch, capsys):
    monkeypatch.setattr(module.sys, "platform", "win32")
    monkeypatch.setattr(module, "forgive_output", lambda: None)
    monkeypatch.setattr(module.sys, "argv", [name, "--version"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"error: {name}: needs Linux or macOS; got Windows. Run it in WSL 2.\n"
