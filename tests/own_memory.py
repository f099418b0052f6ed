"""How much memory a command of `tumorcls` takes for itself.

What it maps of its libraries' files is left out. How much of them counts as a process's own depends on how the machine keeps
files in memory: with the same TensorFlow it was 420 MB, and 550.
"""

import sys

# Asked of the process itself: what its parent is told of it counts the parent's own memory at the fork too.
_MEASURE = """
import resource, runpy, sys
try:
    code = runpy.run_module("tumorcls", run_name="__main__") and 0
except SystemExit as end:
    code = end.code
sizes = dict(line.split(":", 1) for line in open("/proc/self/status"))
own = int(sizes["VmHWM"].split()[0]) - int(sizes["RssFile"].split()[0])
print(code, max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss), file=sys.stderr)
"""

COMMAND = [sys.executable, "-c", _MEASURE]
"""Runs the command that follows. The last line of its stderr has how it ended, and how many kilobytes it had at most."""
