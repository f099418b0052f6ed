"""A study none of whose trials counts takes another space; where its failed trials stand in the way, it begins anew."""

import contextlib
import re
import shutil
from collections.abc import Sequence

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.driver.compatibility import describe, is_bound, living_driver, same
from search.driver.enqueued import misfit
from search.driver.ownership import is_foreign
from search.optuna_internals import METRIC_NAMES, storage_of, study_id_of
from search.records.attributes import PORTFOLIO_KEY, file_of, given_of, queued_of, retry_of, without_records
from search.storage.folders import checkpoint_folder
from search.storage.open import close, create_study, shared
from search.study_file.load import StudySpec

_OF_A_TRIAL = re.compile(r"dashboard:\d+:")  # begins a study's attribute: the dashboard's note on the trial of this id


def begin_anew(study: optuna.Study, spec: StudySpec, url: str) -> tuple[optuna.Study, str] | None:
    """Replaces a study whose trials all failed, and that nobody drives, where Optuna would not take its file's space.

    The configs that somebody else has enqueued and nobody has begun, the portfolio, and what others keep with the study go on
    with the new one. Until they are there, a study of their own has them too: a launch that was killed is finished by the next.

    Args:
        study: The study; closed where it is replaced.
        spec: Its file.
        url: Its storage.

    Returns:
        The new study and a line for the user; None where the present one can be gone on with, or must be.
    """
    if shared(study) is not None:
        return None
    aside = f"{study.study_name} (kept while it begins anew)"
    if file_of(study) is not None:
        if not _is_in_the_way(study, spec):
            return None
        with contextlib.suppress(KeyError):  # one that is not whole, or else the study would not be there any more
            optuna.delete_study(study_name=aside, storage=storage_of(study))
        kept = optuna.create_study(storage=storage_of(study), study_name=aside, directions=study.directions)
        _take_along(study, kept)
        checkpoints = checkpoint_folder(url, study)
        optuna.delete_study(study_name=study.study_name, storage=storage_of(study))
        close(study)
        shutil.rmtree(checkpoints, ignore_errors=True)
        study = create_study(url, spec.name, spec.directions, spec.metrics)
    elif aside not in optuna.get_all_study_names(storage_of(study)):
        return None
    _take_along(optuna.load_study(study_name=aside, storage=storage_of(study)), study)
    optuna.delete_study(study_name=aside, storage=storage_of(study))
    return study, _describe(spec, _untried(study))


def _is_in_the_way(study: optuna.Study, spec: StudySpec) -> bool:
    before = file_of(study)
    if before is None or same(before.get("space"), describe(spec)["space"]):
        return False
    if is_bound(study) or living_driver(study) is not None:
        return False
    trials, untried = study.get_trials(deepcopy=False), {trial.number for trial in _untried(study)}
    return not any(map(is_foreign, trials)) and not all(
        _fits(trial, spec, is_own=trial.number not in untried) for trial in trials
    )


def _fits(trial: FrozenTrial, spec: StudySpec, *, is_own: bool) -> bool:
    """Whether a trial can stay beside trials of the file's space, and run in it where it is our own and still to run."""
    for name in trial.distributions.keys() & spec.space.keys():
        try:
            check_distribution_compatibility(trial.distributions[name], spec.space[name])
        except ValueError:
            return False
    to_run = is_own and trial.state in (TrialState.WAITING, TrialState.RUNNING)
    return not to_run or misfit(trial, spec.space) is None


def _untried(study: optuna.Study) -> list[FrozenTrial]:
    """Returns what somebody else has enqueued and nobody has begun; a driver begins what it enqueues, but for retries."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return [trial for trial in waiting if retry_of(trial) is None and queued_of(trial) is None]


def _take_along(study: optuna.Study, other: optuna.Study) -> None:
    """Gives another study what goes on with it, but for what it has already."""
    there = [(given_of(trial), trial.user_attrs) for trial in other.get_trials(deepcopy=False)]
    for trial in _untried(study):
        given = {**given_of(trial), **trial.params}
        if (given, trial.user_attrs) not in there:
            attrs = {**trial.system_attrs, "fixed_params": given}
            other.add_trial(create_trial(state=TrialState.WAITING, user_attrs=trial.user_attrs, system_attrs=attrs))
    for key, value in study.user_attrs.items():
        if key == PORTFOLIO_KEY or key in without_records(study.user_attrs):
            other.set_user_attr(key, value)
    attrs = without_records(storage_of(study).get_study_system_attrs(study_id_of(study)))
    for key, value in attrs.items():
        if key != METRIC_NAMES and not _OF_A_TRIAL.match(key):
            storage_of(other).set_study_system_attr(study_id_of(other), key, value)


def _describe(spec: StudySpec, kept: Sequence[FrozenTrial]) -> str:
    line = f"Study {spec.name} begins anew: its space is another, and no trial of it counted."
    if not kept:
        return line
    line += f" {len(kept)} enqueued {'config is' if len(kept) == 1 else 'configs are'} kept"
    unfit = sum(misfit(trial, spec.space) is not None for trial in kept)
    return f"{line}; the new space does not hold {unfit} of them, which will fail." if unfit else f"{line}."
