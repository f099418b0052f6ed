"""What takes a while is told to who listens, and else shown on one line of a terminal or in a notebook's output."""

import contextvars
import io
import sys
import threading
import time
import types

import pytest

from tumorcls import activity


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Gives each test a line and a clock of its own."""
    monkeypatch.setattr(activity, "_line", activity.Line())
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def listened(run):
    """Returns what is told while `run` runs, in a context of its own as each worker has one."""
    told = []

    def main():
        activity.listen(told.append)
        run()

    contextvars.copy_context().run(main)
    return told


def test_a_count_tells_rate_and_time_left(alone):
    def run():
        with activity.counting("cache, view 2 of 4", 400):
            alone[0] += 10
            activity.advance(60)
        activity.advance(5)

    assert listened(run) == ["cache, view 2 of 4: 0%", "cache, view 2 of 4: 15%, 6 images/s, 00:57 left", ""]


def test_who_is_told_may_end_it():
    class Stopped(BaseException):
        pass

    def stop(text):
        raise Stopped

    def main():
        activity.listen(stop)
        with activity.counting("decoding", 3):
            raise AssertionError("it has ended")

    with pytest.raises(Stopped):
        contextvars.copy_context().run(main)


def test_the_wait_for_a_call_ends_when_it_is_told_to_and_the_call_at_its_own_time():
    class Stopped(BaseException):
        pass

    over, went_on = threading.Event(), []

    def slow():
        assert over.wait(60)
        went_on.append(True)

    def stop(text):
        if told:
            raise Stopped
        told.append(text)

    def main():
        activity.listen(stop)
        with activity.counting("cache", 32):
            activity.await_call(slow)

    told = []
    with pytest.raises(Stopped):
        contextvars.copy_context().run(main)
    assert (told, went_on) == (["cache: 0%"], [])
    threading.Timer(0.05, over.set).start()
    assert activity.await_call(lambda: list(went_on)) == [True], "two never run at once"


def test_what_an_awaited_call_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        activity.await_call(lambda: 1 // 0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_one_line_that_is_taken_away(alone, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "20")
    with activity.titled("trial 3"):
        activity.tell("epoch 1 of 20: compiling")
        activity.tell("too soon to be shown")
        activity.make_way()
        alone[0] += 1
        activity.retitle("trial 3, f1 0.5")
        activity.tell("epoch 2")
    assert sys.stderr.getvalue().split("\r\x1b[2K") == ["", "trial 3: epoch 1 of", "", "trial 3, f1 0.5: ep", ""]


def test_a_log_gets_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    activity.tell("compiling")
    assert sys.stderr.getvalue() == ""


def test_each_run_of_a_cell_has_one_output(alone, monkeypatch):
    class ZMQInteractiveShell:
        execution_count = 1

    shown = []

    def display(bundle, raw, display_id):
        shown.append(("new", bundle["text/plain"]))
        return types.SimpleNamespace(update=lambda bundle, raw: shown.append(("same", bundle["text/plain"])))

    shell = ZMQInteractiveShell()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    with activity.titled("trial 0"):
        activity.tell("compiling")
        alone[0] += 1
        activity.tell("measuring")
    shell.execution_count = 2
    alone[0] += 1
    activity.tell("again")
    assert shown == [("new", "trial 0: compiling"), ("same", "trial 0: measuring"), ("same", ""), ("new", "again")]
