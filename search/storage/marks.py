"""Marks of the trials that wait, paused or enqueued: one statement tells which of them have changed since they were read.

Thousands may wait, and each look at the trials must find what other programs do to them. To read them takes a quarter of a
millisecond each, most of it in Python; to read their marks takes a thirtieth of that.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from search.optuna_internals import models

_AT_ONCE = 10_000  # PostgreSQL takes 65,535 parameters of a statement, SQLite 32,766 at least

_trial = models.TrialModel.__table__.c


def _of_trial(model: Any, what: Any) -> sqlalchemy.ScalarSelect[Any]:
    return select(what).where(model.__table__.c.trial_id == _trial.trial_id).scalar_subquery()


def _texts(model: Any) -> Iterator[sqlalchemy.ScalarSelect[Any]]:
    value, (row,) = model.__table__.c.value_json, model.__table__.primary_key
    yield _of_trial(model, func.sum(func.length(value)))
    # The rows come in any order, and MySQL may refuse to join a key to a value: their collations may differ.
    yield _of_trial(model, func.aggregate_strings(value.concat(":").concat(row), ","))


_MARKED = select(
    _trial.trial_id,
    _trial.datetime_start,
    *_texts(models.TrialUserAttributeModel),
    *_texts(models.TrialSystemAttributeModel),
    _of_trial(models.TrialParamModel, func.count()),
    _of_trial(models.TrialIntermediateValueModel, func.count()),
).where(_trial.state == TrialState.WAITING)


def read_marks(session: Session, study_id: int, trial_ids: Sequence[int] | None) -> dict[int, int]:
    """Returns the mark of each trial that waits, by id, among these trials; where they are None, among all of the study.

    Not told apart are two values of one report, which nobody replaces while a trial waits, and in MySQL, which cuts what it
    joins, two attributes of one length beyond the first kilobyte. A parameter that is there is never replaced.
    """
    if trial_ids is None:
        wanted = [_trial.study_id == study_id]
    else:
        wanted = [_trial.trial_id.in_(trial_ids[top : top + _AT_ONCE]) for top in range(0, len(trial_ids), _AT_ONCE)]
    return {row[0]: hash(tuple(row[1:])) for those in wanted for row in session.execute(_MARKED.where(those))}
