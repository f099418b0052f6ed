"""What a database, or the system, says went wrong, in one line; and what to do about it."""

import contextlib
import re
import sqlite3
import traceback
from collections.abc import Iterator

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from search.errors import StorageError
from search.storage.url import hide_password, hide_secrets
from search.text import one_line

FAILURES = (StorageInternalError, SQLAlchemyError, sqlite3.Error, OSError)
"""What Optuna, a database's driver and the system raise where a storage cannot be read or written."""

NO_DATABASE = "Create the database, or correct its name in the URL."

# What an error says -> what to do about it; the first that fits.
_REMEDIES = (
    ("malformed", "Restore it from a copy, or move it away and try again."),
    ("not a database", "Move it away, or change the storage."),
    ("no password supplied", "Give it in ~/.pgpass (mode 600) or PGPASSWORD, on every machine."),
    ("using password: no", "Give it in ~/.my.cnf, and ?read_default_file=~/.my.cnf in the URL, on every machine."),
    (  # before what a file's permissions, and a wrong password, are told by
        "permission denied for (database|schema|table|relation|sequence)|command denied|access denied .* to database",
        "Make the role the database's owner, or GRANT what it lacks.",
    ),
    ("locked", "Another program holds it: close that, and try again."),
    (
        "readonly|permission denied|read-only file system",
        "Give yourself write permission to the file and its folder, or change the storage.",
    ),
    (  # SQLite says no more where it cannot make a file
        "unable to open",
        "Give yourself write permission to the file and its folder, make room there (space and inodes), or change the storage.",
    ),
    (r"\bfull\b|no space left|disk quota", "Free some disk space, and try again."),
    ("data too long", "Keep less in one attribute, or change the storage."),
    ("password|access denied", "Correct user and password in the URL."),
    ("unknown database|does not exist", NO_DATABASE),
    ("connect", "Start the server or correct host and port in the URL, and try again."),
)


def remedy(message: str, otherwise: str = "Check the storage, and try again.") -> str:
    """Returns the sentence that fits what was said."""
    fitting = (text for clues, text in _REMEDIES if re.search(clues, message, re.IGNORECASE))
    return next(fitting, otherwise)


def describe_error(error: Exception, url: str) -> str:
    """Returns what an error of a storage says, without its layers of wrapping, and without a password."""
    return hide_secrets(unwrapped(error), url)


def unwrapped(error: BaseException) -> str:
    """Returns what an error of a database says, without its layers of wrapping."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    cause = getattr(cause, "orig", None) or cause
    # PyMySQL's errors and the system's have a number before the text.
    text = cause.args[1] if len(cause.args) > 1 and isinstance(cause.args[0], int) else cause
    return one_line(text)


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turns every error of a database below this line into a `StorageError` of one line."""
    try:
        yield
    except FAILURES as error:
        got = describe_error(error, url)
        raise StorageError(
            f"{hide_password(url)}: the storage must be readable and writable; got: {got.rstrip('.')}. {remedy(got)}"
        ) from error
    except (ArithmeticError, AssertionError, LookupError, RecursionError, ValueError) as error:
        if not _is_about_content(error):
            raise
        got = one_line(error) or type(error).__name__
        raise StorageError(
            f"{hide_password(url)}: the storage must hold what Optuna writes; got what it cannot read: {got.rstrip('.')}. "
            "Restore it from a copy, or leave this study out."
        ) from error


def _is_about_content(error: BaseException) -> bool:
    """Returns whether Optuna's storages raised this: they decode what they read, and check it by assertions, if at all."""
    frames = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.startswith(("optuna.storages", "optuna.distributions")) for name in frames)
