"""A study as a person reads it: counts, the best trial or the Pareto front, and a table of trials."""

import contextlib
import time
from collections.abc import Iterator, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from search.driver.ownership import Owner, describe_foreign, driver_of, is_copy, is_foreign
from search.records.attributes import budget_of, file_of, is_warm, owner_of
from search.records.states import count_states
from search.records.values import value_names
from search.results.ranking import describe_best, describe_results_missing
from search.results.tables import FoldedTable, make_console, print_parts
from search.results.trial_rows import rows_of
from search.storage.open import as_of_now
from search.study_file.load import StudySpec
from search.text import clock, format_params, plain

_STYLES = {"running": "cyan", "complete": "green", "pruned": "yellow", "fail": "red", "paused": "cyan"}
"""Colours by state; the other states have none."""

_SECONDS_BETWEEN = 2.0
_LINES_BESIDE_ROWS = 8  # of a terminal


def print_status(study: optuna.Study, *, budget: int | None, rows: int | None, console: Console | None = None) -> None:
    """Prints a study with so many `rows` of its last trials (None: all), to stdout by default; `budget` as in `budget_in`."""
    print_parts(_parts(study, budget, rows), console)


def watch_status(study: optuna.Study, *, budget: int | None, console: Console | None = None) -> None:
    """Draws the study anew in place, every two seconds, until nobody is at work at it or ^C; then prints it."""
    console = console or make_console()

    def drawn() -> RenderableType:
        rows = max(3, min(20, console.height - _LINES_BESIDE_ROWS))
        parts = [Text(part) if isinstance(part, str) else part for part in _parts(study, budget, rows)]
        return Group(*sorted(parts, key=lambda part: not isinstance(part, Text)))  # a low terminal cuts the end off

    with contextlib.suppress(KeyboardInterrupt), Live(drawn(), console=console, auto_refresh=False, transient=True) as live:
        while is_at_work(study):
            live.update(drawn(), refresh=True)
            time.sleep(_SECONDS_BETWEEN)
    print_status(study, budget=budget, rows=20, console=console)


def is_at_work(study: optuna.Study) -> bool:
    """Returns whether a driver of the study may be alive."""
    return driver_of(study) is not None or bool(_hosts_at_work(study, study.get_trials(deepcopy=False)))


def _parts(study: optuna.Study, budget: int | None, rows: int | None) -> Iterator[str | FoldedTable]:
    """Yields the lines of a study's status, and the table: of one moment, and not after that which tells of the driver."""
    driver, study = driver_of(study), as_of_now(study)
    trials = study.get_trials(deepcopy=False)
    counts = count_states(trials)
    states = " · ".join(f"{count} {state}" for state, count in counts.items())
    done = f"{finished_count(study)}{f'/{budget}' if budget is not None else ''} trials finished"
    yield f"{plain(study.study_name)}: {done}" + (f" ({states})" if states else "")
    if driver is not None:
        yield f"A driver is at work: process {driver.pid} on {plain(driver.host)}."
    elif any(trial.state is TrialState.RUNNING and not is_foreign(trial) for trial in trials):
        hosts = sorted(_hosts_at_work(study, trials))
        lost = "No driver is at work: what is still running was lost, and the next launch takes it up again."
        yield f"Trials run on {plain(', '.join(hosts))}, as far as is known." if hosts else lost
    if foreign := describe_foreign(trials):
        yield foreign
    if own := _own_classes(study):
        yield own
    shown = trials if rows is None else trials[-rows:]
    if shown:
        yield _table(study, shown)
    if any(trial.state is TrialState.PRUNED and trial.values for trial in shown):
        yield "In brackets: the value at which a trial was pruned, which is not one of a whole trial."
    if len(shown) < len(trials):
        yield f"The last {len(shown)} of {len(trials)} trials; --all shows every one."
    if best := describe_best(study):
        yield best
    elif counts.get("complete"):
        yield f"No best trial: {describe_results_missing(trials)}."


def _own_classes(study: optuna.Study) -> str:
    """Returns the classes that draw and prune, where they are not those of Optuna that have a name here."""
    file = file_of(study) or {}
    choices = ((part, file.get(part)) for part in ("sampler", "pruner"))
    own = [f"{part} {plain(table['target'])}" for part, table in choices if isinstance(table, dict) and "target" in table]
    return f"With the {' and the '.join(own)}." if own else ""


def _hosts_at_work(study: optuna.Study, trials: Sequence[FrozenTrial]) -> set[str]:
    """Returns the machines of the drivers that have a running trial and may be alive; none of a copy, where nobody runs it."""
    if is_copy(study):
        return set()
    running = (trial for trial in trials if trial.state is TrialState.RUNNING)
    owners = (Owner.from_attr(owner_of(trial)) for trial in running)
    return {owner.host for owner in owners if owner is not None and owner.may_live()}


def budget_in(study: optuna.Study, spec: StudySpec | None) -> int | None:
    """Returns how many trials the last launch wanted, or else the study's own file does; None where neither says."""
    file = spec.policy.trials if spec is not None and spec.name == study.study_name else None
    return budget_of(study) or file


def finished_count(study: optuna.Study) -> int:
    """Returns how many trials count against the budget: COMPLETE and PRUNED, and run in this study."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return sum(not is_warm(trial) for trial in finished)


def _table(study: optuna.Study, trials: list[FrozenTrial]) -> FoldedTable:
    """Returns a table of trials; where the terminal is narrow, headers, parameters and notes are broken into lines."""
    rows = rows_of(study, trials)
    steps = any(row.state in ("running", "paused") for row in rows)
    hosts = len({row.host for row in rows if row.state == "running" and row.host}) > 1
    table = FoldedTable()
    where = [*(["host"] if hosts else []), *(["step"] if steps else [])]
    table.add_figures("trial", "state", *where, *map(plain, value_names(study)))
    table.add_names("parameters")
    table.add_figures("duration", justify="right")
    table.add_names("note")
    for row in rows:
        values = [f"({value:.6g})" if row.state == "pruned" else f"{value:.6g}" for value in row.values]
        values += [""] * (len(study.directions) - len(values))
        took = "" if row.seconds is None else clock(row.seconds)
        step = [row.step if row.state in ("running", "paused") else ""] if steps else []
        host = [row.host] if hosts else []
        cells = (*host, *step, *values, format_params(row.params), took, row.note)
        table.add_row(str(row.number), Text(row.state, _STYLES.get(row.state, "")), *map(Text, cells))
    return table
