"""What is kept of the rungs that a trial has climbed, where its study has a fidelity: the value at each, and the seconds.

Between two rungs such a trial is paused: WAITING, as one that was enqueued. A dashboard shows it so, and whoever else calls
`study.ask()` takes it for one, and runs it to an end of its own. What sets it apart is that it has a rung.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.records.attributes import PREFIX, number_in, whole_in

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

RUNGS_KEY = f"{PREFIX}rungs"
"""Trial system attribute, a table: by the value of the fidelity, the trial's value and the seconds since the last rung."""

REPORTED_KEY = f"{PREFIX}reported"
"""Trial system attribute of a retry that begins on a rung: how many of its reports an earlier try has made."""

_WAITING = 4  # of Optuna's TrialState, which a worker that only waits does without


@dataclass(frozen=True)
class Rung:
    """A rung that a trial has reached: what the objective returned there, and how long the trial ran since the rung before."""

    value: float
    seconds: float


def rungs_of(trial: "FrozenTrial") -> dict[int, Rung]:
    """Returns the rungs that a trial has reached, by the value of the fidelity, ascending; empty where there is none."""
    table = trial.system_attrs.get(RUNGS_KEY)
    if not isinstance(table, Mapping):
        return {}
    found = [(int(key), rung) for key, entry in table.items() if key.isdecimal() and (rung := _rung(entry)) is not None]
    return dict(sorted(found))


def count_rungs(trial: "FrozenTrial") -> int:
    """Returns how many rungs a trial has on record, without a look at them; hundreds of trials are asked at each turn."""
    table = trial.system_attrs.get(RUNGS_KEY)
    return len(table) if isinstance(table, Mapping) else 0


def as_attr(rungs: Mapping[int, Rung]) -> dict[str, list[float]]:
    """Returns rungs as they are kept."""
    return {str(reached): [rung.value, round(rung.seconds, 3)] for reached, rung in rungs.items()}


def is_paused(trial: "FrozenTrial") -> bool:
    """Returns whether a trial waits for its promotion, rather than for its beginning."""
    return trial.state == _WAITING and bool(rungs_of(trial))


def has_begun(trial: "FrozenTrial") -> bool:
    """Returns whether a trial runs, has ended or is paused, rather than waits to begin."""
    return trial.state != _WAITING or is_paused(trial)


def paused_seconds(trial: "FrozenTrial") -> float:
    """Returns how long a trial ran up to the last rung that it has reached."""
    return sum(rung.seconds for rung in rungs_of(trial).values())


def last_leg_seconds(trial: "FrozenTrial") -> float:
    """Returns how long a trial took to the last rung that it has reached from the one before."""
    return next((rung.seconds for rung in reversed(rungs_of(trial).values())), 0.0)


def reports_made(trial: "FrozenTrial") -> int:
    """Returns how many reports a trial has made itself, without those of the try that it takes up again."""
    earlier = whole_in(trial.system_attrs.get(REPORTED_KEY), low=0) or 0
    return max(0, len(trial.intermediate_values) - earlier)


def _rung(entry: Any) -> Rung | None:
    if not isinstance(entry, list) or len(entry) != 2:
        return None
    value, seconds = map(number_in, entry)
    return None if value is None or seconds is None else Rung(value, max(0.0, seconds))
