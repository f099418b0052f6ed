"""Where a trial keeps what it needs to go on after a loss: a folder that all tries of one config share, gone with the last."""

import contextlib
import shutil
from pathlib import Path

import optuna

from search.records.attributes import retry_of
from search.storage.url import folder, storage_file


def checkpoint_folder(url: str, study: str) -> Path:
    """Returns the folder of a study's checkpoints, which need not be there."""
    path = storage_file(url)
    return (path.with_suffix(".checkpoints") if path is not None else folder(url) / "checkpoints") / study


def of_trial(trial: optuna.Trial, base: Path) -> Path:
    """Returns the folder of a trial, which is that of its first try; the objective makes it."""
    first = retry_of(trial)
    return base / f"trial-{trial.number if first is None else first}"


def forget(trial: optuna.Trial, base: Path) -> None:
    """Removes what a trial that has ended for good left, and the folders that are empty then."""
    shutil.rmtree(of_trial(trial, base), ignore_errors=True)
    for empty in (base, base.parent):
        with contextlib.suppress(OSError):  # it is not there, or still holds something
            empty.rmdir()
