"""What KerasTuner's hyperparameters are in Optuna: one distribution for each, however it was declared."""

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from search.study_file.conditions import Condition
from search.study_file.distributions import check_value
from search.study_file.limits import MAX_CHOICES, MAX_EXACT, MAX_NAME, MAX_PARAMETERS, MAX_STEPS, MAX_TEXT, check_size
from search.study_file.rule_errors import rule_error
from search.text import show

_Whole = Annotated[StrictInt, Field(ge=-MAX_EXACT, le=MAX_EXACT)]
_Real = Annotated[StrictFloat, AllowInfNan(False), AfterValidator(check_size)]
_Text = Annotated[StrictStr, Field(max_length=10 * MAX_TEXT)]
Scalar = StrictBool | _Whole | _Real | _Text
Sampling = Literal["linear", "log", "reverse_log"]


def _flat(value: Any) -> Any:
    """Keras writes ``{"class_name": ..., "config": {...}}``."""
    if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
        return {"class_name": value.get("class_name"), **value["config"]}
    return value


class Parent(BaseModel):
    """The condition that the hyperparameter `name` has one of `values`."""

    model_config = ConfigDict(frozen=True)
    class_name: Literal["Parent"]
    name: str
    values: Annotated[list[Scalar], Field(max_length=MAX_CHOICES)]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    conditions: Annotated[list[Annotated[Parent, BeforeValidator(_flat)]], Field(max_length=MAX_PARAMETERS)] = Field(
        default_factory=list
    )

    def active(self, values: Mapping[str, Any]) -> bool:
        """Returns whether its conditions hold where the hyperparameters have `values`."""
        return all(parent.name in values and values[parent.name] in parent.values for parent in self.conditions)


class Choice(_Declared):
    """One of a few values, ordered or not: Optuna's categorical distribution knows no order."""

    class_name: Literal["Choice"]
    values: Annotated[list[Scalar], Field(min_length=1, max_length=MAX_CHOICES)]

    def distribution(self) -> BaseDistribution:
        """Returns the distribution in Optuna."""
        return CategoricalDistribution(_distinct(self.values))


class Boolean(_Declared):
    """True or False."""

    class_name: Literal["Boolean"]

    def distribution(self) -> BaseDistribution:
        """Returns the distribution in Optuna."""
        return CategoricalDistribution((False, True))


class Fixed(_Declared):
    """One value, which nothing searches."""

    class_name: Literal["Fixed"]
    value: Scalar

    def distribution(self) -> BaseDistribution:
        """Returns the distribution in Optuna: one of one choice."""
        return CategoricalDistribution((self.value,))


class _Range(_Declared):
    """A number in [min_value, max_value]."""

    min_value: _Real | _Whole
    max_value: _Real | _Whole
    step: _Real | _Whole | None = None
    sampling: Sampling | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuses what no distribution of Optuna's is, or one of more values than anybody wants."""
        low, high, step = self.min_value, self.max_value, self.step
        if low > high:
            raise rule_error("min_value must be <= max_value", got=f"{show(low)} and {show(high)}")
        if low <= 0 and (self.sampling == "log" or (self._multiplies and step is not None)):
            raise rule_error(f'min_value must be > 0 where sampling = "{self.sampling}"', got=show(low))
        if step is None:
            return self
        least, most = (1, MAX_CHOICES) if self._multiplies else (0, MAX_STEPS)
        if step <= least:
            raise rule_error(f"step must be > {least}", got=show(step))
        count = math.log(high / low) / math.log(step) if self._multiplies else (high - low) / step
        if not count < most:
            raise rule_error(f"step must leave at most {most} values", got=f"{count:.3g}")
        return self

    @property
    def _multiplies(self) -> bool:
        """Whether a step multiplies, rather than adds."""
        return self.sampling in ("log", "reverse_log")

    def _powers(self, step: float) -> list[float]:
        """What KerasTuner draws where its steps multiply: `Numerical._get_value_by_index`."""
        low, high = self.min_value, self.max_value
        count = int(math.log(high / low, step) + 1e-8) + 1
        rising = [low * math.pow(step, index) for index in range(count)]
        return rising if self.sampling == "log" else [high + low - value for value in rising]


class Int(_Range):
    """A whole number in [min_value, max_value]."""

    class_name: Literal["Int"]
    min_value: _Whole
    max_value: _Whole
    step: _Whole | None = None

    def distribution(self) -> BaseDistribution:
        """Returns the distribution in Optuna; see `Float.distribution` for what Optuna does not have."""
        low, high, step = self.min_value, self.max_value, self.step
        if self._multiplies:
            if step is not None:
                return CategoricalDistribution(_distinct(map(int, self._powers(step))))
            return IntDistribution(low, high, log=self.sampling == "log")
        step = step or 1
        return IntDistribution(low, low + (high - low) // step * step, step=step)


class Float(_Range):
    """A real number in [min_value, max_value]."""

    class_name: Literal["Float"]

    def distribution(self) -> BaseDistribution:
        """Returns the distribution in Optuna.

        Optuna has no reverse logarithm, and no steps that multiply. The first becomes linear, of the same range; the second a
        categorical distribution of the same values.
        """
        low, high, step = self.min_value, self.max_value, self.step
        if step is None:
            return FloatDistribution(low, high, log=self.sampling == "log")
        if self._multiplies:
            return CategoricalDistribution(_distinct(self._powers(step)))
        # In decimals, as Optuna counts: in floats, ten steps of 0.1 do not reach 1.
        first, width = Decimal(str(low)), Decimal(str(step))
        return FloatDistribution(low, float(first + (Decimal(str(high)) - first) // width * width), step=step)


Declared = Choice | Int | Float | Boolean | Fixed
HyperParameter = Annotated[Annotated[Declared, Field(discriminator="class_name")], BeforeValidator(_flat)]


def space_of(declared: Iterable[Declared], seen: Mapping[str, Sequence[Any]]) -> dict[str, BaseDistribution]:
    """Returns one distribution for each name, in the order of their first declaration.

    KerasTuner tells hyperparameters apart by name *and* conditions, Optuna by name. The values that trials have had, `seen`,
    belong to it too: KerasTuner checks neither defaults nor what an oracle or a user sets.
    """
    declarations: dict[str, list[BaseDistribution]] = {}
    for parameter in declared:
        declarations.setdefault(parameter.name, []).append(parameter.distribution())
    return {name: _join(distributions, seen.get(name, ())) for name, distributions in declarations.items()}


def conditions_of(declared: Iterable[Declared], space: Mapping[str, BaseDistribution]) -> dict[str, Condition]:
    """Returns when a trial has the parameters of a space, of those whose scopes one `when` of a study file can tell.

    That is the innermost scope, where the others are those of its parent. What is declared in several ways, or under a float,
    has none, and so is in every trial.
    """
    ways: dict[str, set[tuple[tuple[str, tuple[Any, ...]], ...]]] = {}
    for parameter in declared:
        scopes = tuple((parent.name, tuple(parent.values)) for parent in parameter.conditions)
        ways.setdefault(parameter.name, set()).add(scopes)
    only = {name: next(iter(scopes)) for name, scopes in ways.items() if name in space and len(scopes) == 1}
    conditions: dict[str, Condition] = {}
    for name, scopes in only.items():
        if scopes and only.get(scopes[-1][0]) == scopes[:-1] and not isinstance(space[scopes[-1][0]], FloatDistribution):
            parent, values = scopes[-1]
            if possible := tuple(value for value in values if check_value(parent, value, space) is None):
                conditions[name] = Condition(parent, possible)
    return conditions


def _join(distributions: Sequence[BaseDistribution], values: Sequence[Any]) -> BaseDistribution:
    """The distribution that holds all that the given ones hold, and `values`."""
    first = distributions[0]
    if all(other == first for other in distributions) and all(check_value("", value, {"": first}) is None for value in values):
        return first
    ranges = [dist for dist in distributions if isinstance(dist, FloatDistribution | IntDistribution)]
    if len(ranges) < len(distributions) or any(type(value) not in (int, float) for value in values):
        choices = [choice for dist in distributions if isinstance(dist, CategoricalDistribution) for choice in dist.choices]
        return CategoricalDistribution(_distinct([*choices, *values]))
    low = min([*(dist.low for dist in ranges), *values])
    high = max([*(dist.high for dist in ranges), *values])
    log = all(dist.log for dist in ranges) and low > 0
    if all(isinstance(dist, IntDistribution) for dist in ranges) and all(isinstance(value, int) for value in values):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
