"""What is reached without a search: values that the objective itself measures, kept with the study and shown beside its best.

An objective that defines ``references()`` returns values by name: a simple method's, chance's. A study has them once, and only
where they were measured with what its trials are measured with.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from search.driver.compatibility import check_same
from search.driver.fingerprint_check import refusal
from search.driver.launch import describe_local_code
from search.driver.ownership import claimed
from search.errors import ObjectiveError
from search.records.attributes import REFERENCES_KEY, fingerprint_of, number_in
from search.storage import errors
from search.storage.open import close
from search.storage.place import open_launched
from search.study_file.env import AsWritten
from search.study_file.load import StudySpec
from search.study_file.targets import find_beside
from search.text import one_line
from search.workers.hooks import describe_change, take_fingerprint
from search.workers.process import build_objective

_MOST = 10
_LONGEST_NAME = 100


def measure_references(
    spec: StudySpec, url: str | None = None, say: Callable[[str], None] = lambda _: None
) -> Mapping[str, tuple[float, ...]]:
    """Has the objective of a study measure what is reached without a search, and keeps it with the study.

    A `url` takes the place of the file's storage; `say` is told first where the code of the current folder is run. Returns by
    name a value for each direction.

    Raises:
        SearchError: In one line, what the user can mend.
    """
    study, url = open_launched(spec, url, writable=True)
    try:
        with errors.storage_errors(url), claimed(study):
            check_same(study, spec, save=False)
            if line := describe_local_code(spec, "objective", spec.target):
                say(line)
            find_beside()
            settings = AsWritten.of(spec.settings, os.environ, f"{spec.path}: objective").expanded
            objective = build_objective(spec.target, settings)
            before, now = fingerprint_of(study), take_fingerprint(objective)
            if before is not None and before != now:
                raise refusal(study, describe_change(objective, before, now))
            values = take_references(objective, len(spec.directions))
            study.set_user_attr(REFERENCES_KEY, {name: list(each) for name, each in values.items()})
    finally:
        close(study)
    return values


def take_references(objective: Any, directions: int) -> dict[str, tuple[float, ...]]:
    """Returns what an objective says is reached without a search.

    Raises:
        ObjectiveError: It has no ``references()``, or that returns something else than values by name.
    """
    if not hasattr(objective, "references"):
        raise ObjectiveError("the objective must say what is reached without a search, with a method references(); got none")
    found = objective.references()
    if isinstance(found, Mapping):
        values = {name: tuple(value) if isinstance(value, list | tuple) else (value,) for name, value in found.items()}
        if len(values) <= _MOST and all(_fits(name, each, directions) for name, each in values.items()):
            return {name: tuple(map(float, each)) for name, each in values.items()}
    raise ObjectiveError(
        f"references() must return at most {_MOST} names, each with a finite value for each of {directions} directions; "
        f"got {one_line(repr(found))[:80]}"
    )


def _fits(name: object, values: tuple[Any, ...], directions: int) -> bool:
    numbers = all(number_in(value) is not None for value in values)
    return isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and len(values) == directions and numbers
