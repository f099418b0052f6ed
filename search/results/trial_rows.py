"""The trials of a study as rows: for the table of `search status`, as CSV and as JSON."""

import csv
import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.driver.ownership import Owner
from search.records.attributes import failure_of, file_of, given_of, owner_of, retry_of, warm_link, worker_of
from search.records.constraints import describe_broken, set_by_objective
from search.records.durations import began_at, clock_of, duration_of
from search.records.reports import reports_of
from search.records.rungs import is_paused, paused_seconds, rungs_of
from search.records.states import state_name
from search.records.values import value_keys, value_names
from search.results.ranking import best_trials
from search.study_file.pruner_reach import steps_of
from search.text import plain

_BEFORE, _AFTER = ("trial", "state", "step"), ("seconds", "began", "note", "worker")  # columns of CSV, around the values


@dataclass(frozen=True)
class TrialRow:
    """What is shown of a trial.

    Attributes:
        state: See `state_name`.
        step: How far it is or came, ``3/20`` or the number of its last step; empty where it has reported nothing.
        values: One for each direction; of a trial that runs the last it has reported; empty where there is none.
        params: What was drawn, or given.
        seconds: For how long it ran or runs; None where it has not begun, or that is not known.
        began: When it began, in ISO 8601 to the second; of one that was paused, when it went on.
        note: Why it failed, what constraints it breaks, or where it comes from.
        host: The machine of the driver that runs it, or lost it; empty of any other trial.
        worker: Who does, as the log of one that joined is called: ``HOST-PID.worker-N``.
    """

    number: int
    state: str
    step: str
    values: tuple[float, ...]
    params: Mapping[str, Any]
    seconds: float | None
    began: str | None
    note: str
    host: str = ""
    worker: str = ""


def rows_of(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[TrialRow]:
    """Returns a row for each of some trials of a study."""
    file, reports = file_of(study) or {}, reports_of(study)
    settings = file.get("settings", {})
    return [
        TrialRow(
            trial.number,
            state_name(trial),
            _step(trial, steps_of(trial.params, settings, reports)),
            _values(trial),
            trial.params or given_of(trial),
            _seconds(trial),
            trial.datetime_start.isoformat(timespec="seconds") if trial.datetime_start else None,
            _note(trial),
            *_runner(trial),
        )
        for trial in trials
    ]


def as_csv(study: optuna.Study, trials: Sequence[FrozenTrial]) -> str:
    """Returns trials as CSV, with a header; a column for each value, called `value_keys`, and each parameter.

    Text has no effect on a terminal, nor in a spreadsheet: a single quote stands before what that would take for a formula.
    """
    rows, names = rows_of(study, trials), value_keys(value_names(study), (*_BEFORE, *_AFTER))
    params = list(dict.fromkeys(name for row in rows for name in row.params))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, [*_BEFORE, *names, *_AFTER, *(f"params.{name}" for name in params)]))
    for row in rows:
        values = [*row.values, *[""] * (len(names) - len(row.values))]
        seconds = None if row.seconds is None else round(row.seconds, 3)
        drawn = [row.params.get(name, "") for name in params]
        drawn = ["None" if value is None else value for value in drawn]  # an empty cell says that it has no such parameter
        cells = [row.number, row.state, row.step, *values, seconds, row.began, row.note, row.worker, *drawn]
        writer.writerow(map(_cell, cells))
    return text.getvalue()


def as_json(study: optuna.Study, trials: Sequence[FrozenTrial], finished: int, budget: int | None) -> str:
    """Returns a study and some of its trials as JSON; a number that JSON has not is null."""
    names = value_names(study)
    rows = [
        {
            "trial": row.number,
            "state": row.state,
            "step": row.step or None,
            "values": {name: _finite(value) for name, value in zip(names, row.values, strict=False)},
            "seconds": None if row.seconds is None else round(row.seconds, 3),
            "began": row.began,
            "note": row.note or None,
            "worker": row.worker or None,
            "params": {name: _finite(value) for name, value in row.params.items()},
        }
        for row in rows_of(study, trials)
    ]
    best = [trial.number for trial in best_trials(study)]
    table = {"study": study.study_name, "finished": finished, "budget": budget, "best": best, "trials": rows}
    return json.dumps(table, indent=2, ensure_ascii=False, default=str) + "\n"


def _step(trial: FrozenTrial, steps: int | None) -> str:
    if not trial.intermediate_values:
        return ""
    last = max(trial.intermediate_values)
    return str(last) if steps is None else f"{last + 1}/{steps}"


def _values(trial: FrozenTrial) -> tuple[float, ...]:
    if trial.values:
        return tuple(trial.values)
    if is_paused(trial):
        return (list(rungs_of(trial).values())[-1].value,)
    if trial.state is TrialState.RUNNING and trial.intermediate_values:
        return (trial.intermediate_values[max(trial.intermediate_values)],)
    return ()


def _seconds(trial: FrozenTrial) -> float | None:
    if is_paused(trial):
        return paused_seconds(trial)
    if trial.state is not TrialState.RUNNING or (began := began_at(trial)) is None:
        return duration_of(trial)
    owner, clock = Owner.from_attr(owner_of(trial)), clock_of(trial)
    if clock is not None and owner is not None and owner.boot and owner.is_here:  # this clock is its own, and nobody sets it
        return paused_seconds(trial) + max(0.0, time.monotonic() - clock)
    return paused_seconds(trial) + max(0.0, time.time() - began)


def _cell(value: Any) -> Any:
    """Returns a cell that no spreadsheet runs (OWASP, "CSV Injection"), and no terminal; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    text = plain(value, len(value))
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _runner(trial: FrozenTrial) -> tuple[str, str]:
    """Returns a trial's `host` and `worker`."""
    owner = Owner.from_attr(owner_of(trial)) if state_name(trial) in ("running", "lost") else None
    return ("", "") if owner is None else (plain(owner.host), plain(f"{owner.host}-{owner.pid}.worker-{worker_of(trial) or 0}"))


def _note(trial: FrozenTrial) -> str:
    link, first, failure = warm_link(trial), retry_of(trial), failure_of(trial)
    origin = f"trial {link.trial} of {link.study}" if link else ""
    origin = f"retry of {first}" if first is not None else origin
    note = "" if failure == state_name(trial) else failure or describe_broken(set_by_objective(trial))
    return plain(note or origin)
