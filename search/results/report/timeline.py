"""Lays out who worked when: each trial's time on its worker, and the time in which a worker had none."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from optuna.trial import FrozenTrial

from search.records.attributes import worker_of
from search.records.durations import earlier_seconds
from search.records.moments import Moments, by_driver, moments_of
from search.records.rungs import has_begun


@dataclass(frozen=True)
class Span:
    """A trial's time on its lane, in seconds since the epoch; see `moments_of`.

    A trial that still runs ends with the last thing that is known of its launch. One that was paused shows its last leg:
    how long those before were is kept, but not when.
    """

    trial: FrozenTrial
    lane: int
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it ran, in its last leg."""
        return self.end - self.start

    @property
    def earlier_s(self) -> float:
        """How long it ran before that."""
        return earlier_seconds(self.trial)


@dataclass(frozen=True)
class Timeline:
    """The lanes of a study.

    A lane is a worker; where several machines worked at the same time, their workers are counted on. Trials of plain Optuna
    name none: they get as few lanes as hold them without overlap.

    Attributes:
        spans: By trial number.
        named: Whether lanes are workers on record.
        wall_s: Wall time in which a launch was at work, in seconds; what lies between two launches does not count.
        ended_s: By trial number: when it ended, in seconds of that time since the study began.
        busy_s: Time of trials, over all lanes.
        idle_s: Time in which a lane of a launch had no trial.
    """

    spans: tuple[Span, ...]
    lanes: int
    named: bool
    wall_s: float
    ended_s: Mapping[int, float]
    busy_s: float
    idle_s: float

    @property
    def idle_share(self) -> float:
        """`idle_s` as a part of what the lanes had, in [0, 1]."""
        return self.idle_s / (self.idle_s + self.busy_s) if self.idle_s else 0.0


def lay_out(trials: Sequence[FrozenTrial]) -> Timeline:
    """Returns the timeline of the trials that were started."""
    started = [trial for trial in trials if has_begun(trial) and trial.datetime_start]
    workers = {trial.number: worker for trial in started if (worker := worker_of(trial)) is not None}
    named = bool(started) and len(workers) == len(started)
    times, drivers = moments_of(started), by_driver(started)
    lanes = _side_by_side(drivers, workers, times) if named else _pack(times)
    spans = {trial.number: Span(trial, lanes[trial.number], *times[trial.number]) for trial in started}
    launches = [[spans[trial.number] for trial in driven] for driven in drivers]
    wall_s = 0.0
    ended_s: dict[int, float] = {}
    for session in _sessions(launches):
        began = _began(session)
        ended_s |= {span.trial.number: wall_s + span.end - began for span in session}
        wall_s += _wall_s(session)
    busy_s = sum(span.seconds + span.earlier_s for span in spans.values())
    available_s = sum(_wall_s(launch) * len({span.lane for span in launch}) for launch in launches)
    return Timeline(
        spans=tuple(spans.values()),
        lanes=max(lanes.values(), default=-1) + 1,
        named=named,
        wall_s=wall_s,
        ended_s=ended_s,
        busy_s=busy_s,
        idle_s=max(0.0, available_s - busy_s),
    )


def _sessions(launches: Iterable[Sequence[Span]]) -> list[list[Span]]:
    """Returns the spans of launches, the earliest first; those of machines that worked at the same time are one."""
    sessions: list[list[Span]] = []
    for launch in sorted(launches, key=_began):
        if sessions and _began(launch) < max(span.end for span in sessions[-1]):
            sessions[-1] += launch
        else:
            sessions.append([*launch])
    return sessions


def _began(spans: Sequence[Span]) -> float:
    return min(span.start - span.earlier_s for span in spans)


def _wall_s(spans: Sequence[Span]) -> float:
    return max(span.end for span in spans) - _began(spans)


def _side_by_side(launches: Sequence[Sequence[FrozenTrial]], workers: Mapping[int, int], times: Moments) -> dict[int, int]:
    """Returns a lane for each trial: its worker's number, counted on from those of launches that ran at the same time."""
    lanes: dict[int, int] = {}
    taken: list[tuple[float, range]] = []
    for launch in sorted(launches, key=lambda launch: min(times[trial.number] for trial in launch)):
        start, end = min(times[trial.number][0] for trial in launch), max(times[trial.number][1] for trial in launch)
        width = max(workers[trial.number] for trial in launch) + 1
        in_use = {lane for until, block in taken if until > start for lane in block}
        first = next(lane for lane in count() if in_use.isdisjoint(range(lane, lane + width)))
        taken.append((end, range(first, first + width)))
        lanes |= {trial.number: first + workers[trial.number] for trial in launch}
    return lanes


def _pack(times: Moments) -> dict[int, int]:
    free_from: list[float] = []
    lanes = {}
    for number, (start, end) in sorted(times.items(), key=lambda item: (item[1][0], item[0])):
        free = [lane for lane, time in enumerate(free_from) if time <= start]
        lane = free[0] if free else len(free_from)
        free_from[lane : lane + 1] = [end]
        lanes[number] = lane
    return lanes
