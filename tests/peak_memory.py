"""How long a run of the tests took, and how much memory all of its processes had at once."""

import threading
import time

import psutil

EVERY_S = 1.0


class PeakMemory:
    """Samples the memory of this process and of all that it and they started, and tells the highest sum at the end.

    What is summed is the proportional set size: a page that several processes share counts once in all. Peaks between two
    samples are missed, as is a server that left the tree of processes.
    """

    def __init__(self):
        self._tree = psutil.Process()
        self._began = time.monotonic()
        self._sizes = [0]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def pytest_sessionstart(self):
        self._thread.start()

    def pytest_terminal_summary(self, terminalreporter):
        self._over.set()
        self._thread.join()
        terminalreporter.section("time and memory")
        largest = ", ".join(f"{size / 2**30:.2f}" for size in self._sizes[:3])
        terminalreporter.line(
            f"{time.monotonic() - self._began:.0f} s; all processes together {sum(self._sizes) / 2**30:.2f} GiB at most, "
            f"the largest of them {largest} (proportional set sizes, sampled each second)"
        )

    def _watch(self):
        while not self._over.wait(EVERY_S):
            sizes = [_proportional(process) for process in [self._tree, *self._tree.children(recursive=True)]]
            if sum(sizes) > sum(self._sizes):
                self._sizes = sorted(sizes, reverse=True)


def _proportional(process):
    """Returns a process's size in bytes; 0 for one that has ended."""
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0
