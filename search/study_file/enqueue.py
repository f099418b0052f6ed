"""What `[[enqueue]]` may hold: configs that lie in the space."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from pydantic_core import PydanticCustomError

from search.study_file.conditions import Condition, is_active
from search.study_file.distributions import as_drawn, check_value
from search.study_file.rule_errors import rule_error
from search.text import show, suggest


def queue_errors(
    entries: Sequence[Mapping[str, Any]],
    space: Mapping[str, BaseDistribution],
    conditions: Mapping[str, Condition],
    *,
    whole: str | None,
) -> Iterator[PydanticCustomError]:
    """Yields the rules that entries break which no trial could have; an error's key is ``[N]`` or ``[N].NAME``.

    `whole` is the sampler if it draws nothing, so that each entry must name all parameters that its trial has.
    """
    if whole == "none" and not entries:
        yield rule_error("the sampler none tries it alone", got="no entry", remedy="Add one, or take another sampler.")
    for index, entry in enumerate(entries):
        if not entry:
            yield rule_error("must name at least one parameter", got="an empty table", remedy="Remove it.", key=f"[{index}]")
        for name, value in entry.items():
            if problem := _wrong(entry, name, space, conditions):
                rule, remedy = problem
                yield rule_error(rule, got=show(value), remedy=remedy, key=f"[{index}].{name}")
        missing = [name for name in space if name not in entry and is_active(name, entry, conditions)]
        if whole and missing:
            rule = f"the {whole} sampler needs whole configs"
            yield rule_error(rule, got=f"none for {missing[0]}", remedy="Add it.", key=f"[{index}]")


def as_queue(entries: Sequence[Mapping[str, Any]], space: Mapping[str, BaseDistribution]) -> tuple[Mapping[str, Any], ...]:
    """Returns entries that break no rule, with each value as its parameter has it."""
    return tuple({name: as_drawn(value, space[name]) for name, value in entry.items()} for entry in entries)


def _wrong(
    entry: Mapping[str, Any], name: str, space: Mapping[str, BaseDistribution], conditions: Mapping[str, Condition]
) -> tuple[str, str] | None:
    """Returns the rule that one parameter of an entry breaks, and the remedy."""
    if name not in space:
        return "is not in [space]", suggest(name, space)
    if not is_active(name, entry, conditions):
        condition = conditions[name]
        remedy = f"Remove it, or change {condition.parent}." if condition.parent in entry else f"Add {condition.parent}."
        return f"is only there when {condition}", remedy
    return check_value(name, entry[name], space)
