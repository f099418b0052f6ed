"""The tiers of the tests, by place: what is quick, what is slow, what needs a server, and what runs in which process."""

import signal
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.peak_memory import PeakMemory

TESTS = Path(__file__).parent

SLOW = ("faults",)
"""What is slow as a whole, whatever its tests say."""

SLOW_FIXTURES = frozenset({"nodes"})
"""Fixtures that make a test slow: a Ray cluster."""

SERVERS = frozenset({"postgresql", "mariadb"})
"""Fixtures that start a server."""

KERAS = (
    "search/keras_tuner",
    "tumorcls/commands",
    "tumorcls/evaluation",
    "tumorcls/inference",
    "tumorcls/model",
    "tumorcls/noise/test_layer.py",
    "tumorcls/reports",
    "tumorcls/test_objective.py",
    "tumorcls/training",
)
"""What builds or runs networks. One process runs all of it in the quick tier: a second one would need as much memory again."""


def pytest_configure(config):
    """Lets the process that the user started watch the memory of all of them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun in the background: what tests start would not hear ^C either
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        config.pluginmanager.register(PeakMemory())


class OneProcessForNetworks(LoadFileScheduling):
    """Gives a process whole files, so that their fixtures are made once, and one process all files that run networks."""

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return "keras" if file.removeprefix("tests/").startswith(KERAS) else file


def pytest_xdist_make_scheduler(config, log):
    """Takes the place of --dist loadfile in the quick tier. (xdist's own groups do nothing with pytest 9.)"""
    if config.option.dist == "loadfile" and "not slow" in config.option.markexpr:
        return OneProcessForNetworks(config, log)
    return None


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(items):
    """Marks tests by where they are and what they ask for."""
    for item in items:
        place = item.path.relative_to(TESTS).as_posix()
        if place.startswith(SLOW) or SLOW_FIXTURES & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)
        if SERVERS & set(item.fixturenames):
            item.add_marker(pytest.mark.server)
        if place.startswith(KERAS):
            item.add_marker(pytest.mark.keras)
