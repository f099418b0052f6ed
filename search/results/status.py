"""A study as a person reads it: counts, the best trial or the Pareto front, and a table of trials."""

from collections import Counter

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.driver.ownership import Owner
from search.records.attributes import DRIVER_KEY, failure_of, given_of, is_warm, owner_of, retry_of, warm_link
from search.records.durations import duration_of
from search.records.values import value_names
from search.results.ranking import describe_best
from search.text import clock, format_params, plain, print_line

_STYLES = {TrialState.COMPLETE: "green", TrialState.PRUNED: "yellow", TrialState.FAIL: "red", TrialState.RUNNING: "cyan"}


def print_status(study: optuna.Study, *, budget: int | None, rows: int | None, console: Console | None = None) -> None:
    """Prints the study.

    Args:
        study: The study.
        budget: COMPLETE and PRUNED trials wanted in total; None where no study file says.
        rows: So many of the last trials; None for all.
        console: Where to; stdout by default.
    """
    console = console or Console()
    trials = study.get_trials(deepcopy=False)
    counts = Counter(trial.state for trial in trials if not is_warm(trial))
    states = " · ".join(f"{counts[state]} {state.name.lower()}" for state in TrialState if counts[state])
    if warm := len(trials) - counts.total():
        states += f"{' · ' * bool(states)}{warm} of a warm start"
    done = f"{finished_count(study)}{f'/{budget}' if budget is not None else ''} trials finished"
    print_line(console, f"{plain(study.study_name)}: {done}" + (f" ({states})" if states else ""))
    driver = Owner.from_attr(study.user_attrs.get(DRIVER_KEY))
    if driver is not None and driver.may_live():
        print_line(console, f"A driver is at work: process {driver.pid} on {plain(driver.host)}.")
    elif counts[TrialState.RUNNING]:
        hosts = sorted(_hosts_at_work(trials))
        lost = "No driver is at work: what is still running was lost, and the next launch takes it up again."
        print_line(console, f"Trials run on {plain(', '.join(hosts))}, as far as is known." if hosts else lost)
    if best := describe_best(study):
        print_line(console, best)
    shown = trials if rows is None else trials[-rows:]
    if shown:
        console.print(_table(study, shown))
    if len(shown) < len(trials):
        print_line(console, f"The last {len(shown)} of {len(trials)} trials; --all shows every one.")


def _hosts_at_work(trials: list[FrozenTrial]) -> set[str]:
    """Returns the machines of the drivers that have a running trial and may be alive."""
    running = (trial for trial in trials if trial.state is TrialState.RUNNING)
    owners = (Owner.from_attr(owner_of(trial)) for trial in running)
    return {owner.host for owner in owners if owner is not None and owner.may_live()}


def finished_count(study: optuna.Study) -> int:
    """Returns how many trials count against the budget: COMPLETE and PRUNED, and run in this study."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return sum(not is_warm(trial) for trial in finished)


def _table(study: optuna.Study, trials: list[FrozenTrial]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("trial", "state", *value_names(study)):
        table.add_column(Text(plain(column)), no_wrap=True)
    table.add_column("parameters", overflow="fold")
    table.add_column("duration", no_wrap=True, justify="right")
    table.add_column("note", overflow="fold")
    for trial in trials:
        name, style = trial.state.name.lower(), _STYLES.get(trial.state)
        values = [f"{value:.6g}" for value in trial.values or []]
        values += [""] * (len(study.directions) - len(values))
        took = "" if (ran := duration_of(trial)) is None else clock(ran)
        params = format_params(trial.params or given_of(trial))
        cells = (*values, params, took, _note(trial))
        table.add_row(str(trial.number), Text(name, style or ""), *map(Text, cells))
    return table


def _note(trial: FrozenTrial) -> str:
    link, first, failure = warm_link(trial), retry_of(trial), failure_of(trial)
    origin = f"trial {link.trial} of {link.study}" if link else ""
    origin = f"retry of {first}" if first is not None else origin
    return plain(origin if failure is None else failure)
