"""A study none of whose trials counts takes another space; where its failed trials stand in the way, it begins anew."""

import shutil

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.trial import FrozenTrial, TrialState

from search.driver.compatibility import describe, is_bound, living_driver, same
from search.driver.ownership import is_foreign
from search.optuna_internals import storage_of
from search.records.attributes import file_of, given_of
from search.storage.folders import checkpoint_folder
from search.storage.open import close, create_study, shared
from search.study_file.distributions import check_value
from search.study_file.load import StudySpec


def begin_anew(study: optuna.Study, spec: StudySpec, url: str) -> optuna.Study | None:
    """Replaces a study whose trials all failed, and that nobody drives, where Optuna would not take its file's space.

    Args:
        study: The study; closed where it is replaced.
        spec: Its file.
        url: Its storage.

    Returns:
        The new study, without trials; None where the present one can be gone on with, or must be.
    """
    before = file_of(study)
    if before is None or same(before.get("space"), describe(spec)["space"]) or shared(study) is not None:
        return None
    if is_bound(study) or living_driver(study) is not None:
        return None
    trials = study.get_trials(deepcopy=False)
    if any(map(is_foreign, trials)) or all(_fits(trial, spec) for trial in trials):
        return None
    checkpoints = checkpoint_folder(url, study)
    optuna.delete_study(study_name=study.study_name, storage=storage_of(study))
    close(study)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return create_study(url, spec.name, spec.directions, spec.metrics)


def _fits(trial: FrozenTrial, spec: StudySpec) -> bool:
    """Whether a trial can stay beside trials of the file's space, and run in it where it is still to run."""
    for name in trial.distributions.keys() & spec.space.keys():
        try:
            check_distribution_compatibility(trial.distributions[name], spec.space[name])
        except ValueError:
            return False
    if trial.state not in (TrialState.WAITING, TrialState.RUNNING):
        return True
    params = {**given_of(trial), **trial.params}
    return all(name in spec.space and check_value(name, value, spec.space) is None for name, value in params.items())
