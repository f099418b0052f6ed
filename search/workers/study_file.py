"""What an objective says of the study file before it is built: what in it cannot be, and what it takes where nothing is said.

A class may define both as class methods, so that a typo is told before data is prepared::

    @classmethod
    def check_space(cls, space, enqueue, settings) -> list[str]: ...

    @classmethod
    def defaults(cls, settings) -> dict[str, Any]: ...

`space` has the tables of ``[space]`` as a file writes them, `enqueue` those of ``[[enqueue]]``, `settings` those of
``[objective]``, its variables expanded.
"""

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from search.errors import ObjectiveError
from search.text import one_line

_MOST_LINES = 100


def take_misfits(
    kind: Any, space: Mapping[str, Mapping[str, Any]], enqueue: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> tuple[str, ...]:
    """Returns a line for each thing in a study file that an objective cannot run; none where it does not check the file.

    Raises:
        ObjectiveError: It says something else than lines.
    """
    if not (inspect.isclass(kind) and hasattr(kind, "check_space")):
        return ()
    lines = kind.check_space(space, enqueue, settings)
    if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
        raise ObjectiveError(f"check_space() must return a list of lines; got {one_line(repr(lines))[:80]}")
    return tuple(map(one_line, lines[:_MOST_LINES]))


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
