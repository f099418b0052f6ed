"""How a broken rule of a study file becomes one line: where, the rule, what was received, the remedy.

Validators raise `rule_error(...)`; `explain` turns what pydantic collected into such lines, `Problems` what later checks raise.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from search.text import closest, plain, show, suggest

_BROKEN = "broken_rule"

# pydantic's error types -> the rule in the words of a study file, and the remedy; `{...}` are filled from the error's context.
_RULES: Mapping[str, tuple[str, str]] = {
    "string_type": ("must be a string", 'Write "...".'),
    "string_too_short": ("must not be empty", "Write a name, or remove the key."),
    "int_type": ("must be a whole number", "Write one, without quotes or a point."),
    "int_from_float": ("must be a whole number", "Write one, without quotes or a point."),
    "float_type": ("must be a number", "Write one, without quotes."),
    "finite_number": ("must be a finite number", "Write one."),
    "bool_type": ("must be true or false", "Write one of them, without quotes."),
    "list_type": ("must be an array", "Write [...]."),
    "dict_type": ("must be a table", "Write { key = value }."),
    "model_type": ("must be a table", "Write { key = value }."),
    "model_attributes_type": ("must be a table", "Write { key = value }."),
    "literal_error": ("must be {expected}", "Write one of them."),
    "greater_than": ("must be > {gt}", "Raise it."),
    "greater_than_equal": ("must be >= {ge}", "Raise it."),
    "less_than_equal": ("must be <= {le}", "Lower it."),
    "too_long": ("must have at most {max_length} entries", "Remove some."),
    "string_too_long": ("must have at most {max_length} characters", "Shorten it."),
    "too_short": ("must not be empty", "Add an entry."),
}


def rule_error(rule: str, *, got: str, remedy: str = "", key: str = "") -> PydanticCustomError:
    """Returns the error that a validator raises: what must hold, what was received, as `show` writes it, and what to do.

    The remedy is a full sentence; `key` is below the validated table, if the error is not about the whole of it.
    """
    return PydanticCustomError(_BROKEN, "{rule}", {"rule": rule, "got": got, "remedy": remedy, "key": key})


def check_one_of(keys: tuple[str, str], one: object, other: object, *, remedy: str) -> None:
    """Raises the broken rule where both of two keys are given, or neither."""
    if (one is None) == (other is None):
        got = "neither" if one is None else "both"
        raise rule_error(f"exactly one of {' and '.join(keys)} is required", got=got, remedy=remedy)


def explain(error: ValidationError, known_keys: Mapping[tuple[str, ...], Iterable[str]]) -> list[str]:
    """Returns a line for each error, without the file's name; suggests one of the keys that a table may hold, by its place."""
    details = error.errors(include_url=False)
    # An unknown key is most often the cause of a missing one, so it is told first, and the missing one not at all.
    details.sort(key=lambda detail: detail["type"] != "extra_forbidden")
    misspelt = {
        (*detail["loc"][:-1], close)
        for detail in details
        if detail["type"] == "extra_forbidden"
        and (close := closest(str(detail["loc"][-1]), known_keys.get(_table_of(detail["loc"]), ()))) is not None
    }
    told = [detail for detail in details if detail["type"] != "missing" or detail["loc"] not in misspelt]
    return [_line(detail, known_keys) for detail in told]


def _line(detail: ErrorDetails, known_keys: Mapping[tuple[str, ...], Iterable[str]]) -> str:
    place = _place(detail["loc"])
    where = plain(".".join(place))
    context = detail.get("ctx", {})
    kind = detail["type"]
    if kind == _BROKEN:
        return _sentence(where, context)
    if kind == "extra_forbidden":
        known = known_keys.get(_table_of(detail["loc"]), ())
        return f"{where}: unknown key; got {show(detail['input'])}. {suggest(place[-1], known)}"
    if kind == "union_tag_not_found":
        return f'{where}: type is required; got {show(detail["input"])}. Add type = "float", "int" or "categorical".'
    if kind == "union_tag_invalid":
        tag = context["tag"]
        return f"{where}.type: unknown type; got {show(tag)}. {suggest(tag, ('float', 'int', 'categorical'))}"
    if kind == "missing":
        return f"{where}: the key is required; got nothing. Add it."
    rule, remedy = _RULES.get(kind, ("{msg}", "Change it."))
    return f"{where}: {rule.format_map({**context, 'msg': detail['msg']})}; got {show(detail['input'])}. {remedy}"


class Problems:
    """The broken rules of a file, each a line with its place, so that all are told at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextlib.contextmanager
    def of(self, where: str) -> Iterator[None]:
        """Takes note of the rule that the block below breaks; `where` is the table that it checks."""
        try:
            yield
        except PydanticCustomError as error:
            self.lines.append(format_error(error, where))

    def add(self, errors: Iterable[PydanticCustomError], where: str) -> None:
        """Takes note of broken rules of a table."""
        self.lines += [format_error(error, where) for error in errors]


def format_error(error: PydanticCustomError, where: str) -> str:
    """Returns an error of `rule_error`, raised outside a model, as one line; `where` is the table that it is about."""
    return _sentence(where, error.context or {})


def _sentence(where: str, context: Mapping[str, Any]) -> str:
    key = context["key"]
    place = f"{where}{'' if key.startswith('[') else '.'}{key}" if key else where
    got = context["got"].rstrip(".")  # a library's message may be a sentence
    return f"{plain(place)}: {context['rule']}; got {got}. {context['remedy']}".strip()


def _table_of(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The place of the table that holds the key at `loc`; a parameter's name is written ``*``, its type is kept."""
    table = [str(part) for part in loc[:-1]]
    if len(table) > 1 and table[0] == "space":
        table[1] = "*"
    return tuple(table)


def _place(loc: tuple[int | str, ...]) -> list[str]:
    """`loc` in the words of the file: pydantic's tag of a parameter's type goes, an index becomes ``[n]``."""
    parts = [part for index, part in enumerate(loc) if not (loc[0] == "space" and index == 2)]
    place: list[str] = []
    for part in parts:
        if isinstance(part, int) and place:
            place[-1] += f"[{part}]"
        else:
            place.append(str(part))
    return place or ["the file"]
