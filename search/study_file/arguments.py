"""The numbers that a call from Python gives beside a study file, held to the rules of the command line's options."""

from dataclasses import replace
from numbers import Integral, Real
from typing import Any

from search.errors import StudyError
from search.study_file.limits import MAX_SECONDS
from search.study_file.load import StudySpec
from search.text import show


def whole(value: Any, where: str, least: int = 1) -> int:
    """Returns a whole number, NumPy's too, as Python's own; `where` is the function and the argument.

    Raises:
        StudyError: It is none, or less than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise StudyError(f"{where} must be a whole number from {least}; got {show(value)}. Give {least} or more.")
    return int(value)


def asked(
    spec: StudySpec, workers: int, where: str, *, trials: int | None = None, timeout_s: float | None = None
) -> tuple[StudySpec, int]:
    """Returns a study file with what a call gives in the place of its budget and time, and how many workers the call wants.

    `where` is the function that was called; of what is None, the file's stays.

    Raises:
        StudyError: One of them can be none.
    """
    policy, workers = spec.policy, whole(workers, f"{where}: workers")
    if trials is not None:
        policy = replace(policy, trials=whole(trials, f"{where}: trials"))
    if timeout_s is not None:
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, Real) or not 0 < timeout_s <= MAX_SECONDS:
            rule = f"must be a number of seconds above 0, at most {MAX_SECONDS:.0f}"
            raise StudyError(f"{where}: timeout_s {rule}; got {show(timeout_s)}. Give one, or leave it out.")
        policy = replace(policy, timeout_s=float(timeout_s))
    return replace(spec, policy=policy), workers
