"""What every executor promises of a worker that is gone."""

import sys
from types import SimpleNamespace

import pytest

from search.study_file.policy import RayResources
from search.workers.local import LocalExecutor
from search.workers.process import WorkerSetup
from search.workers.protocol import Died, StartFailed, Stop
from search.workers.ray import RayExecutor
from tests.inline import InlineExecutor


@pytest.fixture
def make(monkeypatch):
    """Makes an executor; of Ray there is only as much as it takes to have no worker."""
    actors = SimpleNamespace(options=lambda **_: None)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(remote=lambda **_: lambda host: actors))

    def build(kind, target="objectives:parabola"):
        def setup(worker):
            return WorkerSetup(target, {})

        kinds = {"inline": InlineExecutor, "local": LocalExecutor}
        return RayExecutor(setup, RayResources(kind="ray")) if kind == "ray" else kinds[kind](setup)

    return build


@pytest.mark.parametrize("kind", ["inline", "local", "ray"])
def test_what_is_sent_to_a_worker_whose_death_was_received_goes_nowhere(make, kind):
    """A driver may have heard of it together with what the worker said last, and answer that first."""
    executor = make(kind)
    executor.send(0, Stop())
    executor.stop(at_once=True)


@pytest.mark.parametrize("kind", ["inline", "local"])
def test_what_is_sent_to_a_worker_whose_death_is_on_its_way_goes_nowhere(make, kind, wait_for):
    executor = make(kind, "objectives:nothing_of_that_name")
    executor.start(0)
    runs = executor._threads[0][0] if kind == "inline" else executor._children[0][0]
    wait_for(lambda: not runs.is_alive())
    executor.send(0, Stop())
    assert [type(message) for _, message in executor.receive(1.0)] == [StartFailed, Died]
    executor.send(0, Stop())
    executor.stop()
