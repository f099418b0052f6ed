"""Several arrays in one file that is never believed: a hash of the whole stands behind them."""

import contextlib
import hashlib
import io
import os
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorcls.cache.folder import make_folder
from tumorcls.errors import reason
from tumorcls.files import replacing

_DIGEST_BYTES = hashlib.sha256().digest_size

_said: set[Path] = set()


def store_arrays(path: Path, *unnamed: NDArray[Any], **named: NDArray[Any]) -> None:
    """Replaces a file by arrays, as `numpy.savez` would name them, and a hash of them and of the file's name.

    Raises:
        OSError: The folder is missing or not writable, or the disk is full.
    """
    content = io.BytesIO()
    np.savez(content, *unnamed, allow_pickle=False, **named)
    with replacing(path) as file:
        file.write(content.getbuffer())
        file.write(_digest(path, content.getbuffer()))


def keep_arrays(path: Path, **named: NDArray[Any]) -> None:
    """Stores arrays in a cache folder, as `store_arrays` does; where that cannot be done, they are computed again next time."""
    try:
        make_folder(path.parent)
        store_arrays(path, **named)
    except OSError as error:
        tell_not_kept(path.parent, error)


def tell_not_kept(folder: Path, error: OSError) -> None:
    """Says, once a process, that a cache's folder takes nothing in."""
    if folder not in _said:
        _said.add(folder)
        print(
            f"{folder}: the cache must be writable and have room; {reason(error)}. What is computed is not kept. "
            "Free some space, or name another folder in TUMORCLS_CACHE.",
            file=sys.stderr,
            flush=True,
        )


def load_arrays(path: Path, wanted: Iterable[str] = ()) -> dict[str, NDArray[Any]] | None:
    """Returns what `store_arrays` wrote, if the file holds exactly that; else None, and a line on stderr where there is a file.

    Args:
        path: The file.
        wanted: Names that there must be.
    """
    try:
        stored = path.read_bytes()
        content = memoryview(stored)[:-_DIGEST_BYTES]
        if len(stored) < _DIGEST_BYTES or _digest(path, content) != stored[-_DIGEST_BYTES:]:
            raise ValueError("it differs from its checksum")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        if set(wanted) - arrays.keys():
            raise ValueError("it holds something else")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, zipfile.BadZipFile) as error:  # of zipfile: whole, but written by something else
        why = f"it cannot be read: {reason(error)}" if isinstance(error, OSError) else error
        print(f"{path}: dropped and computed again; {why}", file=sys.stderr, flush=True)
        return None
    with contextlib.suppress(OSError):  # in the cache folder, what was not used for the longest time goes first
        os.utime(path)
    return arrays


def _digest(path: Path, content: memoryview) -> bytes:
    digest = hashlib.sha256(path.name.encode(errors="surrogateescape"))
    digest.update(content)
    return digest.digest()
