"""Says what a study was made of: objective, data, settings, when it ran, and what its objective put on record."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from search.records.attributes import NOTICE, file_of, provenance_of
from search.records.durations import earlier_seconds
from search.records.moments import moments_of
from search.text import show_value

_DATA = "data"


def origin(study: optuna.Study, best: FrozenTrial | None) -> list[tuple[str, str]]:
    """Returns lines of a table (what, value), data and versions as the best trial has them; a study of plain Optuna has few.

    What both the file and the trial say is one line.
    """
    return list(dict.fromkeys([*_dates(study), *_from_file(study), *_recorded(best)]))


def in_short(study: optuna.Study) -> str:
    """Returns objective, data and days in one line."""
    file = file_of(study) or {}
    settings = file.get("settings", {})
    parts = [f"Objective {file['objective']}"] if file else []
    parts += [f"data {_value(settings[_DATA])}"] if settings.get(_DATA) else []
    days = [value for _, value in _dates(study)]
    return "; ".join([*parts, f"trials of {' to '.join(dict.fromkeys(day[:10] for day in days))}"] if days else parts)


def describe_choice(options: Mapping[str, Any]) -> str:
    """Returns a sampler or a pruner, as a study's record has it, with its options."""
    named = [f"{key} {_value(value)}" for key, value in options.items() if key not in ("name", "target")]
    return ", ".join([str(options.get("name", options.get("target"))), *named])


def notice_in(records: Iterable[Mapping[str, Any]]) -> str:
    """Returns what the objective wants said wherever its values are shown; empty where none of its records says anything."""
    return next((str(record[NOTICE]) for record in records if NOTICE in record), "")


def _dates(study: optuna.Study) -> Iterator[tuple[str, str]]:
    trials = study.get_trials(deepcopy=False)
    moments = moments_of(trials)
    started = [
        (moments[trial.number][0] - earlier_seconds(trial), trial.datetime_start - timedelta(seconds=earlier_seconds(trial)))
        for trial in trials
        if trial.datetime_start
    ]
    ended = [(moments[trial.number][1], trial.datetime_complete) for trial in trials if trial.datetime_complete]
    for what, shown, choose in (("first trial began", started, min), ("last trial ended", ended, max)):
        if shown:
            yield what, choose(shown)[1].isoformat(" ", "minutes")


def _from_file(study: optuna.Study) -> Iterator[tuple[str, str]]:
    file = file_of(study)
    if file is None:
        return
    yield "objective", file["objective"]
    yield "seed of the study", str(file["seed"])
    for part in ("sampler", "pruner"):
        if isinstance(options := file.get(part), Mapping):
            yield part, describe_choice(options)
    yield from ((str(key), _value(value)) for key, value in file["settings"].items())


def _recorded(trial: FrozenTrial | None) -> Iterator[tuple[str, str]]:
    if trial is not None:
        yield from ((str(key), _value(value)) for key, value in provenance_of(trial).items() if key != NOTICE)


def _value(value: object) -> str:
    return ", ".join(map(show_value, value)) if isinstance(value, list) else show_value(value)
