"""Each benchmark that needs no data, no server and little time runs to its end, with tiny sizes."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.patience import PATIENCE_S
from tumorcls.cache import arrays

QUICK: dict[str, tuple[dict[str, Any], list[str]]] = {
    "cache_checks": ({"ENTRIES": {"head: a view": ((8, 16), np.float16)}, "ROUNDS": 1}, []),
    "dedup_hashes": ({"_COUNT": 1000}, []),
    "dedup_planted": ({}, ["--originals", "12", "--copies", "6", "--size", "64"]),
    "promotion_rules": ({"EPOCHS": (20, 40)}, ["--seeds", "2"]),
    "table_source": ({"_IMAGES": 240, "_SIDE": 32, "_TURNS": 1}, []),
    "winner_simulated": ({"NOISES": (0.02,), "TRIALS": (20,)}, ["--studies", "1"]),
}

SLOW = {
    "images_together": ({"IMAGE_SIZES": (32,), "BATCHES": (1, 2), "IMAGES": 2}, ["--rounds", "1"]),
    "report_opening": ({"_TRIALS": 30, "_OPENINGS": 1}, []),
    "search_defaults.__main__": ({}, ["--configs", "8", "--seeds", "2", "--task", "digits", "--candidate", "the defaults"]),
}
"""What loads a backend, starts a browser or trains."""

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if ("__main__" in path.read_text() and path.parent.name != "trial_speed") or path.name == "__main__.py"
)
"""What a person starts; the other programs of `trial_speed` are started by its own."""


@pytest.mark.parametrize("path", PROGRAMS, ids=str)
def test_a_program_says_what_it_is_for_and_takes_nothing_unknown(path):
    parsers = {"argparse.ArgumentParser(", "@click.command("}
    assert any(parser in (ROOT / path).read_text() for parser in parsers), "--help would run it"


@pytest.mark.parametrize("name", QUICK)
def test_it_runs_to_its_end(name, monkeypatch, capsys):
    sizes, arguments = QUICK[name]
    module = importlib.import_module(f"benchmarks.{name}")
    for constant, value in sizes.items():
        monkeypatch.setattr(module, constant, value)
    monkeypatch.setattr(arrays, "_HELD", arrays._HELD)  # which cache_checks replaces
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    module.main()
    assert capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_it_runs_to_its_end_in_a_process_of_its_own(name, tmp_path, monkeypatch):
    if name == "report_opening" and not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("no Chromium here")
    sizes, arguments = SLOW[name]
    monkeypatch.setenv("TUMORCLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(importlib.import_module("benchmarks.kept").__file__).rpartition("/benchmarks/")[0])
    code = f"import benchmarks.{name} as module; vars(module).update({sizes}); module.main()"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr[-2000:]
