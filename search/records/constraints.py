"""The constraints that an objective sets, and which of them a trial breaks; that of memory is the driver's."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from search.records.attributes import PREFIX, constraints_of, without_records
from search.records.optuna_keys import CONSTRAINTS
from search.text import plain

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MEMORY_CONSTRAINT = f"{PREFIX}memory"
"""Optuna's name of the constraint that a config breaks which needs more memory than there is: 1 is broken, -1 is kept."""


def key_of(name: str) -> str:
    """Returns the trial system attribute that is a constraint."""
    return f"{CONSTRAINTS}:{name}"


def set_by_objective(trial: "FrozenTrial") -> dict[str, float]:
    """Returns the constraints that a trial's objective has set, by name; one above zero is broken."""
    return without_records(constraints_of(trial))


def lacks_memory(trial: "FrozenTrial") -> bool:
    """Returns whether a trial's config needs more memory than there is."""
    return constraints_of(trial).get(MEMORY_CONSTRAINT, 0.0) > 0


def violation(constraints: Mapping[str, float]) -> float:
    """Returns by how much constraints are broken, all together, as Optuna's samplers have it."""
    return sum(value for value in constraints.values() if value > 0)


def describe_broken(constraints: Mapping[str, float]) -> str:
    """Returns the constraints that are broken, as ``breaks latency (3.2)``; empty where none is."""
    broken = [f"{plain(name)} ({value:.6g})" for name, value in constraints.items() if value > 0]
    return f"breaks {', '.join(broken)}" if broken else ""
