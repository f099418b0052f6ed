"""What each worker is at, a row each; in a narrow terminal the parameters are cut first."""

import time

from rich.table import Table
from rich.text import Text

from search.driver.progress import Progress
from search.text import clock, format_params

_LONGEST_METRIC = 14


def running_table(progress: Progress) -> Table:
    """Returns a table of the trials that run and of the workers that start, for any width from 60 characters on."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=False)
    workers = progress.at_work.copy()  # this runs in rich's thread while the driver's adds and removes trials
    several = len(workers) > 1 or any(workers)
    metric = progress.metric if len(progress.metric) <= _LONGEST_METRIC else f"{progress.metric[: _LONGEST_METRIC - 1]}…"
    for column in (*(["worker"] if several else []), "trial", "step", metric, "time"):
        table.add_column(Text(column), no_wrap=True)
    # A column that may wrap is the one that shrinks; its text is cut all the same.
    table.add_column(Text("parameters"), overflow="ellipsis")
    for worker, work in sorted(workers.items()):
        number = "-" if work.number is None else str(work.number)
        value = "-" if work.value is None else f"{work.value:.6g}"
        cells = [number, work.shown_step(), value, clock(time.monotonic() - work.started)]
        activity = work.activity or ("starting" if work.number is None else "")
        text = Text(activity, style="cyan", no_wrap=True, overflow="ellipsis")
        text.append(f"{'  ' * bool(activity)}{format_params(work.params)}", style="default")
        table.add_row(*([str(worker)] if several else []), *cells, text)
    return table
