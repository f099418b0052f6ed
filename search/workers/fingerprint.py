"""What an objective says of what its values depend on, besides its settings.

A study file names data and weights; what lies under these names may change between two launches, and differ between two
machines. An objective that defines ``fingerprint()`` says what it found: names of things, and a hash of each one's content.
What else whoever launches should know, ``notes`` says in lines.
"""

from collections.abc import Mapping
from typing import Any

from search.errors import ObjectiveError
from search.text import one_line

_LONGEST_NOTE = 1_000  # characters
_LONGEST = 10_000  # characters of all names and hashes together; MySQL keeps 64 kB of an attribute


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
