"""What search keeps in a study and its trials: the names of its user attributes, and what is read from them.

Any Optuna study may have attributes of its own, under any name and of any shape. Those of search begin with `PREFIX`, and every
reader here checks what it finds: a value of another shape counts as absent.

optuna-dashboard shows a trial's user attributes, each in a line. What has at most `LONGEST_SHOWN` characters is one; the rest
is a system attribute of the same name (`search.records.saving`).
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.records.optuna_keys import CONSTRAINTS, FIXED_PARAMS

if TYPE_CHECKING:  # a worker that only waits does without
    import optuna
    from optuna.trial import FrozenTrial

PREFIX = "search:"
"""Begins every name of an attribute that search writes or reads."""

LONGEST_SHOWN = 200
"""Characters of a user attribute of ours, as JSON."""

FILE_KEY = f"{PREFIX}study_file"
"""Study user attribute: what the study's file says, as JSON."""

DRIVER_KEY = f"{PREFIX}driver"
"""Study user attribute: the `Owner` that drives the study now, and which study it drives: a copy has the attribute too.

None where nobody does. Who joined it with `search worker` is not named.
"""

BUDGET_KEY = f"{PREFIX}trials"
"""Study user attribute: the budget of the last launch, which holds for whoever joins."""

FINGERPRINT_KEY = f"{PREFIX}fingerprint"
"""Study user attribute, a table: a hash of each thing that the values of its trials depend on besides the file."""

REFERENCES_KEY = f"{PREFIX}references"
"""Study user attribute, a table: what is reached without a search, by name a list with a value for each direction."""

TOKEN_KEY = f"{PREFIX}token"
"""Study system attribute: random, so that another study of the same name is told apart from this one."""

WARM_KEY = f"{PREFIX}warm_start"
"""User attribute: a trial's `WarmLink`, or a study's `WarmSource`."""

PORTFOLIO_KEY = f"{PREFIX}portfolio"
"""Study user attribute: its `Portfolio`."""

STOPPED_KEY = f"{PREFIX}stopped"
"""Study user attribute: the digest of a sampler of the user's own that wants no more trials."""

OWNER_KEY = f"{PREFIX}owner"
"""Trial system attribute: the `Owner` that asked for the trial, and which of its workers runs it.

One attribute, not two: each costs a trial two statements in the storage.
"""

WORKER_KEY = "worker"
"""In the owner of a trial: the number of the worker."""

CLOCK_KEY = "clock"
"""In the owner of a trial: its driver's monotonic clock when it began."""

BEAT_KEY = f"{PREFIX}beat"
"""Trial system attribute: its driver's monotonic clock when that last showed that it lives, on one of its trials for all."""

RAN_KEY = f"{PREFIX}ran_s"
"""Trial user attribute: the seconds that it ran; only where its two moments do not tell them."""

SEED_KEY = f"{PREFIX}seed"
"""Trial user attribute: its seed. The objective reads it as `SHOWN_SEED`."""

SHOWN_SEED = "seed"
"""What the objective calls its seed, in the user attributes of the trial that a worker hands to it."""

RETRY_KEY = f"{PREFIX}retry_of"
"""Trial user attribute: the number of the first try of the config that this one takes up again."""

RETRIES_KEY = f"{PREFIX}retries"
"""Trial user attribute: how often this config was tried again because of a fault that may have been its own."""

QUEUED_KEY = f"{PREFIX}enqueued"
"""Trial attribute: the entry of the file's queue that this trial tries."""

FINALIST_KEY = f"{PREFIX}finalist"
"""Trial user attribute in a study of finalists: the trial of the search whose config it runs again."""

FINALISTS_OF_KEY = f"{PREFIX}finalists_of"
"""User attribute of a study of finalists: the token of the search."""

FAILURE_KEY = f"{PREFIX}failure"
"""Trial attribute: why it ended as it did, in one line."""

TRACEBACK_KEY = f"{PREFIX}traceback"
"""Trial attribute: where it ended."""

CONFIG_KEY = f"{PREFIX}config"
"""Trial attribute, a table: every value needed to train, where the objective knows more than settings and parameters."""

PROVENANCE_KEY = f"{PREFIX}provenance"
"""Trial attribute, a table: what the objective wants known about its values, such as the hash of its data."""

NOTICE = "notice"
"""In the provenance: what must be said wherever the values are shown, such as what a model is not for."""

IMPORTED_KEY = f"{PREFIX}trial_id"
"""Trial user attribute: KerasTuner's name of the trial."""

STATUS_KEY = f"{PREFIX}status"
"""Trial user attribute: KerasTuner's status of the trial when it was imported."""

METRICS_KEY = f"{PREFIX}metrics"
"""Trial attribute: every metric that KerasTuner had of the trial."""

UNKNOWN_TIMES_KEY = f"{PREFIX}unknown_times"
"""Trial user attribute: which times of the trial are not KerasTuner's."""

OBJECTIVE_KEYS = (CONFIG_KEY, PROVENANCE_KEY)
"""Keys of ours that the objective sets."""

RUN_KEYS = (OWNER_KEY, RAN_KEY, RETRY_KEY, RETRIES_KEY, FINALIST_KEY, QUEUED_KEY)
"""Trial user attributes that say how one study came to a trial, not what the trial was."""

RETRIED_KEYS = (SEED_KEY, QUEUED_KEY, FINALIST_KEY)
"""Trial user attributes that the retry of a trial has too."""

_FORMER_FILE_KEY = "study_file"  # before the prefix
_MOST_WORKERS = 100_000
_OF_A_FILE = {"objective": str, "directions": list, "seed": int, "space": dict, "settings": dict, "enqueue": list}


@dataclass(frozen=True)
class WarmLink:
    """In which study, and as which trial, one of a warm start was run; as a dictionary, its user attribute.

    It is `compared` where its value means what the values of this study do.
    """

    study: str
    trial: int
    compared: bool


def file_of(study: "optuna.Study") -> Mapping[str, Any] | None:
    """Returns what the study's file says; None for a study that has none, as one of plain Optuna."""
    return _file(study.user_attrs.get(FILE_KEY))


def has_former_records(study: "optuna.Study") -> bool:
    """Returns whether a version of search kept its records here that did not set them apart from others yet."""
    return file_of(study) is None and _file(study.user_attrs.get(_FORMER_FILE_KEY)) is not None


def budget_of(study: "optuna.Study") -> int | None:
    """Returns the budget of the last launch, or None."""
    return whole_in(study.user_attrs.get(BUDGET_KEY), low=1)


def fingerprint_of(study: "optuna.Study") -> Mapping[str, str] | None:
    """Returns what the values of a study's trials depend on besides its file, or None where no worker has said so yet."""
    return _table(study.user_attrs.get(FINGERPRINT_KEY))


def references_of(study: "optuna.Study") -> dict[str, tuple[float, ...]]:
    """Returns what is reached without a search, by name a finite value for each direction; empty if unmeasured."""
    table = study.user_attrs.get(REFERENCES_KEY)
    if not isinstance(table, dict):
        return {}
    numbers = {str(name): tuple(map(number_in, values)) for name, values in table.items() if isinstance(values, list)}
    finite = {name: tuple(value for value in values if value is not None) for name, values in numbers.items()}
    return {name: values for name, values in finite.items() if len(values) == len(study.directions)}


def warm_link(trial: "FrozenTrial") -> WarmLink | None:
    """Returns where a trial of a warm start was run; None for one of this study."""
    match trial.user_attrs.get(WARM_KEY):
        case {"study": str(name), "trial": int(number), "compared": bool(compared)}:
            return WarmLink(name, number, compared)
    return None


def is_warm(trial: "FrozenTrial") -> bool:
    """Returns whether a trial was run in another study."""
    return warm_link(trial) is not None


def is_infeasible(trial: "FrozenTrial") -> bool:
    """Returns whether a trial breaks a constraint."""
    return any(value > 0 for value in constraints_of(trial).values())


def constraints_of(trial: "FrozenTrial") -> dict[str, float]:
    """Returns a trial's constraints, those that are numbers, by name; none where Optuna's property would raise."""
    attrs = trial.system_attrs
    # All trials are asked for each new one: most have none, which their names tell in half of the time.
    if not any(name.startswith(CONSTRAINTS) for name in attrs) or not isinstance(attrs.get(CONSTRAINTS, []), list):
        return {}
    return {name: value for name, value in trial.constraints.items() if isinstance(value, int | float)}


def is_result(trial: "FrozenTrial") -> bool:
    """Returns whether a trial may be the best one.

    It is COMPLETE and feasible, its values are finite, and they mean what the study's do.
    """
    if trial.state.name != "COMPLETE" or not trial.values or not all(map(math.isfinite, trial.values)):
        return False
    link = warm_link(trial)
    return not is_infeasible(trial) and (link is None or link.compared)


def given_of(trial: "FrozenTrial") -> Mapping[str, Any]:
    """Returns the parameters that whoever enqueued a trial gave it, as Optuna keeps them; empty where there are none."""
    return _table(trial.system_attrs.get(FIXED_PARAMS)) or {}


def owner_of(trial: "FrozenTrial") -> Mapping[str, Any]:
    """Returns who ran a trial, as it is on record; empty where that is not known."""
    return _table(_kept(trial, OWNER_KEY)) or {}


def worker_of(trial: "FrozenTrial") -> int | None:
    """Returns which worker of its driver ran a trial, or None."""
    return whole_in(owner_of(trial).get(WORKER_KEY), low=0, below=_MOST_WORKERS)


def seed_of(trial: "FrozenTrial") -> int | None:
    """Returns a trial's seed, or None."""
    return whole_in(trial.user_attrs.get(SEED_KEY))


def retry_of(trial: "FrozenTrial | optuna.Trial") -> int | None:
    """Returns the number of the first try that this trial takes up again, which is lower than its own; None for no retry."""
    return whole_in(trial.user_attrs.get(RETRY_KEY), low=0, below=trial.number)


def retries_of(trial: "FrozenTrial | optuna.Trial") -> int:
    """Returns how often a trial's config was tried again before."""
    return whole_in(trial.user_attrs.get(RETRIES_KEY), low=0) or 0


def queued_of(trial: "FrozenTrial") -> Mapping[str, Any] | None:
    """Returns the entry of the file's queue that a trial tries, or None."""
    return _table(_kept(trial, QUEUED_KEY))


def finalist_of(trial: "FrozenTrial") -> int | None:
    """Returns the number of the trial of the search whose config this one runs again, or None."""
    return whole_in(trial.user_attrs.get(FINALIST_KEY), low=0)


def failure_of(trial: "FrozenTrial") -> str | None:
    """Returns why a trial ended as it did, or None."""
    return _text(_kept(trial, FAILURE_KEY))


def traceback_of(trial: "FrozenTrial") -> str | None:
    """Returns where a trial ended, or None."""
    return _text(_kept(trial, TRACEBACK_KEY))


def config_of(trial: "FrozenTrial") -> Mapping[str, Any] | None:
    """Returns what the objective has put on record as the values needed to train, or None."""
    return _table(_kept(trial, CONFIG_KEY))


def provenance_of(trial: "FrozenTrial") -> Mapping[str, Any]:
    """Returns what the objective has put on record about its values; empty where it has not."""
    return _table(_kept(trial, PROVENANCE_KEY)) or {}


def imported_of(trial: "FrozenTrial") -> str | None:
    """Returns KerasTuner's name of a trial, or None."""
    return _text(trial.user_attrs.get(IMPORTED_KEY))


def without_records(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the user attributes that are not search's."""
    return {key: value for key, value in attrs.items() if not key.startswith(PREFIX)}


def shown_attrs(trial: "optuna.Trial") -> dict[str, Any]:
    """Returns what an objective gets to see of a trial's user attributes: what is not search's, and its seed."""
    attrs = trial.user_attrs
    return {**without_records(attrs), SHOWN_SEED: attrs[SEED_KEY]}


def _kept(trial: "FrozenTrial", key: str) -> Any:
    return trial.system_attrs.get(key, trial.user_attrs.get(key))


def _file(value: Any) -> Mapping[str, Any] | None:
    table = _table(value)
    sound = table is not None and all(isinstance(table.get(key), kind) for key, kind in _OF_A_FILE.items())
    return table if sound else None


def number_in(value: Any) -> float | None:
    """Returns the finite number that is on record, or None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) <= sys.float_info.max else None


def whole_in(value: Any, *, low: float = -math.inf, below: float = math.inf) -> int | None:
    """Returns the whole number in [low, below) that is on record, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and low <= value < below else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _table(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None
