"""What an objective may define beside ``__call__``, all of it optional, asked for and checked.

Of the study file before it is built, as class methods, so that a typo is told before data is prepared::

    @classmethod
    def check_space(cls, space, enqueue, settings) -> list[str]: ...

    @classmethod
    def directions(cls, settings) -> list[str]: ...

    @classmethod
    def defaults(cls, settings) -> dict[str, Any]: ...

`space` has the tables of ``[space]`` as a file writes them, `enqueue` those of ``[[enqueue]]``, `settings` those of
``[objective]``, its variables expanded.

Then of itself: what it found under the names of data and weights, which may change between two launches and differ between two
machines (``fingerprint()``, and ``describe_change`` of two of these); what whoever launches should know (``notes``); how often
it reports (``reports``); and whether its trials can be paused (``check_fidelity``).
"""

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from search.errors import ObjectiveError
from search.text import one_line, show

_MOST_LINES = 100
_LONGEST_NOTE = 1_000  # characters
_LONGEST = 10_000  # characters of all names and hashes together; MySQL keeps 64 kB of an attribute


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


def take_fingerprint(objective: Any) -> dict[str, str]:
    """Returns what an objective says of what its values depend on; nothing where it does not define ``fingerprint``.

    Raises:
        ObjectiveError: It says something else than names and texts.
    """
    if not hasattr(objective, "fingerprint"):
        return {}
    result = objective.fingerprint()
    fits = isinstance(result, Mapping) and all(isinstance(text, str) for pair in result.items() for text in pair)
    if not fits or sum(len(name) + len(text) for name, text in result.items()) > _LONGEST:
        raise ObjectiveError(
            f"fingerprint() must return names and short hashes, texts of at most {_LONGEST:,} characters together; "
            f"got {one_line(repr(result))[:80]}"
        )
    return dict(result)


def take_notes(objective: Any) -> tuple[str, ...]:
    """Returns what an objective wants to be told at a launch's beginning, its ``notes``: at most ten lines."""
    notes = getattr(objective, "notes", ())
    return tuple(one_line(str(note))[:_LONGEST_NOTE] for note in list(notes)[:10]) if isinstance(notes, list | tuple) else ()


def take_reports(objective: Any) -> dict[str, tuple[str, ...]]:
    """Returns what an objective says of how often it reports, its ``reports``; nothing where it has none.

    Raises:
        ObjectiveError: It is something else than names of settings and parameters by ``run`` and ``epoch``.
    """
    reports = getattr(objective, "reports", {})
    try:
        taken = {each: tuple(names) for each, names in reports.items() if not isinstance(names, str)}
        if taken.keys() == reports.keys() <= {"run", "epoch"} and all(isinstance(n, str) for ns in taken.values() for n in ns):
            return taken
    except (AttributeError, TypeError):
        pass
    raise ObjectiveError(
        f'reports must name settings or parameters, as {{"epoch": ["epochs"]}} does; got {one_line(repr(reports))[:80]}'
    )


def check_fidelity(objective: Any, name: str) -> None:
    """Sees to it that trials can be paused at one value of a parameter, and go on to a higher one.

    An objective that can has a method ``check_fidelity(name)``, which raises an error in one line where it cannot after all.

    Raises:
        ObjectiveError: It has none.
    """
    if not hasattr(objective, "check_fidelity"):
        raise ObjectiveError(
            f"space.{name}.fidelity: the objective must be able to go on from a checkpoint, and say so with a method "
            "check_fidelity(name); got none. Remove fidelity, or see docs/fidelity.md"
        )
    objective.check_fidelity(name)


def describe_change(objective: Any, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Returns in one line how two fingerprints differ; in the objective's own words where it defines ``describe_change``."""
    if hasattr(objective, "describe_change"):
        return one_line(objective.describe_change(before, now))
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(f"{name} was {before.get(name, 'not there')}, and is {now.get(name, 'not there')}" for name in changed)
