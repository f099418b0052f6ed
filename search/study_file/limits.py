"""How much a study file may ask for: what comes from it is bounded where it is read (docs/study-files.md lists the bounds).

The bounds are far above what a search needs, and below what hangs a driver, fills its memory, or changes in a storage: a
database keeps the number of a parameter as a float of 64 bits.
"""

import math
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.study_file.rule_errors import rule_error
from search.text import one_line, show

MAX_FILE_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_EXACT = 2**53
"""Up to here a float tells one whole number from the next."""

SMALLEST, LARGEST = 1e-300, 1e300
MAX_NAME = 200
MAX_PARAMETERS = 200
MAX_CHOICES = 1_000
MAX_TEXT = 1_000
MAX_CHOICES_JSON = 60_000
"""Characters of all choices of a parameter as JSON; MySQL keeps 64 kB of one text."""

MAX_STEPS = 1_000_000
MAX_GRID = 10_000
MAX_QUEUE = 1_000
MAX_DIRECTIONS = 20
MAX_TRIALS = 1_000_000
MAX_COUNT = 10**9
MAX_SECONDS = 10 * 365 * 86400.0
MAX_BYTES = 10**15
MAX_WORKERS = 1_000
MAX_STORAGE = 2_000

# A key of dotted parts takes tomllib a time that grows with their number squared, before anybody can count its tables.
_PART = r"""(?:[\w-]++|"(?:[^"\\\n]++|\\.)*+"|'[^'\n]*+')"""
_DEEP_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*+({_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MAX_DEPTH}}})", re.MULTILINE)


class Unreadable(Exception):
    """A file cannot be read, or is not TOML within the bounds; the message is the rule, what was received and the remedy."""


def read_toml(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Returns the bytes of a study file, and its tables.

    Raises:
        Unreadable: It cannot be read, or is not TOML within the bounds.
    """
    content = read_regular(path, "the study file", MAX_FILE_BYTES)
    try:
        text = content.decode("utf-8-sig")  # a byte order mark is what some editors of Windows begin a file with
        if match := _DEEP_KEY.search(text):
            raise _too_deep(f"a key of more than {MAX_DEPTH} parts, {show(match[1][:40])}")
        tables = tomllib.loads(text)
    except RecursionError:
        raise _too_deep("deeper ones") from None
    except UnicodeDecodeError as error:
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        got = "UTF-16" if utf16 else f"a byte that is none, {error.object[error.start]:#04x} at {error.start}"
        raise Unreadable(f"must be TOML in UTF-8; got {got}. Save it as UTF-8.") from None
    except ValueError as error:  # TOMLDecodeError is one, and so is what Python says of a number of too many digits
        # Without what the parser repeats of a long line, and without the hint that is for programmers.
        got = one_line(str(error).partition("; use sys.set_int")[0])[:200]
        raise Unreadable(f"must be TOML in UTF-8; got: {got}. Correct it there.") from None
    _check_values(tables)
    return content, tables


def check_name(name: str) -> str:
    """Returns a name of a parameter or a metric; raises the broken rule for one that cannot be shown or stored."""
    if not name or len(name) > MAX_NAME:
        rule = f"a name must have 1 to {MAX_NAME} characters"
        raise rule_error(rule, got=f"{len(name)} characters" if name else "none", remedy="Change it.")
    if not name.isprintable() or name != name.strip():
        rule = "a name must have no line breaks, no control characters and no blanks at its ends"
        raise rule_error(rule, got=ascii(name), remedy="Remove them.")
    return name


def check_size(number: float) -> float:
    """Returns a float of the space; raises the broken rule for one so large or small that arithmetic with it fails."""
    if number and not SMALLEST <= abs(number) <= LARGEST:
        rule = f"must be 0, or lie between {SMALLEST:g} and {LARGEST:g} without its sign"
        raise rule_error(rule, got=show(number), remedy="Change it, or the unit.")
    return number


def check_scalar(value: object) -> object:
    """Returns one of a parameter's choices; raises the broken rule for what is no number, text or boolean, or too long."""
    if not isinstance(value, bool | int | float | str):
        raise rule_error("must be a number, a string or a boolean", got=show(value), remedy="Write one.")
    if isinstance(value, float) and not math.isfinite(value):
        raise rule_error("must be a finite number", got=show(value), remedy="Write one.")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise rule_error(f"must have at most {MAX_TEXT} characters", got=str(len(value)), remedy="Shorten it.")
    return value


def read_regular(path: Path, what: str, most: int) -> bytes:
    """Returns the bytes of a regular file, `most` at most: a pipe would never end, and a device neither.

    Messages call it `what`, such as ``"the study file"``.

    Raises:
        Unreadable: It cannot be read, is of another kind, or has more bytes.
    """
    try:
        # Not blocking: the open of a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unreadable(f"{what} must be a regular file; got a folder, a pipe or a device. Check the path.")
            content = os.read(descriptor, most + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise Unreadable(f"{what} must exist; got no such file. Check the path.") from None
    except OSError as error:
        raise Unreadable(f"{what} must be readable; got: {error.strerror}. Check the path.") from None
    except ValueError:  # a null byte
        raise Unreadable(f"{what} must have a path; got one with a null character. Check the path.") from None
    if len(content) > most:
        raise Unreadable(f"must have at most {most // 1024} KiB; got more. Shorten it.")
    return content


def _check_values(tables: Mapping[str, Any]) -> None:
    """Raises `Unreadable` for what is nested too deeply, and for whole numbers that are not TOML's."""
    level: list[Any] = [tables]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                got = f"one of {int(math.log10(abs(value))) + 1} digits"
                raise Unreadable(f"a whole number must fit in 64 bits, as TOML has it; got {got}. Write a smaller one.")
        level = below
    if level:
        raise _too_deep("deeper ones")


def _too_deep(got: str) -> Unreadable:
    return Unreadable(f"arrays and tables may be nested {MAX_DEPTH} deep; got {got}. Flatten them.")
