"""Environment variables in the objective's settings: ``"${NAME}"`` and ``"${NAME:-default}"``."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic_core import PydanticCustomError

from search.errors import StudyFileError
from search.study_file.rule_errors import rule_error
from search.text import show

PREFIX = "TUMORCLS_"
"""Variables that begin so may be read by any study file; others only where it names them."""

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"\$\{{(?P<name>{_NAME})(?::-(?P<default>[^}}]*))?\}}")
_PASSWORD = re.compile(r"://[^:/@]*:(.+)@")
_TEXTS = (".json", ".toml", ".txt", ".log", ".csv", ".md", ".html", ".svg", ".yaml", ".yml")
_SHORTEST_HIDDEN = 4
_ABSENT = object()


def is_variable(name: str) -> bool:
    """Returns whether a variable can have this name."""
    return re.fullmatch(_NAME, name) is not None


def variable_errors(settings: Mapping[str, Any], allowed: Collection[str]) -> Iterator[PydanticCustomError]:
    """Yields the broken rule for each variable that a study file may not read: it may be a secret of whoever launches it."""
    for key, text in _strings(settings):
        for match in _VARIABLE.finditer(text):
            name = match["name"]
            if not name.startswith(PREFIX) and name not in allowed:
                rule = f"a variable must begin with {PREFIX}, or be named in study.environment"
                remedy = f'If the study may read {name}, add environment = ["{name}"] to [study].'
                yield rule_error(rule, got=show(text), remedy=remedy, key=key)
            if "${" in (match["default"] or ""):
                yield rule_error("a default must be plain text", got=show(text), remedy="Write one variable.", key=key)


def variables_in(settings: Mapping[str, Any]) -> set[str]:
    """Returns the names of the variables in some settings."""
    return {match["name"] for _, text in _strings(settings) for match in _VARIABLE.finditer(text)}


def expand(settings: Mapping[str, Any], environ: Mapping[str, str], where: str) -> dict[str, Any]:
    """Returns `settings` with the variables in all of its strings replaced, in nested tables and arrays too.

    As in a shell, ``${NAME:-default}`` takes the default where the variable is unset or empty. `where` is the place of
    `settings` for error messages, such as ``"studies/x.toml: objective"``.

    Raises:
        StudyFileError: A variable without a default is not set.
    """
    return {key: _expand(value, environ, f"{where}.{key}") for key, value in settings.items()}


@dataclass(frozen=True)
class AsWritten:
    """Puts what a study file says back in the place of what it expands to, in all that a worker says.

    So no secret of the environment reaches the storage, and an exported config works on another machine.

    Attributes:
        written: The objective's settings as the file writes them.
        expanded: The same as the objective gets them.
        variables: The variables that the file reads, with their values.
    """

    written: Mapping[str, Any] = field(default_factory=dict)
    expanded: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, written: Mapping[str, Any], environ: Mapping[str, str], where: str) -> "AsWritten":
        """Expands settings; see `expand`."""
        values = {name: environ[name] for name in sorted(variables_in(written)) if environ.get(name)}
        return cls(written, expand(written, environ, where), values)

    def text(self, text: str) -> str:
        """Returns a text with ``${NAME}`` for the value of each variable, where that has four characters or more."""
        return self._pattern.sub(lambda match: self._hidden[match[0]], text) if self._hidden else text

    def file(self, name: str, content: bytes) -> bytes:
        """Returns a file that an objective keeps with a trial, its text as `text` has it; what is no text is left alone."""
        if Path(name).suffix.lower() not in _TEXTS or not self._hidden:
            return content
        try:
            return self.text(content.decode()).encode()
        except UnicodeDecodeError:
            return content

    def value(self, value: Any, params: Mapping[str, Any]) -> Any:
        """Returns what an objective keeps with a trial, such as its whole config, as the study file would write it.

        What is among the trial's `params` was drawn and is no setting, whatever it equals.
        """
        if not isinstance(value, Mapping):
            return self._value(value, _ABSENT, _ABSENT)
        return {
            key: item if key in params and item == params[key] else self._item(key, item, self.written, self.expanded)
            for key, item in value.items()
        }

    @cached_property
    def _hidden(self) -> dict[str, str]:
        """What must not be shown -> what stands for it."""
        hidden: dict[str, str] = {}
        for name, value in self.variables.items():
            for part in _parts(value):
                for form in (part, repr(part)[1:-1], json.dumps(part)[1:-1], quote(part), quote(part, safe="")):
                    if len(form) >= _SHORTEST_HIDDEN and not (form.isdecimal() and len(form) < 2 * _SHORTEST_HIDDEN):
                        hidden.setdefault(form, f"${{{name}}}")
        return hidden

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self._hidden, key=len, reverse=True)
        return re.compile("|".join(map(_bounded, longest_first)))

    def _item(self, key: str, item: Any, written: Any, expanded: Any) -> Any:
        there = isinstance(written, Mapping) and key in written
        return self._value(item, written[key] if there else _ABSENT, expanded[key] if there else _ABSENT)

    def _value(self, value: Any, written: Any, expanded: Any) -> Any:
        if isinstance(value, Mapping):
            return {self.text(key): self._item(key, item, written, expanded) for key, item in value.items()}
        if isinstance(value, list | tuple):
            if isinstance(written, list) and len(written) == len(value):
                return [self._value(*triple) for triple in zip(value, written, expanded, strict=True)]
            one = isinstance(written, str)  # ["x"] where the file has "x"
            return [self._value(item, written if one else _ABSENT, expanded if one else _ABSENT) for item in value]
        if not isinstance(value, str):
            return value
        return written if isinstance(written, str) and value == expanded else self.text(value)


def _parts(value: str) -> Iterable[str]:
    """A value, its lines where there are several, the line that they become in a message, and a URL's password alone."""
    lines = value.splitlines()
    password = _PASSWORD.search(value)
    return [value, *(lines if len(lines) > 1 else []), " ".join(value.split()), *([password[1]] if password else [])]


def _bounded(text: str) -> str:
    """A pattern for a text; a short one must be no part of a longer word."""
    if len(text) >= 2 * _SHORTEST_HIDDEN:
        return re.escape(text)
    before = r"(?<![A-Za-z0-9])" if text[0].isalnum() else ""
    return f"{before}{re.escape(text)}{'(?![A-Za-z0-9])' if text[-1].isalnum() else ''}"


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yields each string of some settings, after its place."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _strings(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _strings(item, f"{key}[{index}]")
    elif isinstance(value, str):
        yield key, value


def _expand(value: Any, environ: Mapping[str, str], where: str) -> Any:
    if isinstance(value, Mapping):
        return expand(value, environ, where)
    if isinstance(value, list):
        return [_expand(item, environ, f"{where}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        current = environ.get(name)
        if default is not None:
            return current or default
        if current is None:
            raise StudyFileError(
                f"{where}: the environment variable {name} must be set; got {show(value)}. "
                f"Set it (export {name}=...), or give a default (${{{name}:-...}})."
            )
        return current

    return _VARIABLE.sub(replace, value)
