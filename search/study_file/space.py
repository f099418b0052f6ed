"""What the `[space]` table may say, and the Optuna distributions and conditions that it stands for."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from search.study_file.base import Table
from search.study_file.conditions import Condition, Scalar, When
from search.study_file.distributions import check_value
from search.study_file.limits import MAX_CHOICES, MAX_CHOICES_JSON, MAX_EXACT, MAX_STEPS, check_size
from search.study_file.priors import Confidence
from search.study_file.rule_errors import rule_error
from search.text import show, suggest

_Size = Annotated[FiniteFloat, AfterValidator(check_size)]
_Whole = Annotated[int, Field(ge=-MAX_EXACT, le=MAX_EXACT)]


class FloatParam(Table):
    """A real number in [low, high], both ends included."""

    type: Literal["float"]
    low: _Size
    high: _Size
    log: bool = False
    step: Annotated[_Size, Field(gt=0)] | None = None
    when: When | None = None
    prior: _Size | None = None
    confidence: Confidence | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_numbers(self, self.low > 0, "> 0")
        return self

    def distribution(self) -> FloatDistribution:
        """Returns the distribution that Optuna samples from."""
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


class IntParam(Table):
    """A whole number in [low, high], both ends included, in steps of `step` from `low`."""

    type: Literal["int"]
    low: _Whole
    high: _Whole
    log: bool = False
    step: Annotated[int, Field(ge=1, le=2 * MAX_EXACT)] = 1
    when: When | None = None
    prior: _Whole | None = None
    confidence: Confidence | None = None
    fidelity: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_numbers(self, self.low >= 1, ">= 1")
        if self.fidelity:
            self._check_fidelity()
        return self

    def distribution(self) -> IntDistribution:
        """Returns the distribution that Optuna samples from."""
        return IntDistribution(self.low, self.high, log=self.log, step=self.step)

    def _check_fidelity(self) -> None:
        """Raises the broken rule where trials could not be paused at values of this parameter."""
        if self.low < 1:
            raise rule_error("low must be >= 1 when fidelity = true", got=show(self.low), remedy="Raise low.")
        if self.low == self.high:
            got, remedy = f"{self.low} for both", "Raise high, or remove fidelity."
            raise rule_error("a fidelity needs low < high", got=got, remedy=remedy)
        for key in ("log", "when") if self.step == 1 else ("step",):
            if getattr(self, key):
                remedy = "Remove one of the two."
                raise rule_error(f"{key} and fidelity = true exclude each other", got=show(getattr(self, key)), remedy=remedy)


class CategoricalParam(Table):
    """One of a few values without an order."""

    type: Literal["categorical"]
    choices: Annotated[list[Scalar], Field(max_length=MAX_CHOICES)]
    when: When | None = None
    prior: Scalar | None = None
    confidence: Confidence | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.choices:
            raise rule_error("choices must name at least one value", got="[]", remedy="Add values, or remove the parameter.")
        seen: set[Any] = set()
        for choice in self.choices:
            # `1 == True == 1.0` in Python, and Optuna finds a choice by equality.
            if choice in seen:
                remedy = f"Remove one {show(choice)}."
                raise rule_error("choices must differ from each other", got=show(self.choices), remedy=remedy)
            seen.add(choice)
        if (length := len(json.dumps(self.choices))) > MAX_CHOICES_JSON:
            rule = f"choices must have at most {MAX_CHOICES_JSON} characters in all, which is what every storage keeps"
            raise rule_error(rule, got=str(length), remedy="Shorten them.")
        return self

    def distribution(self) -> CategoricalDistribution:
        """Returns the distribution that Optuna samples from."""
        return CategoricalDistribution(self.choices)


Param = Annotated[FloatParam | IntParam | CategoricalParam, Field(discriminator="type")]


def parents_first(space: Mapping[str, BaseDistribution], conditions: Mapping[str, Condition]) -> Mapping[str, BaseDistribution]:
    """Returns the space in the order of the file, but each parent before its children.

    Raises:
        PydanticCustomError: A condition names no parameter of the space, one that depends on it in turn, a float, or a value
            that its parent cannot have. The error's key is ``NAME.when``.
    """
    ordered: dict[str, BaseDistribution] = {}

    def place(name: str, below: tuple[str, ...] = ()) -> None:
        if name in below:
            chain = " -> ".join([*below[below.index(name) :], name])
            raise rule_error("conditions must not run in a circle", got=chain, remedy="Break it.", key=f"{below[-1]}.when")
        if name in ordered:
            return
        if name in conditions:
            _check_condition(name, conditions[name], space)
            place(conditions[name].parent, (*below, name))
        ordered[name] = space[name]

    for name in space:
        place(name)
    return ordered


def _check_condition(name: str, condition: Condition, space: Mapping[str, BaseDistribution]) -> None:
    key, parent = f"{name}.when", condition.parent
    if parent not in space:
        raise rule_error("param must be in [space]", got=show(parent), remedy=suggest(parent, space), key=key)
    if isinstance(space[parent], FloatDistribution):
        # A float hardly ever has one exact value.
        raise rule_error("param must be categorical or int", got=f"{parent}, a float", remedy="Make it one of them.", key=key)
    for value in condition.values:
        if problem := check_value(parent, value, space):
            rule, remedy = problem
            raise rule_error(f"{parent} {rule}", got=show(value), remedy=remedy, key=key)


def _check_numbers(param: FloatParam | IntParam, has_log: bool, rule: str) -> None:
    """Raises the rule that a range breaks; `has_log` is whether its low end meets the `rule` of those with a log scale."""
    low, high, step = param.low, param.high, param.step
    if low > high:
        raise rule_error("low must be <= high", got=f"low = {low}, high = {high}", remedy="Swap them.")
    if param.log and not has_log:
        raise rule_error(f"low must be {rule} when log = true", got=show(low), remedy="Raise low, or remove log.")
    if param.log and step != type(param).model_fields["step"].default:
        raise rule_error("step and log = true exclude each other", got=show(step), remedy="Remove one of the two.")
    if step is not None:
        _check_step(low, high, step)


def _check_step(low: float, high: float, step: float) -> None:
    if isinstance(step, float) and (high - low) / step >= MAX_STEPS:
        remedy = "Write a larger step, or none: then every number in between can be drawn."
        raise rule_error(f"step must leave at most {MAX_STEPS} values", got=f"{(high - low) / step:.3g}", remedy=remedy)
    # In decimals, as they are written and as Optuna counts: in floats, three steps of 0.1 are more than 0.3.
    if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):
        rule, got = "high must be low plus a multiple of step", f"low = {low}, high = {high}, step = {step}"
        raise rule_error(rule, got=got, remedy="Change high or step, so that high itself can be drawn.")
