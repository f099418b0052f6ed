"""What an sdist holds: MANIFEST.in, against what git has."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

OF_THE_CHECKOUT = {".ci/run", ".gitignore", ".pre-commit-config.yaml"}
"""What serves only git and CI."""

OF_ITSELF = {"LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg"}
"""What setuptools takes without being told."""


def test_an_sdist_holds_all_that_git_has_but_what_serves_git_and_ci_alone(monkeypatch):
    egg_info = pytest.importorskip("setuptools.command.egg_info")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = set(listed.split("\0")) - {""}
    monkeypatch.chdir(ROOT)
    files = egg_info.FileList()
    for line in Path("MANIFEST.in").read_text().splitlines():
        if line and not line.startswith("#"):
            files.process_template_line(line)
    taken = {Path(name).as_posix() for name in files.files}
    assert tracked - taken == OF_THE_CHECKOUT | OF_ITSELF & tracked
    assert {name for name in taken - tracked if name.endswith((".pyc", ".db", ".log", ".keras"))} == set()
