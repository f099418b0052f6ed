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
    # Copies: this runs in rich's thread while the driver's adds and removes trials.
    running, starting = progress.running.copy(), progress.starting.copy()
    workers = sorted(running.keys() | starting.keys())
    several = len(workers) > 1 or any(workers)
    metric = progress.metric if len(progress.metric) <= _LONGEST_METRIC else f"{progress.metric[: _LONGEST_METRIC - 1]}…"
    for column in (*(["worker"] if several else []), "trial", "step", metric, "time"):
        table.add_column(Text(column), no_wrap=True)
    # A column that may wrap is the one that shrinks; its text is cut all the same.
    table.add_column(Text("parameters"), overflow="ellipsis")
    for worker in workers:
        cells = [str(worker)] if several else []
        if worker in running:
            trial = running[worker]
            value = "-" if trial.value is None else f"{trial.value:.6g}"
            cells += [str(trial.number), trial.shown_step(), value, clock(time.monotonic() - trial.started)]
            table.add_row(*cells, _cut(trial.activity, format_params(trial.params)))
        else:
            start = starting[worker]
            cells += ["-", "-", "-", clock(time.monotonic() - start.started)]
            table.add_row(*cells, _cut(start.activity or "starting", ""))
    return table


def _cut(activity: str, params: str) -> Text:
    text = Text(activity, style="cyan", no_wrap=True, overflow="ellipsis")
    return text.append(f"{'  ' * bool(activity)}{params}", style="default")
