"""What is made of each trial of a study, once for as long as the trial stays as it is: all are looked at for each new one."""

from collections.abc import Callable
from typing import Generic, TypeVar

from optuna.trial import FrozenTrial

Made = TypeVar("Made")


class PerTrial(Generic[Made]):
    """Makes something of a trial, once for as long as the trial stays as it is.

    Storages change no trial that somebody may hold, but put another object in its place; so the object tells.
    """

    def __init__(self, make: Callable[[FrozenTrial], Made]) -> None:
        self._make = make
        self._made: dict[int, tuple[FrozenTrial, Made]] = {}

    def __call__(self, trial: FrozenTrial) -> Made:
        """Returns what is made of a trial; nobody is to change it."""
        known = self._made.get(trial.number)
        if known is None or known[0] is not trial:
            known = self._made[trial.number] = (trial, self._make(trial))
        return known[1]
