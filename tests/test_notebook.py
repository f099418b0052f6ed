"""What both packages show in a notebook, with IPython itself in the place of the fakes of their own tests."""

import time

import pytest
from optuna.study import StudyDirection
from rich.console import Console

from search.driver.progress import Progress
from search.driver.views import NotebookView
from tumorcls import activity

pytest.importorskip("IPython")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Returns what the shell of a notebook publishes: each text, and whether it takes the place of the one before it."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class ZMQInteractiveShell(InteractiveShell):
        """As ipykernel calls its shell."""

    shell = ZMQInteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    shell.display_pub = CapturingDisplayPublisher()
    yield lambda: [(output["data"]["text/plain"], output["update"]) for output in shell.display_pub.outputs]
    ZMQInteractiveShell.clear_instance()


def test_a_launch_has_one_output_that_changes(published):
    view = NotebookView(Progress("f1", 4, [StudyDirection.MAXIMIZE]), Console(force_jupyter=True))
    view.open()
    view.tick()
    view.close()
    (_, first), *others = published()
    assert not first
    assert all(update for _, update in others)
    assert others[-1][0].startswith("0/4 trials")


def test_what_takes_a_while_has_one_output_that_changes_and_ends_empty(published, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(activity, "_line", activity.Line())
    with activity.titled("trial 0"):
        activity.tell("compiling")
        now[0] += 1
        activity.tell("measuring")
    assert published() == [("trial 0: compiling", False), ("trial 0: measuring", True), ("", True)]
