"""Durations of trials and their ends, whatever the clock of a machine did meanwhile, and whoever ended a trial.

Optuna keeps two moments of the wall clock for each trial. Between them the clock may have been set, or the machine suspended;
and a trial whose driver died is ended by the next launch, maybe after a weekend. So a driver measures with the monotonic clock,
which stands still in suspension, and where the two moments would tell another story it keeps the seconds with the trial.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from optuna.trial import FrozenTrial

from search.records.attributes import BEAT_KEY, CLOCK_KEY, RAN_KEY, WORKER_KEY, number_in, owner_of
from search.records.rungs import is_paused, last_leg_seconds, paused_seconds, rungs_of

BEAT_S = 15.0
"""How often a driver shows it: so much of a lost trial's time may be missing."""

TOLERANCE_S = 1.0
"""What two clocks may differ by, and still tell the same."""


def duration_of(trial: FrozenTrial) -> float | None:
    """Returns how long a trial ran, in seconds, at least 0; None where it has not ended, or nothing says when it began."""
    if trial.datetime_complete is None:
        return None
    ran = number_in(trial.user_attrs.get(RAN_KEY))
    if ran is not None:
        return max(0.0, ran)
    began = began_at(trial)
    if began is None:
        return None
    ends = (_timestamp(trial.datetime_complete.replace(fold=hour)) for hour in (0, 1))  # an hour that came twice
    return next((end - began for end in ends if end >= began), 0.0)


def earlier_seconds(trial: FrozenTrial) -> float:
    """Returns how long a trial ran before its last leg; 0 without a fidelity. Its moments are those of the last leg alone."""
    if not rungs_of(trial):
        return 0.0
    began, ended, ran = began_at(trial), ended_at(trial), duration_of(trial)
    if began is not None and ended is not None and ran is not None:
        return max(0.0, ran - max(0.0, ended - began))
    return paused_seconds(trial) - (last_leg_seconds(trial) if is_paused(trial) else 0.0)


def began_at(trial: FrozenTrial) -> float | None:
    """Returns when a trial began, in seconds since the epoch; None where nothing says so."""
    return None if trial.datetime_start is None else _timestamp(trial.datetime_start)


def ended_at(trial: FrozenTrial) -> float | None:
    """Returns when a trial ended, in seconds since the epoch, never before it began; None where it has not."""
    began, ran = began_at(trial), duration_of(trial)
    if trial.datetime_complete is None:
        return None
    paused = bool(rungs_of(trial))  # then it began anew after each pause
    return _timestamp(trial.datetime_complete) if began is None or ran is None or paused else began + ran


def wall_clock_agrees(seconds: float, began: float, ended: float) -> bool:
    """Returns whether two moments of the wall clock, in seconds since the epoch, tell well enough how long something took.

    As Optuna gives them back: it has forgotten which of two hours of one name it was in the night when the clock goes back.
    """
    shown = [_timestamp(datetime.fromtimestamp(moment).replace(fold=0)) for moment in (began, ended)]
    return abs(seconds - (shown[1] - shown[0])) <= TOLERANCE_S


def until_last_sign(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> float:
    """Returns for how many seconds a trial is known to have run, when its driver is gone: until that last showed life.

    A driver does so with each trial that it begins, and every `BEAT_S` seconds. Its clock is its own, so that only what this
    driver wrote is compared; 0 where it has written nothing.
    """
    begun = clock_of(trial)
    if begun is None:
        return 0.0
    driver = driver_of(trial)
    signs = [sign for other in trials if driver_of(other) == driver for sign in (clock_of(other), beat_of(other))]
    return max(0.0, max(sign for sign in signs if sign is not None) - begun)


def end_after(trial: FrozenTrial, seconds: float) -> datetime:
    """Returns when a trial ended that ran for so long, in local time, as Optuna has it."""
    began = began_at(trial)
    return datetime.now() if began is None else datetime.fromtimestamp(began + seconds)


def driver_of(trial: FrozenTrial) -> Mapping[str, Any]:
    """Returns what is on record of the driver that began a trial; empty for a trial of plain Optuna."""
    return {key: value for key, value in owner_of(trial).items() if key not in (WORKER_KEY, CLOCK_KEY)}


def clock_of(trial: FrozenTrial) -> float | None:
    """Returns its driver's monotonic clock when a trial began; it goes on in step with that of the driver's other trials."""
    return number_in(owner_of(trial).get(CLOCK_KEY))


def beat_of(trial: FrozenTrial) -> float | None:
    """Returns its driver's monotonic clock when that last showed that it lives, with this trial; see `BEAT_KEY`."""
    return number_in(trial.system_attrs.get(BEAT_KEY))


def _timestamp(moment: datetime) -> float:
    """Returns seconds since the epoch: two hours of a clock change have the same name, but not the same number."""
    try:
        return moment.timestamp()
    except (OverflowError, ValueError, OSError):  # a moment that the system's own clock could not show
        return (moment.replace(tzinfo=None) - datetime(1970, 1, 1)) / timedelta(seconds=1)
