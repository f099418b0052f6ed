"""What a trial's state is called: of those that Optuna has as FAIL, some were only given back, to be tried again."""

from typing import TYPE_CHECKING

from search.records.attributes import failure_of
from search.records.rungs import is_paused

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

INTERRUPTED = "interrupted"
"""Why a trial ended that its driver told to end."""

LAUNCH_ENDED = "the launch ended before this trial did"
"""Why a trial was given back by a launch that ended with an error."""

DRIVER_DIED = "the driver died while this trial was running"
"""Why a trial was given back that nobody ended."""

_NAMES = {INTERRUPTED: "interrupted", LAUNCH_ENDED: "interrupted", DRIVER_DIED: "lost"}


def state_name(trial: "FrozenTrial") -> str:
    """Returns a trial's state as it is shown: ``complete``, ``pruned``, ``paused``, ``fail``, ``interrupted``, ``lost``..."""
    if is_paused(trial):
        return "paused"
    state = trial.state.name.lower()
    return _NAMES.get(failure_of(trial) or "", state) if state == "fail" else state


def is_failed(trial: "FrozenTrial") -> bool:
    """Returns whether a trial failed, rather than was interrupted or lost."""
    return state_name(trial) == "fail"
