"""``[track]``: where a study's trials are shown as runs, beside the study itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import sqlalchemy
from pydantic import AfterValidator, Field, model_validator
from sqlalchemy.exc import ArgumentError

from search.study_file.base import Table
from search.study_file.limits import MAX_STORAGE
from search.study_file.options import check_package
from search.study_file.rule_errors import rule_error
from search.study_file.url_options import harm_in
from search.text import mask_urls, show, show_path

_SERVERS = ("http", "https")
_DATABASES = ("sqlite", "postgresql", "mysql")


@dataclass(frozen=True)
class Track:
    """The trackers of a study; those that are None are not used.

    Attributes:
        mlflow: A server, or MLflow's own database; a relative SQLite file is taken from the study file's folder already.
        tensorboard: The folder of the event files, likewise.
        experiment: MLflow's experiment; None for the study's name.
    """

    mlflow: str | None = None
    tensorboard: Path | None = None
    experiment: str | None = None


def _check_mlflow(uri: str) -> str:
    scheme = uri.partition("://")[0].partition("+")[0]
    if "://" not in uri or scheme not in (*_SERVERS, *_DATABASES) or not uri.isprintable():
        known = "http://HOST:PORT, or sqlite:///mlflow.db"
        raise rule_error("must be a server or a database of MLflow", got=show(mask_urls(uri)), remedy=f"Write {known}.")
    if scheme == "sqlite" and not file_of_database(uri):
        raise rule_error("must name a file", got=show(uri), remedy="Write sqlite:///mlflow.db.")
    url = _parse(uri) if scheme in _DATABASES else None
    if url is not None and (harm := harm_in(url)) is not None:
        raise rule_error("must run nothing here and hand out no file", got=harm[0], remedy=harm[1])
    return uri


def _parse(uri: str) -> sqlalchemy.URL | None:
    """The parts of a database's URL; None where it has none, as MLflow will say."""
    try:
        return sqlalchemy.make_url(uri)
    except (ArgumentError, ValueError):
        return None


def _check_folder(folder: str) -> str:
    if "://" in folder or not folder.isprintable():
        raise rule_error("must be a folder of this machine", got=show(mask_urls(folder)), remedy='Write "runs".')
    return folder


_Text = Annotated[str, Field(min_length=1, max_length=MAX_STORAGE)]


class TrackTable(Table):
    """The table as a file writes it."""

    mlflow: Annotated[_Text, AfterValidator(_check_mlflow)] | None = None
    tensorboard: Annotated[_Text, AfterValidator(_check_folder)] | None = None
    experiment: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.mlflow is None and self.tensorboard is None:
            remedy = 'Write mlflow = "sqlite:///mlflow.db", or tensorboard = "runs".'
            raise rule_error("mlflow or tensorboard is required", got="neither", remedy=remedy)
        if self.experiment is not None and self.mlflow is None:
            remedy = "Remove it, or add mlflow."
            raise rule_error("only MLflow has experiments", got=show(self.experiment), remedy=remedy, key="experiment")
        return self

    def track(self, folder: Path, storage: str) -> Track:
        """Returns the trackers; relative files start at `folder`, the study file's.

        Raises:
            PydanticCustomError: MLflow's database is the study's storage: both keep a table of their migrations under one name.
        """
        if self.mlflow is not None and same_database(self.mlflow, storage, folder):
            rule = "must be another database than the study's own"
            raise rule_error(rule, got=show(mask_urls(self.mlflow)), remedy="Write sqlite:///mlflow.db.", key="mlflow")
        mlflow = None if self.mlflow is None else _beside(self.mlflow, folder)
        return Track(mlflow, folder / self.tensorboard if self.tensorboard else None, self.experiment)


def check_installed(track: Track) -> None:
    """Raises the broken rule where the package of a tracker is not installed."""
    for name in ("mlflow", "tensorboard"):  # of the key, the package and the extra
        if getattr(track, name) is not None:
            check_package(name, name, key=name)


def _beside(uri: str, folder: Path) -> str:
    path = file_of_database(uri)
    if path is None or path.is_absolute():
        return uri
    try:
        return sqlalchemy.make_url(uri).set(database=str((folder / path).resolve())).render_as_string(hide_password=False)
    except UnicodeEncodeError:
        rule = "must lie in a folder whose name is UTF-8, as MLflow knows no other"
        raise rule_error(rule, got=show_path(folder), remedy="Rename the folder.", key="mlflow") from None


def file_of_database(uri: str) -> Path | None:
    """Returns the file of an SQLite database; None for another, or where there is none."""
    url = _parse(uri) if uri.startswith("sqlite") else None
    return Path(url.database) if url is not None and url.database and url.database != ":memory:" else None


def same_database(uri: str, storage: str, folder: Path = Path()) -> bool:
    """Returns whether two URLs name one database; a relative file starts at `folder`."""

    def place(url: str) -> Any:
        if (parsed := _parse(url)) is None:
            return url
        kind = parsed.get_backend_name() if "://" in url else ""
        if kind == "sqlite":
            return (kind, (folder / (parsed.database or "")).resolve())
        return (kind, parsed.host, parsed.port, parsed.database)

    return uri.partition("://")[0] not in _SERVERS and bool(place(uri) == place(storage))
