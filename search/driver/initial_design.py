"""The configs that a study begins with, before there is anything for its sampler to learn from.

The middle of the space comes first: it is the likeliest single guess of whoever wrote the ranges, and cut down to the fewest
epochs it gives a first answer, or a first error, within a fraction of a trial. Then come points of a scrambled Sobol sequence
(Owen, Scrambling Sobol' and Niederreiter-Xing points, J. Complexity 14, 1998), which fill the space more evenly than random
ones do, short trials first: all of them are run in any case, and this way a good value is there sooner. What it is worth was
measured: docs/search-quality.md.

A parameter with a prior has its value in place of the middle. Of the points, every other one is drawn as densely as the prior
is, and the others from the whole space: should the prior be wrong, these are what the sampler finds out by.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from search.driver.enqueued import as_given
from search.records.attributes import given_of, is_warm, queued_of, retry_of
from search.study_file.conditions import Condition, is_active
from search.study_file.distributions import value_at
from search.study_file.priors import Prior

EPOCHS = "epochs"
"""The parameter that says how long a trial is, in a space that has one of this name."""


def initial_design(
    space: Mapping[str, BaseDistribution],
    conditions: Mapping[str, Condition],
    count: int,
    seed: int,
    priors: Mapping[str, Prior] = MappingProxyType({}),
) -> Iterator[dict[str, Any]]:
    """Yields the first configs of a study, in the order in which they are tried.

    Args:
        space: Parents before their children.
        conditions: A config holds the parameters whose condition it meets, and no others.
        count: How many configs.
        seed: Fixes the Sobol points; the middle is the same for all seeds.
        priors: By parameter.
    """
    middle = {name: priors[name].value if name in priors else _middle(space[name]) for name in space}
    fewest = _fewest(space.get(EPOCHS))
    short = middle if fewest is None else {**middle, EPOCHS: fewest}
    points = [_active(short, conditions)]
    if (whole := _active(middle, conditions)) not in points:
        points.append(whole)
    yield from points[:count]
    further = count - len(points)
    if further <= 0:
        return
    from scipy.stats.qmc import Sobol  # takes a second to import, in which the first trial runs already

    rows = Sobol(len(space), seed=seed).random_base2(further.bit_length())  # of 2 ** n points, as it wants to be asked
    spread = [
        _active(_point(space, row, priors if index % 2 == 0 else {}), conditions) for index, row in enumerate(rows[:further])
    ]
    if fewest is not None:
        spread.sort(key=lambda point: point.get(EPOCHS, fewest))
    yield from spread


def next_point(
    design: Iterator[dict[str, Any]], trials: Sequence[FrozenTrial], space: Mapping[str, BaseDistribution]
) -> dict[str, Any] | None:
    """Returns the point of a design that the trial after all these is to have where it is drawn; None where none is left.

    Each drawn one has the next point that no trial before it was given: by a warm start, the queue or somebody else. So no
    point is lost, and who takes a trial up again finds the same one. The design is made no further than that.
    """
    given: list[dict[str, Any]] = []
    left = (point for point in design if not any(_is_point(point, config) for config in given))
    for trial in trials:
        if is_given(trial):
            config = {**as_given(trial, space), **trial.params}
            given.append({name: value for name, value in config.items() if name in space})
        elif retry_of(trial) is None:
            next(left, None)
    return next(left, None)


def is_given(trial: FrozenTrial) -> bool:
    """Whether a trial's config is not drawn, or only what it leaves open."""
    return is_warm(trial) or queued_of(trial) is not None or bool(given_of(trial))


def _is_point(point: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a config is this point of a design, whose middle of 1e-4 and 1 is not quite the 0.01 that somebody writes."""
    return point.keys() == config.keys() and all(
        value == config[name]
        or (isinstance(value, float) and isinstance(config[name], float) and math.isclose(value, config[name]))
        for name, value in point.items()
    )


def _point(space: Mapping[str, BaseDistribution], fractions: Sequence[float], priors: Mapping[str, Prior]) -> dict[str, Any]:
    """The point at these fractions of each parameter's prior, or of its range where it has none."""
    return {
        name: priors[name].at(float(fraction)) if name in priors else value_at(space[name], float(fraction))
        for name, fraction in zip(space, fractions, strict=True)
    }


def _middle(distribution: BaseDistribution) -> Any:
    """The middle of a range on its scale; of numbers to choose from the median; else the first, as a rule the usual choice."""
    if not isinstance(distribution, CategoricalDistribution):
        return value_at(distribution, 0.5)
    numbers = _numbers(distribution)
    return numbers[(len(numbers) - 1) // 2] if numbers else distribution.choices[0]


def _fewest(distribution: BaseDistribution | None) -> float | None:
    """The smallest value; None where there are no numbers."""
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return distribution.low
    numbers = _numbers(distribution) if isinstance(distribution, CategoricalDistribution) else []
    return numbers[0] if numbers else None


def _numbers(distribution: CategoricalDistribution) -> list[float]:
    """The choices in ascending order, where all of them are numbers."""
    numbers = [choice for choice in distribution.choices if isinstance(choice, int | float) and not isinstance(choice, bool)]
    return sorted(numbers) if len(numbers) == len(distribution.choices) else []


def _active(point: Mapping[str, Any], conditions: Mapping[str, Condition]) -> dict[str, Any]:
    active: dict[str, Any] = {}
    for name, value in point.items():
        if is_active(name, active, conditions):
            active[name] = value
    return active
