"""Start and end of the trials of a KerasTuner project: it keeps the starts; the ends show in when files were written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from search.keras_tuner.project import Project


@dataclass(frozen=True)
class Times:
    """Start and end of a trial, in local time as Optuna keeps it.

    Attributes:
        start: The start.
        end: The end; of no meaning for a trial that runs.
        unknown: Which of the two is not known. The other one stands for it; for the end in a copied folder, the next start.
    """

    start: datetime
    end: datetime
    unknown: Sequence[Literal["start", "end"]] = ()


def times_of(project: Project) -> Mapping[str, Times]:
    """Returns the times of each trial by its id."""
    moments = {trial: _local(start) for trial, start in project.oracle.display.trial_start.items()}
    starts = {trial: start for trial, start in moments.items() if start is not None}
    copied = _copied(project, starts)
    times: dict[str, Times] = {}
    for trial in (file.trial_id for file in project.trials):
        start, written = starts.get(trial), project.written[trial]
        if start is None:
            times[trial] = Times(written, written, ("start", "end") if copied else ("start",))
        elif copied:
            later = [other for other in starts.values() if other > start]
            times[trial] = Times(start, min(later, default=start), ("end",))
        else:
            times[trial] = Times(start, max(start, written))
    return times


def _copied(project: Project, starts: Mapping[str, datetime]) -> bool:
    """Whether the files were written by a copy: out of order, or the first one after the last trial had started."""
    written = [project.written[trial] for trial in project.oracle.end_order if trial in project.written]
    if written != sorted(written):
        return True
    return len(written) > 1 and bool(starts) and written[0] > max(starts.values())


def _local(moment: datetime) -> datetime | None:
    try:
        return moment.astimezone().replace(tzinfo=None) if moment.tzinfo else moment
    except (OverflowError, ValueError, OSError):  # at the end of the calendar
        return None
