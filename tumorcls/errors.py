"""What can go wrong in tumorcls, as one tree.

    TumorclsError           the user can mend it; the command line prints it as one line and exits with 1
    ├── ConfigError         a setting is missing, unknown or out of range
    ├── DataError           a folder, an image, a manifest or a split is not what it must be
    │   ├── NoReaderError   an image is of a kind that nothing installed can read
    │   └── UnknownLayoutError
    │                       a data folder can be read, and holds nothing that is known
    ├── WeightsError        pretrained weights cannot be had
    ├── BackendError        no Keras backend is installed
    ├── ModelError          a file is not a model that tumorcls saved
    ├── ExportError         a model cannot be written for other programs
    ├── DeviceMemoryError   a device's memory does not hold what is computed
    └── TrainingDivergedError
                            a loss, a weight or an answer is not finite

Every message reads *where: rule; what was received. Remedy.*
"""

import os
import re


class TumorclsError(Exception):
    """Base of every error that tumorcls raises on purpose."""


class ConfigError(TumorclsError):
    """A setting is missing, unknown or out of range."""


class DataError(TumorclsError):
    """A folder, an image, a manifest or a split is not what it must be."""


class NoReaderError(DataError):
    """An image is of a kind that nothing installed can read; what it holds is not known."""


class UnknownLayoutError(DataError):
    """A data folder can be read, and holds nothing that is known."""


class WeightsError(TumorclsError):
    """Pretrained weights cannot be had."""


class BackendError(TumorclsError):
    """No Keras backend is installed."""


class ModelError(TumorclsError):
    """A file is not a model that tumorcls saved."""


class ExportError(TumorclsError):
    """A model cannot be written for other programs."""


class DeviceMemoryError(TumorclsError):
    """The memory of a GPU, or of the host where there is none, does not hold what is computed."""


class TrainingDivergedError(TumorclsError):
    """A training's loss, a weight or an answer of the network is infinite or not a number."""


def reason(error: BaseException) -> str:
    """Returns why something failed, to be part of a message: one line of at most 200 letters, without a full stop.

    It is what the system says of its error, and the place and the rule of the first wrong value that pydantic found.
    """
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        text = ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))
    elif isinstance(error, UnicodeDecodeError):
        text = "not UTF-8 text"
    else:
        text = str(getattr(error, "strerror", None) or error)
    return one_line(text).rstrip(".") or type(error).__name__


def newer_version(written_by: object) -> str:
    """Returns the version of tumorcls that wrote a file, if it is a later one than this; an empty text for any other value."""
    from tumorcls import __version__

    def numbers(version: str) -> list[int]:
        return [int(number) for number in version.split(".")]

    if not isinstance(written_by, str) or not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}", written_by):
        return ""
    return written_by if numbers(written_by) > numbers(__version__) else ""


def later_file(what: str, version: str) -> str:
    """Returns what is wrong with a file that a later version of tumorcls wrote, and what to do."""
    from tumorcls import __version__

    return f"must be {what} of tumorcls {__version__} or earlier; got one of {version}. Install tumorcls {version} or later."


def one_line(text: str, longest: int = 200) -> str:
    """Returns a text as one line, cut where it is long, with a ? for what cannot be printed."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split())[:longest])


def shown(path: str | os.PathLike[str]) -> str:
    """Returns a file's name, or any text, as one line; bytes that are not UTF-8 and control characters are escaped."""
    return "".join(c if c.isprintable() else _escaped(c) for c in os.fspath(path))


def _escaped(character: str) -> str:
    byte = ord(character) - 0xDC00  # `os.fsdecode` keeps one there that is not UTF-8
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()
