"""Reads the pictures that a trial left, such as its confusion matrix, from the files of its study."""

import base64
import re
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from search.storage.folders import artifacts_of

_KINDS = {
    "image/svg+xml": re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!--|(?:!DOCTYPE )?svg\b)"),
    "image/png": re.compile(rb"\x89PNG\r\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
"""How a file of each kind begins."""

_MOST, _MOST_BYTES = 8, 2**21  # pictures; of one


def pictures_of(study: optuna.Study, trial: FrozenTrial, folder: Path) -> list[tuple[str, str]]:
    """Returns those of a trial's pictures that can be read, by name, as ``data:`` addresses.

    `folder` is where its storage keeps the files of trials.
    """
    pictures: dict[str, str] = {}
    for file, path in artifacts_of(study, trial, folder):
        if file.mimetype in _KINDS and len(pictures) < _MOST:
            content = _read(path)
            if _KINDS[file.mimetype].match(content):
                name = Path(file.filename).stem.replace("-", " ")
                pictures[name] = f"data:{file.mimetype};base64,{base64.b64encode(content).decode()}"
    return sorted(pictures.items())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size <= _MOST_BYTES else b""
    except OSError:
        return b""
