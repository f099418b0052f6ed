"""What a person may call a study: a study file, or the URL of a storage with ``#NAME``, for studies that no file describes."""

from dataclasses import dataclass
from pathlib import Path

import optuna

from search.errors import StudyError
from search.storage import hide_password, open_study
from search.study_file import StudySpec, load


@dataclass(frozen=True)
class Opened:
    """A study that is open.

    Attributes:
        study: The study.
        url: Its storage.
        spec: Its file; None where a URL named it.
    """

    study: optuna.Study
    url: str
    spec: StudySpec | None


def open_reference(text: str, storage: str | None = None) -> Opened:
    """Opens the study that `text` means.

    Args:
        text: The path of a study file, or a storage's URL. A URL may end in ``#NAME``, and must where it holds several studies.
        storage: The storage instead of the study file's.

    Raises:
        SearchError: The file, the storage or the study is not there or not what it must be.
    """
    if "://" not in text:
        spec = load(Path(text))
        url = storage or spec.storage
        return Opened(open_study(url, spec.name), url, spec)
    url, _, name = text.partition("#")
    if storage is not None:
        raise StudyError(f"{hide_password(url)}: --storage goes with a study file; got a storage's URL. Remove one of them.")
    return Opened(open_study(url, name or None), url, None)
