"""Real faults, done to real commands; see `tests/search/conftest.py` for what runs them."""

import contextlib
import subprocess

import pytest

from tests.search.conftest import environment, folder, read_study, results, search, start, toml, wait_for, write

__all__ = ["environment", "folder", "read_study", "results", "search", "start", "toml", "wait_for", "write"]


@pytest.fixture
def full_disk(tmp_path):
    """A file system of its own on which nothing has room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    try:
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
