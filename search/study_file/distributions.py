"""What can be asked of Optuna's distributions: whether a value lies in one, and which values it has."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.study_file.conditions import Condition
from search.text import show


def check_value(name: str, value: Any, space: Mapping[str, BaseDistribution]) -> tuple[str, str] | None:
    """Returns the rule that ``name = value`` breaks and its remedy, or None where the space holds it."""
    distribution = space[name]
    if isinstance(distribution, CategoricalDistribution):
        if any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in distribution.choices):
            return None
        return f"must be one of {show(distribution.choices)}", f"Choose one of them, or add it to space.{name}."
    kind = "a whole number" if isinstance(distribution, IntDistribution) else "a number"
    wanted = int if isinstance(distribution, IntDistribution) else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted):
        return f"must be {kind}", f"Write {kind}."
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if not distribution.low <= value <= distribution.high:
        return f"must lie in [{distribution.low}, {distribution.high}]", f"Change it, or widen space.{name}."
    if distribution.step is not None and not _on_step(value, distribution.low, distribution.step):
        return f"must be {distribution.low} plus a multiple of {distribution.step}", f"Change it, or the step of space.{name}."
    return None


def as_drawn(value: Any, distribution: BaseDistribution) -> Any:
    """Returns a value that `check_value` accepts as it would be drawn: the choice 1 where 1.0 is written, 1.0 of floats."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[distribution.choices.index(value)]
    return float(value) if isinstance(distribution, FloatDistribution) else value


def describe_distribution(distribution: BaseDistribution) -> dict[str, Any]:
    """Returns a distribution as a study file writes it, ready for JSON."""
    if isinstance(distribution, CategoricalDistribution):
        return {"type": "categorical", "choices": list(distribution.choices)}
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kind = "int" if isinstance(distribution, IntDistribution) else "float"
    table: dict[str, Any] = {"type": kind, "low": distribution.low, "high": distribution.high}
    if distribution.log:
        table["log"] = True
    elif distribution.step is not None:
        table["step"] = distribution.step
    return table


def describe_space(space: Mapping[str, BaseDistribution], conditions: Mapping[str, Condition]) -> dict[str, dict[str, Any]]:
    """Returns a space as a study file writes it, ready for JSON."""
    tables = {name: describe_distribution(distribution) for name, distribution in space.items()}
    for name, condition in conditions.items():
        tables[name]["when"] = {"param": condition.parent, "in": list(condition.values)}
    return tables


def write_space(space: Mapping[str, BaseDistribution], conditions: Mapping[str, Condition]) -> str:
    """Returns a space as the table ``[space]`` of a study file, TOML source."""
    lines = ["[space]"]
    for name, distribution in space.items():
        quoted = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
        table = describe_distribution(distribution)
        if (condition := conditions.get(name)) is not None:
            one = len(condition.values) == 1
            is_what = {"is": condition.values[0]} if one else {"in": list(condition.values)}
            table["when"] = {"param": condition.parent, **is_what}
        lines.append(f"{quoted} = {_as_toml(table)}")
    return "\n".join(lines).replace("\x7f", "\\u007f") + "\n"  # the one character that JSON takes and TOML does not


def _as_toml(value: Any) -> str:
    """A value of a table as TOML source; what JSON writes for a scalar or an array of scalars is TOML too."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_as_toml(item)}' for key, item in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)


def continuous(space: Mapping[str, BaseDistribution]) -> list[str]:
    """Returns the parameters that have no countable list of values: floats without a step."""
    return [name for name, dist in space.items() if isinstance(dist, FloatDistribution) and dist.step is None]


def values_of(distribution: BaseDistribution) -> Iterator[Any]:
    """Yields every value of a distribution that is not continuous, in order."""
    if isinstance(distribution, CategoricalDistribution):
        yield from distribution.choices
        return
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    for index in range(_count(distribution)):
        yield _nth(distribution, index)


def listed(value: Any, distribution: BaseDistribution) -> Any:
    """Returns a value of a distribution as `values_of` has it: three steps of 0.1 are not quite 0.3."""
    if not isinstance(distribution, FloatDistribution) or distribution.step is None:
        return value
    return _nth(distribution, round((value - distribution.low) / distribution.step))


def value_at(distribution: BaseDistribution, fraction: float) -> Any:
    """Returns the value that lies at a fraction of a distribution: of its range, on its own scale, or of its list of values.

    The fraction is in [0, 1); equal shares of it belong to equally many values.
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(fraction * len(distribution.choices))]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high = distribution.low, distribution.high
    if distribution.log:
        whole = isinstance(distribution, IntDistribution)
        edge = 0.5 if whole else 0.0  # so that each whole number has its share
        value = math.exp(math.log(low - edge) + fraction * (math.log(high + edge) - math.log(low - edge)))
        return min(max(round(value), low), high) if whole else min(max(value, low), high)
    if distribution.step is None:
        return low + fraction * (high - low)
    return _nth(distribution, int(fraction * _count(distribution)))


def fraction_of(distribution: BaseDistribution, values: NDArray[Any]) -> NDArray[np.float64]:
    """Returns where values lie in a distribution, in [0, 1]: the middle of the share that `value_at` gives to each.

    The values have any shape, and Optuna's internal representation: the index of a choice, or the number itself.
    """
    values = np.asarray(values, np.float64)
    if isinstance(distribution, CategoricalDistribution):
        return (values + 0.5) / len(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high = distribution.low, distribution.high
    if low == high:
        return np.full_like(values, 0.5)
    if distribution.log:
        edge = 0.5 if isinstance(distribution, IntDistribution) else 0.0
        first, last = np.log(low - edge), np.log(high + edge)  # their quotient may be larger than any number
        return np.asarray((np.log(values) - first) / (last - first))
    if distribution.step is None:
        part = 1.0 if math.isfinite(high - low) else 0.5  # the widest range is wider than any number
        return np.asarray((values * part - low * part) / (high * part - low * part))
    return (np.round((values - low) / distribution.step) + 0.5) / _count(distribution)


def _count(distribution: IntDistribution | FloatDistribution) -> int:
    """How many values a distribution with a step has."""
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    assert distribution.step is not None
    return round((distribution.high - distribution.low) / distribution.step) + 1


def _nth(distribution: IntDistribution | FloatDistribution, index: int) -> Any:
    """The value after so many steps."""
    assert distribution.step is not None
    return min(distribution.low + index * distribution.step, distribution.high)


def _on_step(value: float, low: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(low, int) and isinstance(step, int):
        return (value - low) % step == 0
    steps = (value - low) / step
    return math.isclose(steps, round(steps), rel_tol=0.0, abs_tol=1e-8)
