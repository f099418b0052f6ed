"""What a storage's URL means: its kind, its driver, its file, and how it may be shown."""

import functools
import os
import re
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_to_bytes

import sqlalchemy
from sqlalchemy.exc import ArgumentError

from search.errors import StorageError
from search.study_file.url_options import harm_in
from search.text import MASK, SHOWN_OPTIONS

EXTRAS = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
"""The extra of this package that installs the driver of a database server."""

_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
_KINDS = ("sqlite", "journal", *EXTRAS)
FILES = ("sqlite", "journal")
"""Kinds of storage that are a file."""

_SHORTEST_HIDDEN = 4  # of the options; a shorter one is a part of many words
_SECRET = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)  # an option that is hidden however short it is

# Options that say how to connect, or which file has the secret.
_HARMLESS = frozenset(
    {"read_default_file", "read_default_group", "passfile", "service", "charset", "connect_timeout", "application_name"}
    | {"sslmode", "sslrootcert", "sslcert", "sslkey", "ssl_ca", "ssl_cert", "ssl_key", "target_session_attrs"}
)


@functools.lru_cache
def parse(url: str) -> sqlalchemy.URL:
    """Returns the parts of a URL that names one of our kinds of storage; each is parsed once.

    Raises:
        StorageError: It cannot be understood, or names another kind, or no file where one is needed; or it has the driver run
            something on this machine, or hand out files.
    """
    if not url.isprintable():
        raise StorageError("storage: must have no line breaks and no control characters; got one. Correct the URL.")
    try:
        parsed = sqlalchemy.make_url(url)
    except (ArgumentError, ValueError, TypeError):  # ValueError: the port is no number
        # The text is not shown: what cannot be parsed may still hold a password.
        raise StorageError("storage: must be a URL such as sqlite:///quickstart.db; got something else. Correct it.") from None
    if "@" in (parsed.host or ""):  # the rest of the password is taken for the host, and would be shown as one
        raise StorageError("storage: an @ in a password must be written %40; got an @ of its own. Correct the URL.")
    kind = parsed.get_backend_name()
    if kind not in _KINDS:
        known = f"{', '.join(_KINDS[:-1])} or {_KINDS[-1]}"
        raise StorageError(f'{_render(parsed)}: the kind of storage must be {known}; got "{kind}". Correct it.')
    if kind in FILES:
        _check_file(url, parsed)
        # SQLAlchemy takes a name that is not UTF-8 for another.
        return parsed.set(database=os.fsdecode(unquote_to_bytes(url.partition("://")[2][1:])))
    if (harm := harm_in(_with_driver(parsed))) is not None:
        got, remedy = harm
        raise StorageError(f"{_render(parsed)}: a URL must run nothing here and hand out no file; got {got}. {remedy}")
    return parsed


def _check_file(url: str, parsed: sqlalchemy.URL) -> None:
    kind, shown, path = parsed.get_backend_name(), _render(parsed), parsed.database
    if "?" in url:  # all behind it would be an option to SQLAlchemy, or nothing
        raise StorageError(f"{shown}: a file has no options; got a question mark. Write %3F for one in a path, or remove it.")
    if not path or path == ":memory:" or path.startswith("file:"):
        in_memory = path == ":memory:" or (not path and kind == "sqlite")
        got = "a database in memory" if in_memory else "no path" if not path else "an address"
        example = "sqlite:///NAME.db" if kind == "sqlite" else "journal:///NAME.log"
        raise StorageError(f"{shown}: the storage must be a file; got {got}. Write {example}.")
    if parsed.host or parsed.username or parsed.port:
        raise StorageError(f"{shown}: a file has no host; got one. Write three slashes: {kind}:///{path.lstrip('/')}")
    if not path.isprintable():
        what = "folder" if Path(path).name.isprintable() else "file"
        raise StorageError(f"storage: must have no line breaks and no control characters; got {path!a}. Rename the {what}.")


def kind_of(url: str) -> str:
    """Returns ``sqlite``, ``journal``, ``postgresql``, ``mysql`` or ``mariadb``."""
    return parse(url).get_backend_name()


def storage_file(url: str) -> Path | None:
    """Returns the file of an SQLite database or a journal, or None for a database server."""
    parsed = parse(url)
    return Path(parsed.database) if parsed.get_backend_name() in FILES and parsed.database else None


def stem_of(path: Path) -> str:
    """Returns what the names of the files beside a storage begin with; of a study that was rescued, those of what it was."""
    return re.sub(r"\.rescued(-\d+)?$", "", path.stem)


def file_url(kind: str, path: "str | os.PathLike[str]") -> str:
    """Returns the URL of a file, whatever its path is made of."""
    return f"{kind}:///{quote(os.fsencode(path), safe=' +/')}"


def absolute(url: str) -> str:
    """Returns the URL of a file with its whole path, so that it means the same in every folder; that of a server as it is."""
    path = storage_file(url)
    if path is None or path.is_absolute():
        return url
    return file_url(kind_of(url), os.path.abspath(path))


def location(url: str) -> str:
    """Returns where a storage is, the same for whoever opens it from wherever: a file's whole path, or a server's database."""
    parsed, path = parse(url), storage_file(url)
    if path is not None:
        return os.path.realpath(path)
    query = {key: value for key, value in parsed.query.items() if key in SHOWN_OPTIONS and key != "user"}
    kind = EXTRAS[parsed.get_backend_name()]
    return sqlalchemy.URL.create(
        kind, host=parsed.host, port=parsed.port, database=parsed.database, query=query
    ).render_as_string()


def folder(url: str) -> Path:
    """Returns the folder of what belongs to the storage: worker logs, artifacts; the current one for a database server."""
    path = storage_file(url)
    return path.parent if path is not None else Path()


def with_driver(url: str) -> sqlalchemy.URL:
    """Returns the URL with the driver that our extra installs, where it names none; MariaDB is MySQL to Optuna."""
    return _with_driver(parse(url))


def _with_driver(parsed: sqlalchemy.URL) -> sqlalchemy.URL:
    name = re.sub("^mariadb", "mysql", parsed.drivername)
    return parsed.set(drivername=_DRIVERS.get(name, name))


def hide_password(url: str) -> str:
    """Returns the URL as it may be shown: kind, driver, user, host, port and database; password and options are masked."""
    return _render(parse(url))


def holds_secret(url: str) -> bool:
    """Returns whether a URL has a password, or an option that may hold one."""
    parsed = parse(url)
    return parsed.password is not None or any(key not in SHOWN_OPTIONS | _HARMLESS for key in parsed.query)


def hide_secrets(text: str, url: str) -> str:
    """Returns what a database said, with the password and the options of the URL masked, should it have repeated one."""
    parsed = parse(url)
    secrets = [parsed.password] if parsed.password else []
    for key, values in parsed.normalized_query.items():
        for value in values if key not in SHOWN_OPTIONS else ():
            # An option may hold several: options=-c search_path=x -c role=y.
            parts = (value, *re.split(r"[\s=,;]+", value))
            secrets += [value] if _SECRET.search(key) else [part for part in parts if len(part) >= _SHORTEST_HIDDEN]
    for secret in sorted(set(secrets), key=len, reverse=True):
        for written in (secret, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(written, MASK)
    return text


def _render(parsed: sqlalchemy.URL) -> str:
    if parsed == sqlalchemy.URL.create(parsed.drivername, database=parsed.database) and parsed.database:
        return file_url(parsed.drivername, parsed.database)
    hidden = parsed.set(query={key: value if key in SHOWN_OPTIONS else MASK for key, value in parsed.query.items()})
    return hidden.render_as_string(hide_password=True).replace(quote_plus(MASK), MASK)
