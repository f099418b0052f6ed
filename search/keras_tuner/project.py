"""Reads a KerasTuner project folder, ``oracle.json`` and ``trial_*/trial.json``, as data: nothing in it is run.

The files are those that `keras_tuner.Oracle.save` and `keras_tuner.engine.trial.Trial.save` write.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, ValidationError

from search.errors import ProjectError
from search.keras_tuner.space import HyperParameter, Scalar
from search.study_file.limits import Unreadable, read_regular
from search.text import one_line, plain

Status = Literal["RUNNING", "IDLE", "INVALID", "STOPPED", "COMPLETED", "FAILED"]
_Model = TypeVar("_Model", bound=BaseModel)

_MAX_BYTES = 16 * 2**20
_MAX_STEP = 2**31 - 1  # what every storage keeps
_MAX_DECLARED = 10_000  # one name may be declared under many conditions

# What only the state of one oracle has; those of RandomSearch and GridSearch are alike.
_TUNERS = {"brackets": "Hyperband", "num_initial_points": "BayesianOptimization"}


class _File(BaseModel):
    model_config = ConfigDict(frozen=True)


class Observation(_File):
    """A metric at one step, over one or several executions of the trial."""

    value: list[StrictFloat | StrictInt]
    step: Annotated[StrictInt, Field(ge=0, le=_MAX_STEP)]

    @property
    def mean(self) -> float:
        """The mean over the executions; NaN where they do not have a finite one."""
        try:
            mean = math.fsum(self.value) / len(self.value)
        except (ArithmeticError, ValueError):  # of no values, of infinite ones, or of numbers too large
            return math.nan
        return mean if math.isfinite(mean) else math.nan


class Metric(_File):
    """The history of one metric; KerasTuner 1.4 keeps the best step only."""

    direction: Literal["min", "max"]
    observations: list[Observation]

    def best(self, direction: Literal["min", "max"]) -> float | None:
        """Returns the best value, leaving out what is not a number; None where there is none."""
        means = [observation.mean for observation in self.observations if observation.mean == observation.mean]
        if not means:
            return None
        return min(means) if direction == "min" else max(means)

    def at(self, step: int | None) -> float | None:
        """Returns the value of `step`, or None."""
        return next((observation.mean for observation in self.observations if observation.step == step), None)


class Metrics(_File):
    """The metrics of a trial by name."""

    metrics: dict[str, Metric]


class HyperParameters(_File):
    """A space, and the values that its active hyperparameters have in a trial."""

    space: Annotated[list[HyperParameter], Field(max_length=_MAX_DECLARED)]
    values: Annotated[dict[str, Scalar | None], Field(max_length=_MAX_DECLARED)]


class TrialFile(_File):
    """``trial.json``."""

    trial_id: str
    hyperparameters: HyperParameters
    metrics: Metrics
    score: StrictFloat | StrictInt | None
    best_step: StrictInt | None
    status: Status
    message: str | None = None


class Display(_File):
    """What KerasTuner shows, and so knows, of the times; empty with ``verbose=0``."""

    trial_start: dict[str, datetime] = Field(default_factory=dict)


class OracleFile(_File):
    """``oracle.json``, as far as every oracle has it."""

    model_config = ConfigDict(frozen=True, extra="allow")
    hyperparameters: HyperParameters
    start_order: list[str] = Field(default_factory=list)
    end_order: list[str] = Field(default_factory=list)
    display: Display = Field(default_factory=Display)


@dataclass(frozen=True)
class Project:
    """A project.

    Attributes:
        folder: Where it lies.
        tuner: The tuner's name, or ``KerasTuner`` where the state does not tell.
        oracle: What ``oracle.json`` says.
        trials: In the order of their start.
        written: When each trial's file was written last, by the trial's id.
        unread: Why the files of other trials were left out, a line each, by the trial's id.
    """

    folder: Path
    tuner: str
    oracle: OracleFile
    trials: Sequence[TrialFile]
    written: Mapping[str, datetime]
    unread: Mapping[str, str] = field(default_factory=dict)


def read_project(folder: Path) -> Project:
    """Reads a project folder. A trial whose file cannot be read, as after a full disk or a kill, is left out.

    Raises:
        ProjectError: It is not there, not a project of KerasTuner, or incomplete, or no trial can be read.
    """
    oracle = read_oracle(folder)
    files = {path.parent.name.removeprefix("trial_"): path for path in sorted(folder.glob("trial_*/trial.json"))}
    missing = next((trial for trial in oracle.start_order if trial not in files), None)
    if missing is not None:
        got = f"no trial_{missing}/trial.json"
        raise ProjectError(f"{folder}: each trial of oracle.json must have its file; got {got}. Copy the whole folder.")
    if not files:
        raise ProjectError(f"{folder}: must hold trials; got no trial_*/trial.json. Run the tuner's search first.")
    order = dict.fromkeys([*oracle.start_order, *files])
    tuner = next((name for key, name in _TUNERS.items() if key in (oracle.model_extra or {})), "KerasTuner")
    trials: list[TrialFile] = []
    written: dict[str, datetime] = {}
    unread: dict[str, str] = {}
    for trial in order:
        try:
            trials.append(_read_trial(files[trial], trial))
            written[trial] = _written(files[trial])
        except ProjectError as error:
            unread[trial] = str(error)
    if not trials:
        first, *more = unread.values()
        raise ProjectError(f"{first} ({len(more)} more files of trials cannot be read.)" if more else first)
    return Project(folder, tuner, oracle, trials, written, unread)


def read_oracle(folder: Path) -> OracleFile:
    """Reads a project's ``oracle.json``.

    Raises:
        ProjectError: There is none, or it is none of KerasTuner.
    """
    path, remedy = folder / "oracle.json", "Name directory/project_name of the tuner."
    try:
        if not folder.is_dir():
            got = "a file" if folder.exists() else "no such folder"
            raise ProjectError(f"{folder}: the project must be a folder; got {got}. {remedy}")
        if not path.is_file():
            inside = sorted(found.parent for found in folder.glob("*/oracle.json"))
            remedy = f"Did you mean {inside[0]}?" if inside else remedy
            raise ProjectError(f"{folder}: a KerasTuner project must hold oracle.json; got none. {remedy}")
    except OSError as error:
        raise ProjectError(f"{folder}: must be readable; got: {error.strerror}. Check its permissions.") from None
    return _read(path, OracleFile)


def _read_trial(path: Path, trial: str) -> TrialFile:
    file = _read(path, TrialFile)
    if file.trial_id != trial:
        got = f'"{plain(file.trial_id)}"'
        raise ProjectError(f"{path}: trial_id: must be that of its folder; got {got}. Restore it from a copy.")
    return file


def _written(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime)
    except (OSError, OverflowError, ValueError):  # a moment that no calendar has
        return datetime.fromtimestamp(0)


def _read(path: Path, model: type[_Model]) -> _Model:
    try:
        content: Any = json.loads(read_regular(path, "the file", _MAX_BYTES))
        json.dumps(content, ensure_ascii=False).encode()  # half a character is none that a storage could keep
    except Unreadable as error:
        raise ProjectError(f"{path}: {error}") from None
    except RecursionError:
        raise ProjectError(f"{path}: must be JSON as KerasTuner writes it; got deeper tables. Name another folder.") from None
    except ValueError as error:
        got = one_line(error).partition("; use sys.set_int")[0]
        raise ProjectError(f"{path}: must be whole JSON; got: {got}. Restore it from a copy.") from None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        # A value that may be of several types fails as each of them; what else is wrong with it says more.
        first = min(error.errors(include_url=False), key=lambda detail: detail["type"].endswith("_type"))
        where = plain(".".join(map(str, first["loc"])) or "the file")
        got = first["msg"] + (f"; got {context['got']}" if (context := first.get("ctx", {})).get("got") else "")
        raise ProjectError(f"{path}: {where}: must be as KerasTuner writes it; got: {got}. Name another folder.") from None
