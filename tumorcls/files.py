"""How a result is written: whole or not at all."""

import secrets
from pathlib import Path

from tumorcls.errors import DataError


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file (text as UTF-8) under a temporary name in the same folder, then moves it, replacing what was there.

    Raises:
        DataError: The folder cannot be written or the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path}: must be writable; got {error.strerror or error}. Choose another place.") from error
