"""A study in MLflow: a run for it, and below that a run for each trial, told apart by tags and never made twice."""

import contextlib
import itertools
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from search.files import temporary_folder
from search.results.tracking.projection import Point, StudyRun, TrialRun, digest_of
from search.results.tracking.tracker import RefusedError, TrackerError
from search.storage.errors import unwrapped
from search.study_file.track import file_of_database
from search.text import mask_urls, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_STUDY, _TRIAL, _DIGEST = "search.study_id", "search.trial", "search.digest"
_PARENT = "mlflow.parentRunId"
_OF_STUDY = -1  # instead of a trial's number
_STATUS = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "fail": "FAILED",
    "interrupted": "KILLED",
    "lost": "FAILED",
    "running": "RUNNING",
    "paused": "SCHEDULED",
}
"""MLflow's status by a trial's state; the state itself is a tag."""

_KEY, _PARAM, _TAG = 250, 6000, 5000  # characters that MLflow takes of a name, a parameter and a tag
_NO_PART = re.compile(r"(?<![^/])\.*(?![^/])|^\.\.")
"""What MLflow takes in no name, as it is a path too: a part that is empty or of dots alone, and two dots at the beginning."""

_LONGEST_REASON = 200
_TOLD_BY_ITSELF = (ConnectionError, TimeoutError, SQLAlchemyError)
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")

# Of the client, where the user says nothing else: a dead server must be found out soon, and nobody be told of the use of it.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


@dataclass
class _Held:
    """What a run in MLflow is known to hold; `points` is None where that must be asked."""

    id: str
    params: set[str] = field(default_factory=set)
    points: set[tuple[str, int]] | None = field(default_factory=set)
    files: set[str] | None = field(default_factory=set)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turns what a client raises for a server that is away, or does not take something, into ours."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError, SQLAlchemyError) as error:
        kind = RefusedError if getattr(error, "error_code", "") in _REFUSALS else TrackerError
        raise kind(_cause(error)) from error


class MlflowRuns:
    """A `Tracker`: a server or a database of MLflow. The experiment has the study's name where it is given none."""

    def __init__(self, uri: str, experiment: str | None) -> None:
        self.name = f"MLflow, {mask_urls(uri)},"
        self._uri = uri
        self._experiment = experiment
        self._experiment_id = ""
        self._study_id = ""
        self._held: dict[int, _Held] = {}  # by number
        self._connected: MlflowClient | None = None

    @property
    def _client(self) -> "MlflowClient":
        if self._connected is None:
            for name, value in _ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            from mlflow import MlflowClient

            for logger in ("mlflow", "alembic", "urllib3"):
                logging.getLogger(logger).setLevel(logging.ERROR)
            _make_database(self._uri)
            self._connected = MlflowClient(self._uri)
        return self._connected

    @_failures()
    def open(self, study: StudyRun) -> Mapping[int, str]:
        """Finds the runs of a study by their tags, and removes one of two that are of the same trial; see `Tracker`."""
        self._experiment_id = self._find_experiment(self._experiment or study.name)
        self._study_id, self._held = study.id, {}
        digests: dict[int, str] = {}
        for run in sorted(self._runs(), key=lambda run: (_number_of(run), run.info.run_id)):
            number = _number_of(run)
            if number in self._held:  # two processes have sent at the same time
                self._client.delete_run(run.info.run_id)
                continue
            self._held[number] = _Held(run.info.run_id, set(run.data.params), None, None)
            parent = self._held.get(_OF_STUDY)
            if parent is not None and run.data.tags.get(_PARENT) == parent.id:
                digests[number] = run.data.tags.get(_DIGEST, "")
        return digests

    @_failures()
    def send_study(self, study: StudyRun) -> None:
        """See `Tracker`."""
        held = self._find_or_create(_OF_STUDY, study.name, study.began, {})
        self._log(held, study.params, study.points, study.tags)
        if study.running:
            self._client.update_run(held.id, status="RUNNING")
        else:
            self._client.set_terminated(held.id, "FINISHED", end_time=_milliseconds(study.ended))

    @_failures()
    def send_trial(self, trial: TrialRun) -> bool:
        """See `Tracker`."""
        parent = self._held[_OF_STUDY]  # which is sent first
        tags = {_TRIAL: str(trial.number), _PARENT: parent.id}
        held = self._find_or_create(trial.number, f"trial-{trial.number}", trial.began, tags)
        self._log(held, trial.params, trial.points, trial.tags)
        self._client.set_tag(held.id, _PARENT, parent.id)  # that of before may have been one of two
        self._upload(held, trial)
        if trial.is_over:
            self._client.set_terminated(held.id, _STATUS.get(trial.state, "FAILED"), end_time=_milliseconds(trial.ended))
        else:
            self._client.update_run(held.id, status=_STATUS[trial.state])
        self._client.set_tag(held.id, _DIGEST, digest_of(trial))  # last: what has it is whole
        if trial.is_over:
            held.points = held.files = None  # not needed any more
        return True

    def _find_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            database = file_of_database(self._uri)
            location = None if database is None else str(database.with_suffix(".artifacts"))
            try:
                return str(self._client.create_experiment(name, artifact_location=location))
            except MlflowException:  # another process has, in this very moment
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _runs(self) -> Iterator["Run"]:
        where = f"tags.`{_STUDY}` = '{self._study_id}'"
        page = self._client.search_runs([self._experiment_id], where, max_results=1000)
        yield from page
        while page.token:
            page = self._client.search_runs([self._experiment_id], where, max_results=1000, page_token=page.token)
            yield from page

    def _find_or_create(self, number: int, name: str, began: float, tags: Mapping[str, str]) -> _Held:
        if number not in self._held:
            tags = {_STUDY: self._study_id, **tags}
            run = self._client.create_run(self._experiment_id, start_time=_milliseconds(began), tags=tags, run_name=name)
            self._held[number] = _Held(run.info.run_id)
        return self._held[number]

    def _log(self, held: _Held, params: Mapping[str, Any], points: Sequence[Point], tags: Mapping[str, str]) -> None:
        """Sends what a run lacks of its parameters and points, and all tags."""
        from mlflow.entities import Metric, Param, RunTag

        names = _keys(point.name for point in points)
        if held.points is None:
            histories = (self._client.get_metric_history(held.id, key) for key in names.values())
            held.points = {(metric.key, metric.step) for history in histories for metric in history}
        metrics = [
            Metric(names[point.name], point.value, _milliseconds(point.seconds), point.step)
            for point in points
            if (names[point.name], point.step) not in held.points
        ]
        written = {key: str(params[name])[:_PARAM] for name, key in _keys(params).items()}
        new = [Param(key, value) for key, value in written.items() if key not in held.params]
        labels = [RunTag(f"search.{key}"[:_KEY], tags[name][:_TAG]) for name, key in _keys(tags).items()]
        if metrics:
            self._client.log_batch(held.id, metrics=metrics)
        if new:
            self._client.log_batch(held.id, params=new)
        self._client.log_batch(held.id, tags=labels)
        held.points |= {(metric.key, metric.step) for metric in metrics}
        held.params |= {param.key for param in new}

    def _upload(self, held: _Held, trial: TrialRun) -> None:
        """Sends the files that a run lacks, under their own names: the storage's have none."""
        if held.files is None and trial.files:
            held.files = {entry.path for entry in self._client.list_artifacts(held.id)}
        for name, path in trial.files.items():
            if held.files is not None and name not in held.files:
                with tempfile.TemporaryDirectory() as folder:
                    self._client.log_artifact(held.id, shutil.copyfile(path, f"{folder}/{name}"))
                held.files.add(name)


def _make_database(uri: str) -> None:
    """Makes an SQLite database that is not there yet, as a whole or not at all: MLflow cannot use one that it made in part."""
    path = file_of_database(uri)
    if path is None or path.exists():
        return
    from mlflow import MlflowClient

    with temporary_folder(path.parent) as folder:
        MlflowClient(f"sqlite:///{folder / path.name}").search_experiments()
        os.replace(folder / path.name, path)


def _number_of(run: "Run") -> int:
    """Returns the number of a run's trial; `_OF_STUDY` for that of the study."""
    return int(run.data.tags.get(_TRIAL, _OF_STUDY))


def _cause(error: BaseException) -> str:
    """Returns what an error comes from in the end, such as "Connection refused" or "timed out", else what it says."""
    innermost: BaseException | None = error
    said = one_line(error)
    while innermost is not None:
        told = unwrapped(innermost) if isinstance(innermost, _TOLD_BY_ITSELF) else said
        said = getattr(innermost, "strerror", None) or told
        innermost = innermost.__context__ or innermost.__cause__
    return mask_urls(said)[:_LONGEST_REASON]


def _keys(names: Iterable[str]) -> dict[str, str]:
    """Returns names as MLflow takes them, no two of them alike."""
    keys: dict[str, str] = {}
    for name in dict.fromkeys(names):
        key = re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)
        for _ in range(2):  # what is cut may end in such a part
            key = _NO_PART.sub("_", key[: _KEY - 10].strip())
        candidates = itertools.chain([key], (f"{key}_{count}" for count in itertools.count(2)))
        keys[name] = next(candidate for candidate in candidates if candidate not in keys.values())
    return keys


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
