"""What somebody else has enqueued, as a notebook does with ``study.enqueue_trial``: its parameters and its attributes."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from search.optuna_internals import storage_of, trial_id_of
from search.records.attributes import PREFIX, given_of, without_records
from search.records.rungs import is_paused
from search.storage.open import longest_attr
from search.study_file.distributions import as_drawn, check_value
from search.text import show

_ATTRS_KEY = f"{PREFIX}given"
"""Trial system attribute, a table: the user attributes that it was enqueued with, as they were when it began.

None where they are longer together than the storage can hold. One for all, as the name of each may be as long as one can be.
"""


def misfit(trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> str | None:
    """Returns the rule that a parameter of a waiting trial breaks, with what it has; None where the space holds them all.

    A name that the space does not have is no parameter here, and does no harm.
    """
    for name, value in {**as_given(trial, space), **trial.params}.items():
        if name in space and (problem := check_value(name, value, space)):
            return f"the enqueued {name} {problem[0]}; got {show(value)}"
    return None


def misfits(trials: Iterable[FrozenTrial], space: Mapping[str, BaseDistribution]) -> Iterator[tuple[FrozenTrial, str]]:
    """Yields the enqueued trials before the first that the space holds, with what `misfit` says of them."""
    for trial in trials:
        if trial.state is TrialState.WAITING and not is_paused(trial):
            if (why := misfit(trial, space)) is None:
                return
            yield trial, why


def as_given(trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Returns the parameters that a trial was given, those that fit as they would be drawn: 3 where 3.0 stands for it."""
    given = dict(given_of(trial))
    for name in given.keys() & space.keys():
        value, distribution = given[name], space[name]
        if isinstance(distribution, IntDistribution) and isinstance(value, float) and value.is_integer():
            value = int(value)
        if not check_value(name, value, space):
            given[name] = as_drawn(value, distribution)
    return given


def note_attrs(study: optuna.Study, waiting: FrozenTrial) -> None:
    """Notes the user attributes that a trial was enqueued with, as it begins: its objective may set them, and others, anew."""
    attrs, longest = without_records(waiting.user_attrs), longest_attr(study)
    if attrs:
        fits = longest is None or len(json.dumps(attrs)) <= longest
        storage_of(study).set_trial_system_attr(trial_id_of(waiting), _ATTRS_KEY, attrs if fits else None)


def noted_attrs(trial: FrozenTrial) -> dict[str, Any]:
    """Returns the user attributes that a trial was enqueued with, as they were then; too long ones as they are now."""
    noted = trial.system_attrs.get(_ATTRS_KEY, {})
    return dict(noted) if isinstance(noted, Mapping) else without_records(trial.user_attrs)
