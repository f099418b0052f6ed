"""What a tracker is to hold of a study: a run for the study, and one for each trial that has begun.

It follows from the storage alone. So what a tracker missed, because it was down or nobody had asked for it yet, is found by
comparing, and sending is the same whether a study runs, was killed or ended a year ago.
"""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.records.attributes import (
    NOTICE,
    failure_of,
    file_of,
    is_result,
    provenance_of,
    retry_of,
    seed_of,
    warm_link,
    without_records,
)
from search.records.durations import began_at, ended_at
from search.records.moments import Moments, moments_of
from search.records.states import state_name
from search.records.values import value_names
from search.results.ranking import Metric, improvements, metrics_of
from search.results.status import is_at_work
from search.storage.folders import artifacts_of
from search.storage.open import token_of


@dataclass(frozen=True)
class Point:
    """A figure of a run.

    Attributes:
        name: Of the metric.
        step: Its step, from zero.
        value: Finite, or NaN.
        seconds: When, since the epoch; as near as the storage tells.
    """

    name: str
    step: int
    value: float
    seconds: float


@dataclass(frozen=True)
class TrialRun:
    """A trial as a run.

    Attributes:
        state: As `search status` calls it: complete, pruned, fail, interrupted, lost, running or paused.
        points: What it reported, by step, and then its values.
        tags: By name, in search's own words.
        files: The artifacts by file name, as the paths where they lie.
        began: Seconds since the epoch.
        ended: Likewise; `began` where nothing says so.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    points: tuple[Point, ...]
    tags: Mapping[str, str]
    files: Mapping[str, Path]
    began: float
    ended: float

    @property
    def is_over(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state not in ("running", "paused")


@dataclass(frozen=True)
class StudyRun:
    """A study as a run, under which its trials are.

    Attributes:
        id: Tells it from another study of the same name; see `study_id_text`.
        running: Whether anybody is at work at it.
        params: What its file says, as text.
        tags: By name.
        points: Each new best value, at its trial's number; none with several directions.
        metrics: What its values are called.
        space: By parameter: what `search` keeps of its range; empty where the study has no file.
        began: Seconds since the epoch.
        ended: Likewise.
    """

    id: str
    name: str
    running: bool
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: tuple[Point, ...]
    metrics: Sequence[str]
    space: Mapping[str, Mapping[str, Any]]
    began: float
    ended: float


def digest_of(run: TrialRun | StudyRun) -> str:
    """Returns what changes with anything of a run: a tracker that holds it holds the run as it is."""
    content = {**asdict(run), "points": [(point.name, point.step, point.value) for point in run.points]}
    return hashlib.sha256(json.dumps(content, default=str, sort_keys=True).encode()).hexdigest()[:16]


def reported_as(metric: str) -> str:
    """Returns what the intermediate values of a metric are called: the value itself is the metric's."""
    return f"reported/{metric}"


def study_id_text(study: optuna.Study, location: str = "") -> str:
    """Returns what tells a study from another one: its token, or a digest of what tells one of plain Optuna.

    That is the `location` of its storage (empty for one in memory), its name, and when its first trial began: the same name may
    be in another storage, and be begun anew in this one.
    """
    if (token := token_of(study)) is not None:
        return token
    began = [str(trial.datetime_start) for trial in study.get_trials(deepcopy=False)[:1]]
    return hashlib.sha256(json.dumps([location, study.study_name, *began]).encode()).hexdigest()[:16]


def study_run(study: optuna.Study, trials: Sequence[FrozenTrial], location: str = "") -> StudyRun:
    """Returns the run of a study; `location` as in `study_id_text`."""
    file: Mapping[str, Any] = file_of(study) or {}
    params = {f"objective.{key}": _text(value) for key, value in file.get("settings", {}).items()}
    choices = {key: _text(file[key]) for key in ("sampler", "pruner", "seed") if key in file}
    moments = moments_of(trials)
    ended = [moments[trial.number][1] for trial in trials if trial.datetime_complete is not None]
    tags = {
        "study": study.study_name,
        "directions": ", ".join(direction.name.lower() for direction in study.directions),
        **{key: str(file[key]) for key in ("objective", "file", "sha256") if key in file},
    }
    if notices := [notice for trial in trials if (notice := provenance_of(trial).get(NOTICE)) is not None]:
        tags[NOTICE] = str(notices[-1])
    return StudyRun(
        id=study_id_text(study, location),
        name=study.study_name,
        running=is_at_work(study),
        params={**params, **choices},
        tags=tags,
        points=_bests(trials, moments, metrics_of(study)),
        metrics=value_names(study),
        space=file.get("space", {}),
        began=min((began for began, _ in moments.values()), default=0.0),
        ended=max(ended, default=0.0),
    )


def trial_run(study: optuna.Study, trial: FrozenTrial, artifacts: Path, names: Sequence[str]) -> TrialRun:
    """Returns the run of a trial that has begun, with its files from the storage's folder, and its values under their names."""
    began, ended = began_at(trial) or 0.0, ended_at(trial)
    files = {Path(meta.filename).name: path for meta, path in artifacts_of(study, trial, artifacts)}
    known_end = began if ended is None else ended
    return TrialRun(
        number=trial.number,
        state=state_name(trial),
        params=trial.params,
        points=(*_reports(trial, names[0], began, ended), *_values(trial, names, known_end)),
        tags=_tags(trial),
        files={name: path for name, path in files.items() if path.is_file()},
        began=began,
        ended=known_end,
    )


def _reports(trial: FrozenTrial, metric: str, began: float, ended: float | None) -> list[Point]:
    """The intermediate values. Nobody keeps when they came: those of an ended trial are spread evenly over its time."""
    steps, now = sorted(trial.intermediate_values), time.time()
    apart = (ended - began) / len(steps) if steps and ended is not None else 0.0
    return [
        Point(reported_as(metric), step, value, now if ended is None else began + apart * (index + 1))
        for index, step in enumerate(steps)
        if not math.isinf(value := trial.intermediate_values[step])
    ]


def _values(trial: FrozenTrial, names: Sequence[str], seconds: float) -> list[Point]:
    if trial.state is not TrialState.COMPLETE or trial.values is None:
        return []
    last = max(trial.intermediate_values, default=0)
    return [Point(name, last, value, seconds) for name, value in zip(names, trial.values, strict=False) if math.isfinite(value)]


def _tags(trial: FrozenTrial) -> dict[str, str]:
    tags: dict[str, Any] = {
        "trial": trial.number,
        "state": state_name(trial),
        "seed": seed_of(trial),
        "retry_of": retry_of(trial),
        "failure": failure_of(trial),
        "notice": provenance_of(trial).get(NOTICE),
        "warm_start": None if (link := warm_link(trial)) is None else f"{link.study}, trial {link.trial}",
    }
    own = {f"attr.{key}": value for key, value in without_records(trial.user_attrs).items()}
    return {key: _text(value) for key, value in {**own, **tags}.items() if value is not None}


def _bests(trials: Sequence[FrozenTrial], moments: Moments, metrics: Sequence[Metric]) -> tuple[Point, ...]:
    if len(metrics) > 1:
        return ()
    [metric] = metrics
    results = (trial for trial in trials if is_result(trial))
    ends = sorted((moments.get(trial.number, (0.0, 0.0))[1], trial.number, metric.of(trial)) for trial in results)
    bests = improvements((((ended, number), value) for ended, number, value in ends), metric)
    return tuple(Point(f"best/{metric.name}", number, value, ended) for (ended, number), value in bests)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
