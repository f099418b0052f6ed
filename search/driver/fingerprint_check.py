"""Sees to it that all trials of a study measure the same thing: what their values depend on stays, whatever its name says.

The first worker's fingerprint (see `search.workers.hooks`) is kept with the study, and every later one, on any machine,
must be equal.
"""

from collections.abc import Mapping

import optuna

from search.driver.compatibility import is_bound
from search.errors import StudyError
from search.records.attributes import FINGERPRINT_KEY, fingerprint_of
from search.storage.open import study_lock


def save_or_compare(study: optuna.Study, found: Mapping[str, str]) -> Mapping[str, str] | None:
    """Keeps the fingerprint of a study that has none; returns the one that it has where that is another."""
    with study_lock(study):
        before = fingerprint_of(study)
        if before is None:
            if found:
                study.set_user_attr(FINGERPRINT_KEY, dict(found))
            return None
    return before if before != found else None


def delete_if_unused(study: optuna.Study) -> None:
    """Lets a study begin anew with other data where no value depends on the former, as after a mistake in the settings."""
    if fingerprint_of(study) is not None and not is_bound(study):
        study.set_user_attr(FINGERPRINT_KEY, None)


def copy_fingerprint(source: optuna.Study, study: optuna.Study) -> None:
    """Has a study whose values are compared with another's begin with the other's fingerprint."""
    before = fingerprint_of(source)
    if before is not None and fingerprint_of(study) is None:
        study.set_user_attr(FINGERPRINT_KEY, dict(before))


def refusal(study: optuna.Study, change: str) -> StudyError:
    """Returns the error of a worker that found something else than the study's trials were measured with."""
    return StudyError(
        f'study "{study.study_name}": what its trials are measured with must stay as it was; '
        f"got a change: {change.rstrip('.')}. Undo it, or add --as NAME to start another study."
    )
