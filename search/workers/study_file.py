"""What an objective says of the study file before it is built: what in it cannot be, and what it takes where nothing is said.

A class may define each as a class method, so that a typo is told before data is prepared::

    @classmethod
    def check_space(cls, space, enqueue, settings) -> list[str]: ...

    @classmethod
    def directions(cls, settings) -> list[str]: ...

    @classmethod
    def defaults(cls, settings) -> dict[str, Any]: ...

`space` has the tables of ``[space]`` as a file writes them, `enqueue` those of ``[[enqueue]]``, `settings` those of
``[objective]``, its variables expanded.
"""

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from search.errors import ObjectiveError
from search.text import one_line, show

_MOST_LINES = 100


def take_misfits(
    kind: Any,
    space: Mapping[str, Mapping[str, Any]],
    enqueue: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    directions: Sequence[str] = (),
) -> tuple[str, ...]:
    """Returns a line for each thing in a study file that an objective cannot run; none where it does not check the file.

    Without `directions` they are not checked, nor are they where another line says what is wrong.

    Raises:
        ObjectiveError: It says something else than lines, or than directions.
    """
    if not inspect.isclass(kind):
        return ()
    lines = kind.check_space(space, enqueue, settings) if hasattr(kind, "check_space") else []
    if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
        raise ObjectiveError(f"check_space() must return a list of lines; got {one_line(repr(lines))[:80]}")
    if directions and not lines and inspect.ismethod(where := getattr(kind, "directions", None)):
        lines = _direction_misfits(where(settings), directions)
    return tuple(map(one_line, lines[:_MOST_LINES]))


def _direction_misfits(wanted: Any, directions: Sequence[str]) -> list[str]:
    if not isinstance(wanted, list | tuple) or any(each not in ("maximize", "minimize") for each in wanted):
        raise ObjectiveError(f"directions() must return a list of maximize and minimize; got {one_line(repr(wanted))[:80]}")
    if list(wanted) == list(directions):
        return []
    key, value = ("direction", wanted[0]) if len(wanted) == 1 else ("directions", wanted)
    return [f"study.{key}: must be {show(value)} for this objective; got {show(directions)}. Write {key} = {show(value)}."]


def take_defaults(kind: Any, settings: Mapping[str, Any], names: Collection[str]) -> dict[str, Any] | None:
    """Returns what an objective takes for the parameters of these names in a trial without them; None where it does not say.

    Raises:
        ObjectiveError: It says something else than values by name.
    """
    if not (inspect.isclass(kind) and hasattr(kind, "defaults")):
        return None
    values = kind.defaults(settings)
    if not isinstance(values, Mapping):
        raise ObjectiveError(f"defaults() must return values by name; got {one_line(repr(values))[:80]}")
    return {name: values[name] for name in names if isinstance(values.get(name), str | int | float | bool)}
