"""Where the storage of a study file lies: in the same place from whatever folder a command is given.

A relative path in a study file starts at the file's folder. A study that was begun where such paths started at the current
folder is gone on with where it is. What a person types, with ``--storage``, starts where they stand.
"""

from collections.abc import Callable
from pathlib import Path

from search.errors import SearchError
from search.storage.open import close, open_study
from search.storage.url import file_url, kind_of, storage_file
from search.study_file.load import StudySpec
from search.text import show_path


def url_of(spec: StudySpec, storage: str | None = None, say: Callable[[str], None] = lambda _: None) -> str:
    """Returns the URL of a study's storage; a relative path in it starts at the current folder.

    Args:
        spec: The study's file.
        storage: The storage instead of the file's.
        say: Is told in a line where the study lies, if its file is in another folder.

    Raises:
        StorageError: The URL cannot be understood.
    """
    if storage is not None:
        return storage
    path, folder = storage_file(spec.storage), spec.path.parent
    if path is None or path.is_absolute() or folder.resolve() == Path.cwd():
        return spec.storage
    beside = file_url(kind_of(spec.storage), folder / path)
    if not _holds(spec.storage, spec.name) or _holds(beside, spec.name):  # the first is told by a file that is not there
        say(f"Study {spec.name} lies beside its file, in {show_path(folder / path)}.")
        return beside
    say(f"Study {spec.name} lies in {show_path(path)} of this folder, not beside its file, and is gone on with there.")
    return spec.storage


def _holds(url: str, name: str) -> bool:
    """Whether a study is in a storage that is there and can be read."""
    path = storage_file(url)
    if path is None or not path.exists():
        return False
    try:
        close(open_study(url, name))
    except SearchError:
        return False
    return True
