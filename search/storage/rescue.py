"""Where the storage is lost: writes what a driver knows of its study into a journal of Optuna beside it."""

import contextlib
import copy
import json
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.optuna_internals import storage_of, study_id_of, trial_id_of
from search.storage.trial_ends import Known, end_of


@dataclass(frozen=True)
class Frame:
    """What of a study stays as it is; the metrics' names are among its system attributes."""

    name: str
    directions: list[StudyDirection]
    system_attrs: Mapping[str, Any]

    @classmethod
    def of(cls, study: optuna.Study) -> "Frame":
        """Returns that of a study as it is in the storage."""
        system_attrs = storage_of(study).get_study_system_attrs(study_id_of(study))
        return cls(study.study_name, study.directions, dict(system_attrs))


def rescue(frame: Frame, known: Known, stem: str, folder: Path) -> Path | None:
    """Writes a study to a new file in `folder`, else in the current one or that for temporary files, and returns its path.

    The file's name begins with `stem`. None where there was no place for it.
    """
    content = _journal(frame, known)
    for place in _places(folder):
        for number in range(1, 100):
            path = place / f"{stem}.rescued{'' if number == 1 else f'-{number}'}.log"
            try:
                with path.open("xb") as file:
                    file.write(content)
            except FileExistsError:
                continue  # of an earlier launch: never written over
            except OSError:
                with contextlib.suppress(OSError):
                    path.unlink()  # half of it, on a full disk
                break
            return path
    return None


class _Lines(BaseJournalBackend):
    """Takes the records of a journal in memory, so that the file is written in one go."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.records += logs

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        yield from json.loads(json.dumps(self.records[log_number_from:]))


def _journal(frame: Frame, known: Known) -> bytes:
    lines = _Lines()
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(lines), study_name=frame.name, directions=frame.directions
    )
    for key, value in known.user_attrs.items():
        study.set_user_attr(key, value)
    for key, value in frame.system_attrs.items():
        if ":parent:" in key:
            continue  # a generation of `nsgaii`, by trials' ids, which are others in this file: it is chosen again
        storage_of(study).set_study_system_attr(study_id_of(study), key, value)
    for trial in known.trials:
        study.add_trial(_as_told(trial, known))
    return b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in lines.records)


def _as_told(trial: FrozenTrial, known: Known) -> FrozenTrial:
    """Returns a trial with the end that it was told, where the storage has not confirmed that or has lost the values since.

    One whose values nobody knows any more has failed.
    """
    state, values = known.told_ends.get(trial_id_of(trial), end_of(trial))
    if trial.state.is_finished() and (trial.values or state is not trial.state):  # confirmed, or ended by another driver
        state, values = end_of(trial)
    if state is TrialState.COMPLETE and not values:
        state = TrialState.FAIL
    ended = copy.copy(trial)
    if state is not trial.state:
        ended.state = state
        ended.datetime_complete = trial.datetime_complete or datetime.now() if state.is_finished() else None
    ended.values = list(values) or None
    return ended


def _places(folder: Path) -> list[Path]:
    places = [folder]
    for last_resort in (Path.cwd, tempfile.gettempdir):
        with contextlib.suppress(FileNotFoundError):  # the current folder was removed, or none for temporary files has room
            places.append(Path(last_resort()))
    return places
