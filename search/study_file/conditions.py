"""The conditions of parameters: `when` in a parameter's table says which trials have it.

A parameter without `when` is in every trial. One with it is there only if its parent, another parameter, is there and has one
of the values named.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from search.study_file.base import Table
from search.study_file.limits import MAX_CHOICES, check_scalar
from search.study_file.rule_errors import check_one_of
from search.text import show

Scalar = Annotated[Any, AfterValidator(check_scalar)]
"""A value that a categorical parameter can have, as a model reads it."""


@dataclass(frozen=True)
class Condition:
    """The parent, and its values with which the parameter is there."""

    parent: str
    values: tuple[Scalar, ...]

    def holds(self, params: Mapping[str, Any]) -> bool:
        """Returns whether the parent is among `params` with one of the values."""
        return params.get(self.parent) in self.values

    def __str__(self) -> str:
        one = len(self.values) == 1
        return f"{self.parent} is {show(self.values[0]) if one else f'in {show(list(self.values))}'}"


class When(Table):
    """The table ``when = { param = "...", is = ... }``, or ``in = [...]`` for several values."""

    param: str
    is_: Scalar | None = Field(None, alias="is")
    in_: list[Scalar] | None = Field(None, alias="in", min_length=1, max_length=MAX_CHOICES)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_one_of(("is", "in"), self.is_, self.in_, remedy="Write is = value, or in = [values].")
        return self

    def condition(self) -> Condition:
        """Returns the condition that this table states."""
        return Condition(self.param, tuple(self.in_) if self.in_ is not None else (self.is_,))


def is_active(name: str, params: Mapping[str, Any], conditions: Mapping[str, Condition]) -> bool:
    """Returns whether a trial that has drawn `params` so far has the parameter `name` too."""
    return name not in conditions or conditions[name].holds(params)
