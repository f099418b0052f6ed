"""Files that an objective leaves with its trial: where they lie, and how they get there."""

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO

import optuna
from optuna.artifacts import ArtifactMeta, FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial

from search.files import temporary_folder
from search.optuna_internals import storage_of
from search.records.attributes import retry_of
from search.storage.open import token_of
from search.storage.url import folder, stem_of, storage_file
from search.text import file_name

_ARTIFACT_ID = re.compile(r"[0-9a-f-]{1,64}", re.ASCII)


def artifact_folder(url: str) -> Path:
    """Returns the folder of a storage's artifacts, which need not be there: one for all studies, as a dashboard shows all."""
    return _beside(url, "artifacts")


def artifacts_of(study: optuna.Study, trial: FrozenTrial, store: Path) -> list[tuple[ArtifactMeta, Path]]:
    """Returns the files that a trial left and where they lie; what only calls itself one, or lies elsewhere, is left out.

    So is a link: it leads to whatever file of the reader's whoever made the study wants to see.
    """
    try:
        metas = get_all_artifact_meta(trial, storage=storage_of(study))
    except (KeyError, TypeError, ValueError):
        return []
    sound = [meta for meta in metas if isinstance(meta.artifact_id, str) and _is_file_name(meta.filename)]
    files = [(meta, store / meta.artifact_id) for meta in sound if _ARTIFACT_ID.fullmatch(meta.artifact_id)]
    return [(meta, path) for meta, path in files if not os.path.islink(path)]


class ArtifactStore(FileSystemArtifactStore):
    """Optuna's store, which reads no link, as `artifacts_of`; the folder itself may be one."""

    def __init__(self, store: Path) -> None:
        super().__init__(store)
        self._folder = store

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Opens a file."""
        if os.path.islink(self._folder / artifact_id):
            raise ArtifactNotFound("a link, which may lead anywhere")
        return super().open_reader(artifact_id)


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and Path(name).name not in ("", "..") and "\0" not in name


class NotSavedError(Exception):
    """A file of a trial could not be written, and why."""


class _Moved(ArtifactStore):
    """A store for a file that lies in its folder already: what is entered with a trial is there as a whole."""

    def __init__(self, store: Path, file: Path) -> None:
        super().__init__(store)
        self._file = file

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Gives the file its name."""
        os.replace(self._file, self._folder / artifact_id)


def save_artifact(filename: str, content: bytes, trial: optuna.Trial, store: Path) -> None:
    """Copies a file that an objective sent into the folder, and enters it with the trial as Optuna does.

    Raises:
        NotSavedError: The folder cannot be written, or its disk is full; nothing was entered.
    """
    with contextlib.ExitStack() as stack:
        try:
            store.mkdir(exist_ok=True)
            file = stack.enter_context(temporary_folder(store)) / filename  # its name becomes the artifact's
            file.write_bytes(content)
        except OSError as error:
            reason = error.strerror or error
            raise NotSavedError(f"{store}: files of trials cannot be kept; got {reason}. Going on without.") from None
        upload_artifact(artifact_store=_Moved(store, file), file_path=str(file), study_or_trial=trial)


def checkpoint_folder(url: str, study: optuna.Study) -> Path:
    """Returns the folder of a study's checkpoints, which need not be there: its token tells it from any other of its name."""
    return _beside(url, "checkpoints") / file_name(f"{study.study_name}-{token_of(study)}")


def checkpoints_of(trial: optuna.Trial | FrozenTrial, base: Path) -> Path:
    """Returns the folder of a trial, which is that of its first try; the objective makes it."""
    first = retry_of(trial)
    return base / f"trial-{trial.number if first is None else first}"


def delete_checkpoints(trial: optuna.Trial | FrozenTrial, base: Path | None) -> None:
    """Removes what a trial that has ended for good left, and the folders that are empty then; nothing where none is kept."""
    if base is None:
        return
    shutil.rmtree(checkpoints_of(trial, base), ignore_errors=True)
    for empty in (base, base.parent):
        with contextlib.suppress(OSError):  # it is not there, or still holds something
            empty.rmdir()


def _beside(url: str, what: str) -> Path:
    path = storage_file(url)
    return folder(url) / (f"{stem_of(path)}.{what}" if path is not None else what)
