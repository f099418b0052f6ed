"""Where the storage of a study file lies: in the same place from whatever folder a command is given.

A relative path in a study file starts at the file's folder. What a person types, with ``--storage``, starts where they stand.
"""

import shlex
from collections.abc import Callable
from pathlib import Path

import optuna

from search.errors import SearchError, StudyError
from search.storage.open import close, open_study
from search.storage.url import absolute, file_url, kind_of, storage_file
from search.study_file.load import StudySpec
from search.text import show_path


def url_of(spec: StudySpec, storage: str | None = None, say: Callable[[str], None] | None = None) -> str:
    """Returns the URL of a study's storage, `storage` instead of the file's; a relative path starts at the current folder.

    If the study's file is in another folder, `say` is told in a line where the study lies.

    Raises:
        StorageError: The URL cannot be understood.
    """
    if storage is not None:
        return storage
    path, folder = storage_file(spec.storage), spec.path.parent
    if folder.absolute() != spec.whole_path.parent:  # the current folder is another than when the file was read
        folder = spec.whole_path.parent
    if path is None or path.is_absolute() or folder.resolve() == Path.cwd():
        return spec.storage
    beside = file_url(kind_of(spec.storage), folder / path)
    if say is not None:
        say(f"Study {spec.name} lies beside its file, in {show_path(folder / path)}.{_namesake(spec, beside)}")
    return beside


def open_launched(spec: StudySpec, storage: str | None = None, *, writable: bool = False) -> tuple[optuna.Study, str]:
    """Opens the study of a file that was launched, and returns it with the URL of its storage.

    Raises:
        StorageError: The storage cannot be opened.
        StudyError: There is no such storage or study.
    """
    url = url_of(spec, storage)
    try:
        return open_study(url, spec.name, writable=writable), url
    except StudyError as error:
        raise StudyError(f"{error}{_namesake(spec, url)}") from None


def _namesake(spec: StudySpec, url: str) -> str:
    """Returns how to mean a study of the current folder, where what is meant is not there and would be called as that is."""
    path, here = storage_file(url), storage_file(spec.storage)
    if path is None or here is None or path.exists() or not here.exists():
        return ""
    try:
        close(open_study(spec.storage, spec.name))
    except SearchError:
        return ""
    wanted = shlex.quote(absolute(spec.storage))
    return f" Another of that name lies in this folder; to mean that one, add --storage {wanted}."
