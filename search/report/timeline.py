"""Who worked when? Each trial's time on its worker, and the time in which a worker had none."""

import datetime
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from search.records import WORKER_KEY, owner_of, worker_of


@dataclass(frozen=True)
class Span:
    """A trial's time on its lane; a trial that still runs ends with the last thing that is known of the study."""

    trial: FrozenTrial
    lane: int
    start: datetime.datetime
    end: datetime.datetime


@dataclass(frozen=True)
class Timeline:
    """The lanes of a study.

    A lane is a worker. Trials of plain Optuna name none: they get as few lanes as hold them without overlap.

    Attributes:
        spans: By trial number.
        lanes: How many.
        named: Whether lanes are workers on record.
        wall_s: Wall time in which a launch was at work, in seconds; what lies between two launches does not count.
        busy_s: Time of trials, over all lanes.
        idle_s: Time in which a lane of a launch had no trial.
    """

    spans: tuple[Span, ...]
    lanes: int
    named: bool
    wall_s: float
    busy_s: float
    idle_s: float


def lay_out(trials: Sequence[FrozenTrial]) -> Timeline:
    """Returns the timeline of the trials that were started."""
    started = [trial for trial in trials if trial.datetime_start and trial.state is not TrialState.WAITING]
    workers = {trial.number: worker for trial in started if (worker := worker_of(trial)) is not None}
    named = bool(started) and len(workers) == len(started)
    ends = _ends(started)
    lanes = workers if named else _pack(started, ends)
    spans = [Span(trial, lanes[trial.number], trial.datetime_start, ends[trial.number]) for trial in started]  # type: ignore[arg-type]
    walls = [(_wall_s(launch), len({span.lane for span in launch})) for launch in _launches(spans)]
    busy_s = sum((span.end - span.start).total_seconds() for span in spans)
    available_s = sum(wall * count for wall, count in walls)
    return Timeline(
        spans=tuple(spans),
        lanes=max((span.lane for span in spans), default=-1) + 1,
        named=named,
        wall_s=sum(wall for wall, _ in walls),
        busy_s=busy_s,
        idle_s=max(0.0, available_s - busy_s),
    )


def working_seconds(timeline: Timeline) -> dict[int, float]:
    """Returns when each trial ended, in seconds of wall time since the study began, without what lies between launches."""
    ended: dict[int, float] = {}
    before = 0.0
    for launch in sorted(_launches(timeline.spans), key=lambda launch: min(span.start for span in launch)):
        began = min(span.start for span in launch)
        ended |= {span.trial.number: before + (span.end - began).total_seconds() for span in launch}
        before += _wall_s(launch)
    return ended


def _launches(spans: Iterable[Span]) -> list[list[Span]]:
    launches = defaultdict(list)
    for span in spans:
        driver = {key: value for key, value in owner_of(span.trial).items() if key != WORKER_KEY}
        launches[str(driver)].append(span)
    return list(launches.values())


def _wall_s(spans: Sequence[Span]) -> float:
    return (max(span.end for span in spans) - min(span.start for span in spans)).total_seconds()


def _ends(started: Sequence[FrozenTrial]) -> dict[int, datetime.datetime]:
    known = [time for trial in started for time in (trial.datetime_start, trial.datetime_complete) if time]
    return {trial.number: trial.datetime_complete or max(known) for trial in started}


def _pack(started: Sequence[FrozenTrial], ends: dict[int, datetime.datetime]) -> dict[int, int]:
    free_from: list[datetime.datetime] = []
    lanes = {}
    for trial in sorted(started, key=lambda trial: (trial.datetime_start, trial.number)):
        assert trial.datetime_start is not None
        free = [lane for lane, time in enumerate(free_from) if time <= trial.datetime_start]
        lane = free[0] if free else len(free_from)
        free_from[lane : lane + 1] = [ends[trial.number]]
        lanes[trial.number] = lane
    return lanes
