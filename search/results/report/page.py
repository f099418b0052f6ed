"""Shows a study as one page: sections in the order in which a person asks, as ``report.html`` has them."""

from itertools import combinations
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from search.records.attributes import provenance_of
from search.records.durations import duration_of
from search.records.states import count_states, state_name
from search.results.report import figures, landscape
from search.results.report.facts import Facts, Failure, gather
from search.results.report.html import page
from search.results.report.importances import FEW
from search.results.report.origin import in_short, notice_in, origin
from search.results.report.pictures import pictures_of
from search.text import clock, show_value

_LIMITS = {"axes": 10, "few": FEW, "params": 40, "failures": 20, "numbers": 12, "traceback": 30_000}
"""So many are shown, or taken for few."""


@figures.white()
def render(study: optuna.Study, artifacts: Path | None = None) -> str:
    """Returns the report of a study, whoever made it, as an HTML page that needs no network.

    It is of a snapshot where the study may still go on. The pictures of the best trial are in the folder `artifacts`.

    Raises:
        StudyError: No trial has ended yet.
    """
    facts = gather(study)
    best = facts.best[0] if len(facts.best) == 1 else None
    params = list(dict.fromkeys(name for trial in facts.top for name in trial.params))
    return page(
        "report.html",
        facts=facts,
        states=", ".join(f"{count} {state}" for state, count in count_states(facts.trials).items()),
        state_name=state_name,
        params=params,
        configs=[_config(facts, rank, trial, params[: _LIMITS["params"]]) for rank, trial in enumerate(facts.top, 1)],
        failures=[_failure(failure) for failure in facts.failures[: _LIMITS["failures"]]],
        most=_LIMITS,
        pairs=list(combinations(facts.metrics, 2)),
        figures=figures,
        landscape=landscape,
        notice=notice_in(map(provenance_of, facts.trials)),
        in_short=in_short(study),
        origin=origin(study, facts.best[0] if facts.best else None),
        pictures=pictures_of(study, best, artifacts) if best is not None and artifacts is not None else [],
    )


def _config(facts: Facts, rank: int, trial: FrozenTrial, params: list[str]) -> list[str]:
    star = " ★" if facts.baseline is not None and trial.number == facts.baseline.number else ""
    seconds = duration_of(trial)
    return [
        str(rank) if len(facts.metrics) == 1 else "",
        f"{trial.number}{star}",
        *(f"{metric.of(trial):.6g}" for metric in facts.metrics),
        "" if seconds is None else clock(seconds),
        *(show_value(trial.params[name]) if name in trial.params else "" for name in params),
    ]


def _failure(failure: Failure) -> list[str]:
    shown = failure.numbers[: _LIMITS["numbers"]]
    which = [*map(str, shown), *(["…"] if len(failure.numbers) > len(shown) else [])]
    return [str(len(failure.numbers)), failure.reason, ", ".join(which)]
