"""How is a file written so that nobody ever sees half of it? Beside its place, then moved there."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tumorcls.errors import DataError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a new file that takes the place of `path` when the block ends, and vanishes when it fails.

    Several processes may replace the same file at once: each writes one of its own, and the last to end wins.

    Raises:
        OSError: The folder is missing or not writable, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_text(path: Path, text: str) -> None:
    """Replaces a file by text in UTF-8, in which names that are not keep their own bytes; see `replacing`."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes what a person asked for (text as UTF-8), with its folder where that is missing; see `replacing`.

    Raises:
        DataError: The folder cannot be written or the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise DataError(f"{path}: must be writable; got {error.strerror or error}. Choose another place.") from error
