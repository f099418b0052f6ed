"""When the trials of a study began and ended, in the order in which they did, whatever the wall clocks of their drivers show.

A clock may be set back between two launches, an hour comes twice in autumn and Optuna forgets which of the two it was, and
another machine has a clock of its own. So the wall clock says when a driver began its first trial, and its own monotonic clock
the rest; and a driver whose wall clock contradicts what is known for certain is put later.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.records.attributes import queued_of, retry_of
from search.records.durations import TOLERANCE_S, began_at, clock_of, driver_of, ended_at, until_last_sign
from search.records.optuna_keys import FIXED_PARAMS
from search.records.rungs import count_rungs, is_paused, last_leg_seconds

Moments = Mapping[int, tuple[float, float]]
"""By trial number: when a trial began and when it ended, in seconds since the epoch."""


@dataclass(frozen=True)
class _Launch:
    """The trials of a driver.

    Attributes:
        machine: Names the machine's boot, whose drivers have one monotonic clock; None where nothing does.
        clock: That clock, when its first trial began.
        offset: What the wall clock was ahead of it.
        times: As the driver's clocks show them.
        numbered: The trials that began when they got their numbers, ascending.
        is_known: Whether anything is on record of the driver.
    """

    machine: Any
    clock: float
    offset: float
    times: Moments
    numbered: Sequence[int]
    is_known: bool

    def put_later(self, seconds: float) -> "_Launch":
        """Returns it with a wall clock that is so far ahead."""
        times = {number: (start + seconds, end + seconds) for number, (start, end) in self.times.items()}
        return replace(self, offset=self.offset + seconds, times=times)


def moments_of(trials: Iterable[FrozenTrial]) -> Moments:
    """Returns when trials of one study began and ended; without those of which nothing says when.

    A trial that runs ends with the last thing that is known of its driver; of one that was paused it is the last leg. Two
    things are certain, whatever a wall clock shows. A driver that contradicts neither by more than a second stays where its own
    has it:

    - As long as a machine is up, the wall clock gains on the monotonic one, which stands still in suspension, and never loses.
    - Trials get their numbers one after the other. So no driver began the first one that it drew before those of lower numbers
      began; what was enqueued, is a retry or has been paused began later than it got its number, and says nothing. If a driver
      before it drew another one after that, the two worked at the same time, and it began with the last of those trials at the
      earliest. Else it is taken for a launch after the others had ended.

    Trials of which no driver is on record, as those of plain Optuna, are where the wall clock has them.
    """
    launches = [_launch(launch) for launch in by_driver(trial for trial in trials if _shown_start(trial) is not None)]
    launches.sort(key=lambda launch: (launch.numbered[0] if launch.numbered else math.inf, launch.clock))
    placed: list[_Launch] = []
    for launch in launches:
        known = [other for other in placed if other.is_known]
        for find in (_lost_to_machine, _lost_to_numbers):
            lost = find(launch, known) if launch.is_known else 0.0
            launch = launch.put_later(lost) if lost > TOLERANCE_S else launch
        placed.append(launch)
    return {number: times for launch in placed for number, times in launch.times.items()}


def by_driver(trials: Iterable[FrozenTrial]) -> list[list[FrozenTrial]]:
    """Returns the trials of each driver; those of which none is on record are together."""
    launches = defaultdict(list)
    for trial in trials:
        launches[str(driver_of(trial))].append(trial)
    return list(launches.values())


def _lost_to_machine(launch: _Launch, earlier: Iterable[_Launch]) -> float:
    """Returns how many seconds a wall clock is behind that of earlier drivers on its machine."""
    same = (other for other in earlier if launch.machine is not None and other.machine == launch.machine)
    return max((other.offset - launch.offset for other in same if other.clock <= launch.clock), default=0.0)


def _lost_to_numbers(launch: _Launch, earlier: Sequence[_Launch]) -> float:
    """Returns how many seconds a wall clock is behind what the numbers of trials tell."""
    if not launch.numbered:
        return 0.0
    first = launch.numbered[0]
    start, _ = launch.times[first]
    began = max((other.times[number][0] for other in earlier for number in other.numbered if number < first), default=start)
    if began - start <= TOLERANCE_S or any(other.numbered and other.numbered[-1] > first for other in earlier):
        return began - start
    return max(end for other in earlier for _, end in other.times.values()) - start


def _launch(trials: Sequence[FrozenTrial]) -> _Launch:
    """Returns a driver's trials: the first began when the wall clock says so, the others when the driver's own does."""
    clocks = {trial.number: clock_of(trial) for trial in trials}
    first = min(trials, key=lambda trial: (clocks[trial.number] or 0.0, trial.number))
    clock = clocks[first.number] or 0.0
    offset = (_shown_start(first) or 0.0) - clock
    times: dict[int, tuple[float, float]] = {}
    for trial in trials:
        began, ended, own = _shown_start(trial), ended_at(trial), clocks[trial.number]
        assert began is not None
        start = began if own is None else own + offset
        if is_paused(trial):
            ran = last_leg_seconds(trial)
        else:
            ran = until_last_sign(trial, trials) if ended is None else max(0.0, ended - began)
        times[trial.number] = (start, start + ran)
    last = max(end for _, end in times.values())
    times |= {trial.number: (times[trial.number][0], last) for trial in trials if trial.state is TrialState.RUNNING}
    driver = driver_of(first)
    machine = (driver["boot"], driver.get("space")) if driver.get("boot") and clocks[first.number] is not None else None
    numbered = sorted(trial.number for trial in trials if _began_as_numbered(trial))
    return _Launch(machine, clock, offset, times, numbered, bool(driver))


def _shown_start(trial: FrozenTrial) -> float | None:
    """Returns when a trial began, by the wall clock; where nothing says so, when it ended."""
    began = began_at(trial)
    return ended_at(trial) if began is None else began


def _began_as_numbered(trial: FrozenTrial) -> bool:
    """Whether a trial is known to have begun when it got its number."""
    if retry_of(trial) is not None or (FIXED_PARAMS in trial.system_attrs and queued_of(trial) is None):
        return False
    rungs = count_rungs(trial)
    return not rungs or (rungs == 1 and is_paused(trial))
