"""What a trial's state is called: of those that Optuna has as FAIL, some were only given back, to be tried again."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.records.attributes import failure_of, is_warm
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

STATES = ("running", "complete", "pruned", "fail", "interrupted", "lost", "paused", "waiting")
"""What `state_name` may say, in the order in which states are counted."""


def state_name(trial: "FrozenTrial") -> str:
    """Returns a trial's state as it is shown: ``complete``, ``pruned``, ``paused``, ``fail``, ``interrupted``, ``lost``..."""
    if is_paused(trial):
        return "paused"
    state = trial.state.name.lower()
    return _NAMES.get(failure_of(trial) or "", state) if state == "fail" else state


def count_states(trials: "Sequence[FrozenTrial]") -> dict[str, int]:
    """Returns how many trials of a study are in each state that one is in, and last how many are ``of a warm start``."""
    counts = Counter("of a warm start" if is_warm(trial) else state_name(trial) for trial in trials)
    return {name: counts[name] for name in (*STATES, "of a warm start") if counts[name]}
