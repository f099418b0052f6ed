"""The parameter that says how far a trial is trained, chosen by the driver rung by rung: how many epochs, as a rule.

With ``fidelity = true`` in `[space]` a trial is trained to the lowest rung, pauses, and goes on from its checkpoint if it is
promoted (successive halving: Jamieson and Talwalkar, AISTATS 2016; without waiting for each other: Li et al., MLSys 2020).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from optuna.distributions import BaseDistribution, IntDistribution

from search.study_file.conditions import Condition
from search.study_file.rule_errors import rule_error
from search.text import show

REDUCTION = 2
"""The next rung is about so many times as far, and one of so many trials may climb to it."""


@dataclass(frozen=True)
class Fidelity:
    """The parameter that says how far trials are trained, and its range in the space."""

    name: str
    distribution: IntDistribution

    @cached_property
    def rungs(self) -> tuple[int, ...]:
        """The values at which trials pause, ascending, evenly apart on a scale of factors; at the last they are complete."""
        low, high = self.distribution.low, self.distribution.high
        steps = max(1, round(math.log(high / low, REDUCTION)))
        rungs = (round(low * (high / low) ** (step / steps)) for step in range(steps + 1))
        return tuple(dict.fromkeys(rungs))

    def after(self, reached: int) -> int:
        """Returns the rung behind what a trial has reached; 0 is nothing yet."""
        return next((rung for rung in self.rungs if rung > reached), self.rungs[-1])


def find_fidelity(
    names: Sequence[str],
    space: Mapping[str, BaseDistribution],
    conditions: Mapping[str, Condition],
    *,
    finite: str | None,
    pruner: str,
    directions: int,
) -> Fidelity | None:
    """Returns the fidelity of a space: one of `names`, the parameters that the file calls one; None where it calls none so.

    `finite` is the sampler if it does not draw as many configs as are asked for.

    Raises:
        PydanticCustomError: There are several, or what the file says beside it does not go with one.
    """
    if not names:
        return None
    name, key, remedy = names[0], f"{names[0]}.fidelity", "Remove fidelity, or change that."
    if len(names) > 1:
        rule, got = "at most one parameter may be the fidelity", show(list(names))
        raise rule_error(rule, got=got, remedy="Keep one.", key=f"{names[1]}.fidelity")
    if child := next((child for child, condition in conditions.items() if condition.parent == name), None):
        rule, got = "no condition may hang on a fidelity", f"{child}, when {conditions[child]}"
        raise rule_error(rule, got=got, remedy="Remove it.", key=key)
    if directions > 1:
        raise rule_error("a fidelity needs a single direction", got=f"{directions} directions", remedy=remedy, key=key)
    if finite:
        raise rule_error("a fidelity needs a sampler that draws configs", got=f"sampler {finite}", remedy=remedy, key=key)
    if pruner != "none":
        rule = "a fidelity does what a pruner does, and needs none beside it"
        raise rule_error(rule, got=f"pruner {pruner}", remedy="Remove [pruner], or fidelity.", key=key)
    distribution = space[name]
    assert isinstance(distribution, IntDistribution)
    return Fidelity(name, distribution)
