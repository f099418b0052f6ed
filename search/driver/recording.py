"""Writes down what a trial says of itself while it runs."""

from collections.abc import Container, Sequence
from pathlib import Path

import optuna

from search.optuna_internals import report, storage_of, trial_id_of
from search.records.constraints import key_of
from search.records.saving import save
from search.storage.folders import NotSavedError, save_artifact
from search.storage.open import together
from search.workers.protocol import Artifact, Constraint, Report, UserAttr

Record = Report | UserAttr | Constraint | Artifact


def record(trial: optuna.Trial, said: Sequence[Record], reported: Container[int], artifacts: Path | None) -> list[str]:
    """Records what a trial said at one time, in order; returns a line for each file that could not be kept.

    Args:
        trial: The trial.
        said: What it said.
        reported: The steps that it has reported before, and reports again.
        artifacts: The folder that takes its files; None lets them go.

    Raises:
        UpdateFinishedTrialError: Another driver has ended the trial.
    """
    not_saved = []
    with together(trial.study, trial_id_of(trial)):
        for message in said:
            match message:
                case Report(_, value, step) if step not in reported:
                    report(trial, value, step)
                case UserAttr(_, key, value):
                    save(storage_of(trial.study), trial_id_of(trial), key, value)
                case Constraint(_, name, value):  # Optuna would keep what an earlier leg has set
                    storage_of(trial.study).set_trial_system_attr(trial_id_of(trial), key_of(name), value)
                case Artifact(_, filename, content) if artifacts is not None:
                    try:
                        save_artifact(filename, content, trial, artifacts)
                    except NotSavedError as error:
                        not_saved.append(str(error))
    return not_saved
