import io
import re
import sys

from search.streams import clocked


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_of_a_log_begin_with_the_time_and_those_of_a_terminal_do_not(monkeypatch):
    log, terminal = io.StringIO(), Terminal()
    monkeypatch.setattr(sys, "stdout", log)
    monkeypatch.setattr(sys, "stderr", terminal)
    with clocked():
        print("trial", 0, "started\nand", end="")
        print(" 1\rtoo")
        print("warning", file=sys.stderr)
    print("outside")
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"{time} trial 0 started\n{time} and 1\rtoo\noutside\n", log.getvalue())
    assert terminal.getvalue() == "warning\n"
