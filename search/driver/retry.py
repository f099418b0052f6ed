"""How a trial that was lost or failed by accident is enqueued again."""

import contextlib
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.driver.enqueued import noted_attrs
from search.driver.ownership import Owner
from search.optuna_internals import ARTIFACTS_ATTR_PREFIX, add_trial, storage_of, study_id_of
from search.records.attributes import (
    OBJECTIVE_KEYS,
    RAN_KEY,
    RETRIED_KEYS,
    RETRIES_KEY,
    RETRY_KEY,
    given_of,
    owner_of,
    retries_of,
    retry_of,
    without_records,
)
from search.records.constraints import set_by_objective
from search.records.durations import end_after, until_last_sign
from search.records.optuna_keys import FIXED_PARAMS
from search.records.rungs import REPORTED_KEY, RUNGS_KEY, Rung, as_attr, paused_seconds, rungs_of
from search.records.saving import save_failure
from search.records.states import DRIVER_DIED
from search.storage.open import end_trial, shared, study_lock


def retry_lost(study: optuna.Study, gone: Owner | None = None, *, take_over: bool = False) -> list[int]:
    """Fails the trials that a dead driver left RUNNING, and enqueues their parameters again; returns their numbers.

    What no driver of search began is run by another program, which will tell how it ended.

    Args:
        study: The study, which this process has claimed.
        gone: The driver until now. What others on other machines run is theirs where they may share the study, and
            `search.driver.heartbeat` watches it; else they are gone too.
        take_over: What no driver of search began is lost too.
    """
    me, alone = Owner.current(), shared(study) is None
    lost = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = Owner.from_attr(owner_of(trial))
        # `None` is no driver's, also where `gone` is.
        if take_over if owner is None else owner in (me, gone) or (alone and not owner.is_here) or not owner.may_live():
            requeue(study, trial.number, DRIVER_DIED, lost=True)
            lost.append(trial.number)
    return lost


def requeue(
    study: optuna.Study,
    number: int,
    reason: str,
    traceback: str = "",
    *,
    blamed: bool = False,
    lost: bool = False,
    ran_s: float | None = None,
) -> None:
    """Fails a trial that deserves another try, and enqueues its parameters with its seed; one that has ended is left as it is.

    The retry comes first: a kill between the two leaves a RUNNING trial, which the next launch finds, sees its retry, and only
    fails.

    Args:
        study: The study.
        number: The trial.
        reason: Why it ended.
        traceback: Where it ended, if anybody knows.
        blamed: The retry counts: it may have been the config's own fault.
        lost: Nobody was there to end it: it ran until the last sign of life of its driver, not until now.
        ran_s: For how many seconds it ran, in all its legs, where that is neither on record nor told by the wall clock.
    """
    with study_lock(study):
        trials = study.get_trials(deepcopy=False)
        trial = trials[number]
        if trial.state.is_finished():  # another driver held us for dead, and gave it back
            return
        earlier = retry_of(trial)
        first = number if earlier is None else earlier
        if not any(retry_of(other) == first for other in trials[number + 1 :]):
            retries = retries_of(trial) + blamed
            _enqueue_again(study, trial, {RETRY_KEY: first, **({RETRIES_KEY: retries} if retries else {})})
        if lost:
            ran_s = paused_seconds(trial) + until_last_sign(trial, trials)
        with contextlib.suppress(UpdateFinishedTrialError):  # its owner, held for dead, ends it in this very moment
            fail(study, number, reason, traceback, ran_s=ran_s)


def _enqueue_again(study: optuna.Study, trial: FrozenTrial, attrs: Mapping[str, Any]) -> None:
    """Enqueues a trial's parameters, with attributes of the new try; one that had climbed some rungs is paused there again.

    Its time up to there and its reports are the earlier try's, and count with that. What it has said of itself goes on with it;
    one that begins again says that again, and has what it was enqueued with.
    """
    rungs = {reached: Rung(rung.value, 0.0) for reached, rung in rungs_of(trial).items()}
    keys = (*RETRIED_KEYS, *OBJECTIVE_KEYS) if rungs else RETRIED_KEYS
    own = without_records(trial.user_attrs) if rungs else noted_attrs(trial)
    user_attrs = {**own, **{key: trial.user_attrs[key] for key in keys if key in trial.user_attrs}, **attrs}
    files = [key for key in trial.system_attrs if key.startswith(ARTIFACTS_ATTR_PREFIX)] if rungs else []
    system_attrs = {key: trial.system_attrs[key] for key in (*keys, *files) if key in trial.system_attrs}
    if not rungs:
        # A trial killed while it was drawn has part of its parameters; its seed draws the others as it would have.
        fixed = {**system_attrs, FIXED_PARAMS: {**given_of(trial), **trial.params}}
        study.add_trial(create_trial(state=TrialState.WAITING, user_attrs=user_attrs, system_attrs=fixed))
        return
    again = create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        intermediate_values=trial.intermediate_values,
        user_attrs=user_attrs,
        system_attrs={**system_attrs, RUNGS_KEY: as_attr(rungs), REPORTED_KEY: len(trial.intermediate_values)},
        constraints=set_by_objective(trial),
    )
    add_trial(study, again)


def fail(study: optuna.Study, number: int, reason: str, traceback: str = "", *, ran_s: float | None = None) -> None:
    """Tells a trial FAIL, with its reason. Where `ran_s` is given it ended so many seconds after it began, and not now."""
    storage = storage_of(study)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id_of(study), number)
    save_failure(storage, trial_id, reason, traceback)
    if ran_s is None:
        study.tell(number, state=TrialState.FAIL)
        return
    storage.set_trial_user_attr(trial_id, RAN_KEY, ran_s)
    trial = storage.get_trial(trial_id)
    end_trial(study, trial_id, TrialState.FAIL, None, end_after(trial, ran_s - paused_seconds(trial)))
