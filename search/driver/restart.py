"""A study none of whose trials counts takes another space; where its failed trials stand in the way, it begins anew."""

import re
import shutil

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.driver.compatibility import describe, is_bound, same
from search.driver.enqueued import misfit, noted_attrs
from search.driver.ownership import claim, claimed, driver_of, is_foreign, living_driver
from search.errors import StudyError
from search.optuna_internals import METRIC_NAMES, storage_of, study_id_of
from search.records.attributes import PORTFOLIO_KEY, file_of, given_of, queued_of, retry_of, without_records
from search.records.optuna_keys import FIXED_PARAMS
from search.storage.folders import checkpoint_folder
from search.storage.open import close, create_study, shared
from search.study_file.load import StudySpec

_OF_A_TRIAL = re.compile(r"dashboard:\d+:")  # begins a study's attribute: the dashboard's note on the trial of this id


def begin_anew(study: optuna.Study, spec: StudySpec, url: str) -> tuple[optuna.Study, str] | None:
    """Replaces a study whose trials all failed, and that nobody drives, where Optuna would not take its file's space.

    The configs that somebody else has enqueued and nobody has begun, the portfolio, and what others keep with the study go on
    with the new one. Until they are there, a study of their own has them too: a launch that was killed is finished by the next.

    Returns:
        The new study, with the former one closed, and a line for the user; None where the former is gone on with.

    Raises:
        StudyError: Another launch drives the study, or is about to replace it.
    """
    if shared(study) is not None:
        return None
    aside = f"{study.study_name} (kept while it begins anew)"
    try:
        if (driver := living_driver(study)) is not None:
            if driver.is_here and driver == driver_of(study):
                claim(study)  # refuses, before the other one deletes the study
            return None
        in_the_way = _is_in_the_way(study, spec)
        if not in_the_way and aside not in optuna.get_all_study_names(storage_of(study)):
            return None
        if in_the_way:
            study = _set_aside(study, aside, spec, url)
        with claimed(study):  # a launch that finds the new one before it is whole may do the same
            is_new = in_the_way or file_of(study) is None  # else one was killed before it could delete the former
            if aside in optuna.get_all_study_names(storage_of(study)):
                _take_along(optuna.load_study(study_name=aside, storage=storage_of(study)), study)
                optuna.delete_study(study_name=aside, storage=storage_of(study))
    except KeyError:  # Optuna's, of a study that is no longer there
        raise StudyError(f'study "{spec.name}": one launch at a time may begin it anew; got two. Launch it again.') from None
    return (study, _describe(spec, study)) if is_new else None


def _set_aside(study: optuna.Study, aside: str, spec: StudySpec, url: str) -> optuna.Study:
    """Copies what is to go on, deletes the study, and returns the new one.

    Whoever has claimed the study is alone with its copy, which is whole once the study is no longer there.
    """
    claim(study)
    if aside in optuna.get_all_study_names(storage_of(study)):
        optuna.delete_study(study_name=aside, storage=storage_of(study))
    kept = optuna.create_study(storage=storage_of(study), study_name=aside, directions=study.directions)
    _take_along(study, kept)
    checkpoints = checkpoint_folder(url, study)
    optuna.delete_study(study_name=study.study_name, storage=storage_of(study))
    close(study)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return create_study(url, spec.name, spec.directions, spec.metrics)


def _is_in_the_way(study: optuna.Study, spec: StudySpec) -> bool:
    before = file_of(study)
    if before is None or same(before.get("space"), describe(spec)["space"]) or is_bound(study):
        return False
    trials = study.get_trials(deepcopy=False)
    return not any(map(is_foreign, trials)) and not all(_fits(trial, spec) for trial in trials)


def _fits(trial: FrozenTrial, spec: StudySpec) -> bool:
    """Whether a trial can stay beside trials of the file's space, and run in it where it is our own and still to run."""
    for name in trial.distributions.keys() & spec.space.keys():
        try:
            check_distribution_compatibility(trial.distributions[name], spec.space[name])
        except ValueError:
            return False
    to_run = trial.state in (TrialState.WAITING, TrialState.RUNNING) and not _is_untried(trial)
    return not to_run or misfit(trial, spec.space) is None


def _is_untried(trial: FrozenTrial) -> bool:
    """Whether somebody else has enqueued it and nobody has begun it; a driver begins what it enqueues, but for retries."""
    return trial.state is TrialState.WAITING and retry_of(trial) is None and queued_of(trial) is None


def _take_along(study: optuna.Study, other: optuna.Study) -> None:
    """Gives another study what goes on with it, but for what it has already."""
    there = [
        (given_of(trial), trial.user_attrs if trial.state is TrialState.WAITING else noted_attrs(trial))
        for trial in other.get_trials(deepcopy=False)
    ]
    for trial in filter(_is_untried, study.get_trials(deepcopy=False)):
        given = {**given_of(trial), **trial.params}
        if (given, trial.user_attrs) not in there:
            attrs = {**trial.system_attrs, FIXED_PARAMS: given}
            other.add_trial(create_trial(state=TrialState.WAITING, user_attrs=trial.user_attrs, system_attrs=attrs))
    attrs, has = study.user_attrs, other.user_attrs
    not_ours = without_records(attrs)
    for key, value in attrs.items():
        if key not in has and (key == PORTFOLIO_KEY or key in not_ours):
            other.set_user_attr(key, value)
    attrs, has = (storage_of(each).get_study_system_attrs(study_id_of(each)) for each in (study, other))
    for key, value in without_records(attrs).items():
        if key not in has and key != METRIC_NAMES and not _OF_A_TRIAL.match(key):
            storage_of(other).set_study_system_attr(study_id_of(other), key, value)


def _describe(spec: StudySpec, study: optuna.Study) -> str:
    line = f"Study {spec.name} begins anew: its space is another, and no trial of it counted."
    kept = list(filter(_is_untried, study.get_trials(deepcopy=False)))
    if not kept:
        return line
    line += f" {len(kept)} enqueued {'config is' if len(kept) == 1 else 'configs are'} kept"
    unfit = sum(misfit(trial, spec.space) is not None for trial in kept)
    return f"{line}; the new space does not hold {unfit} of them, which will fail." if unfit else f"{line}."
