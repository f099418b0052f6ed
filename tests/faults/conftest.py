"""Real faults, done to real commands; see `tests/search/conftest.py` for what runs them."""

from tests.search.conftest import environment, folder, read_study, results, search, start, toml, wait_for, write

__all__ = ["environment", "folder", "read_study", "results", "search", "start", "toml", "wait_for", "write"]
