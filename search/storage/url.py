"""What a storage's URL means: its kind, its driver, its file, and how it may be shown."""

from pathlib import Path
from urllib.parse import quote, quote_plus

import sqlalchemy
from sqlalchemy.exc import ArgumentError

from search.errors import StorageError
from search.masking import MASK, SECRET_KEY

EXTRAS = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
"""The extra of this package that installs the driver of a database server."""

_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
_KINDS = ("sqlite", "journal", *_DRIVERS)
_FILES = ("sqlite", "journal")


def parse(url: str) -> sqlalchemy.URL:
    """Returns the parts of a URL that names one of our kinds of storage.

    Raises:
        StorageError: It cannot be understood, or names another kind, or no file where one is needed.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except (ArgumentError, ValueError):  # ValueError: the port is no number
        # The text is not shown: what cannot be parsed may still hold a password.
        raise StorageError("storage: must be a URL such as sqlite:///quickstart.db; got something else. Correct it.") from None
    if "@" in (parsed.host or ""):  # the rest of the password is taken for the host, and would be shown as one
        raise StorageError("storage: an @ in a password must be written %40; got an @ of its own. Correct the URL.")
    kind = parsed.get_backend_name()
    if kind not in _KINDS:
        known = f"{', '.join(_KINDS[:-1])} or {_KINDS[-1]}"
        raise StorageError(f'{_render(parsed)}: the kind of storage must be {known}; got "{kind}". Correct it.')
    if kind in _FILES and (not parsed.database or parsed.database == ":memory:"):
        got = "a database in memory" if kind == "sqlite" else "no path"
        example = "sqlite:///NAME.db" if kind == "sqlite" else "journal:///NAME.log"
        raise StorageError(f"{url}: the storage must be a file; got {got}. Write {example}.")
    return parsed


def kind_of(url: str) -> str:
    """Returns ``sqlite``, ``journal``, ``postgresql``, ``mysql`` or ``mariadb``."""
    return parse(url).get_backend_name()


def storage_file(url: str) -> Path | None:
    """Returns the file of an SQLite database or a journal, or None for a database server."""
    parsed = parse(url)
    return Path(parsed.database) if parsed.get_backend_name() in _FILES and parsed.database else None


def folder(url: str) -> Path:
    """Returns the folder of what belongs to the storage: worker logs, artifacts; the current one for a database server."""
    path = storage_file(url)
    return path.parent if path is not None else Path()


def with_driver(url: str) -> sqlalchemy.URL:
    """Returns the URL with the driver that our extra installs, where it names none."""
    parsed = parse(url)
    return parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))


def hide_password(url: str) -> str:
    """Returns the URL as it may be shown: without its password, in whichever part of it that stands."""
    return _render(parse(url))


def hide_secrets(text: str, url: str) -> str:
    """Returns what a database said, with every password of the URL masked, should it have repeated one."""
    parsed = parse(url)
    values = [value for key, found in parsed.normalized_query.items() if SECRET_KEY.search(key) for value in found]
    for secret in filter(None, [parsed.password, *values]):
        for written in (secret, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(written, MASK)
    return text


def _render(parsed: sqlalchemy.URL) -> str:
    hidden = {key: MASK for key in parsed.query if SECRET_KEY.search(key)}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True).replace(quote_plus(MASK), MASK)
