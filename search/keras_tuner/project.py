"""What does a KerasTuner project folder say? ``oracle.json`` and ``trial_*/trial.json``, read as data: nothing in it is run.

The files are those that `keras_tuner.Oracle.save` and `keras_tuner.engine.trial.Trial.save` write.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from search.errors import ProjectError, one_line
from search.keras_tuner.space import HyperParameter, Scalar

Status = Literal["RUNNING", "IDLE", "INVALID", "STOPPED", "COMPLETED", "FAILED"]
_Model = TypeVar("_Model", bound=BaseModel)

# What only the state of one oracle has; those of RandomSearch and GridSearch are alike.
_TUNERS = {"brackets": "Hyperband", "num_initial_points": "BayesianOptimization"}


class _File(BaseModel):
    model_config = ConfigDict(frozen=True)


class Observation(_File):
    """A metric at one step, over one or several executions of the trial."""

    value: list[float]
    step: int

    @property
    def mean(self) -> float:
        """The mean over the executions."""
        return sum(self.value) / len(self.value) if self.value else float("nan")


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

    space: list[HyperParameter]
    values: dict[str, Scalar | None]


class TrialFile(_File):
    """``trial.json``."""

    trial_id: str
    hyperparameters: HyperParameters
    metrics: Metrics
    score: float | None
    best_step: int | None
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
    """

    folder: Path
    tuner: str
    oracle: OracleFile
    trials: Sequence[TrialFile]
    written: Mapping[str, datetime]


def read_project(folder: Path) -> Project:
    """Reads a project folder.

    Raises:
        ProjectError: It is not there, not a project of KerasTuner, or incomplete.
    """
    oracle = read_oracle(folder)
    files = {path.parent.name.removeprefix("trial_"): path for path in sorted(folder.glob("trial_*/trial.json"))}
    missing = next((trial for trial in oracle.start_order if trial not in files), None)
    if missing is not None:
        raise ProjectError(
            f"{folder}: each trial of oracle.json must have its file; got no trial_{missing}/trial.json. Copy the whole folder."
        )
    if not files:
        raise ProjectError(f"{folder}: must hold trials; got no trial_*/trial.json. Run the tuner's search first.")
    order = [*oracle.start_order, *(trial for trial in files if trial not in oracle.start_order)]
    tuner = next((name for key, name in _TUNERS.items() if key in (oracle.model_extra or {})), "KerasTuner")
    written = {trial: datetime.fromtimestamp(path.stat().st_mtime) for trial, path in files.items()}
    return Project(folder, tuner, oracle, [_read(files[trial], TrialFile) for trial in order], written)


def read_oracle(folder: Path) -> OracleFile:
    """Reads a project's ``oracle.json``.

    Raises:
        ProjectError: There is none, or it is none of KerasTuner.
    """
    if not folder.is_dir():
        got = "a file" if folder.exists() else "no such folder"
        raise ProjectError(f"{folder}: the project must be a folder; got {got}. Name directory/project_name of the tuner.")
    path = folder / "oracle.json"
    if not path.is_file():
        inside = sorted(found.parent for found in folder.glob("*/oracle.json"))
        remedy = f"Did you mean {inside[0]}?" if inside else "Name directory/project_name of the tuner."
        raise ProjectError(f"{folder}: a KerasTuner project must hold oracle.json; got none. {remedy}")
    return _read(path, OracleFile)


def _read(path: Path, model: type[_Model]) -> _Model:
    try:
        content: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise ProjectError(f"{path}: must be whole JSON; got: {one_line(error)}. Restore it from a copy.") from None
    except OSError as error:
        raise ProjectError(f"{path}: must be readable; got: {error.strerror}. Check its permissions.") from None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ProjectError(
            f"{path}: {where}: must be as KerasTuner writes it; got: {first['msg']}. Name another folder."
        ) from None
