"""What the next trial is: a lost one taken up again, a config of the file's queue, or a draw of the sampler."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search import samplers
from search.resume import RETRY_KEY
from search.seeds import Stream, derive
from search.study_file import StudySpec

QUEUED_KEY = "enqueued"
"""Trial user attribute: the entry of the file's queue that this trial tries."""


class Asker:
    """Asks Optuna for trials, so that each is fixed by the study's seed and what is in the storage.

    A trial's *place* is its number less the retries before it. It replaces the number wherever a seed is derived, so that a
    trial lost to a kill and taken up again shifts nothing that comes after it.

    Args:
        study: The study; this process is its only writer.
        spec: The study's file.
    """

    def __init__(self, study: optuna.Study, spec: StudySpec) -> None:
        self._study = study
        self._spec = spec
        queue = [dict(entry) for entry in spec.enqueue]
        if spec.sampler.name == "grid":
            queue += samplers.grid(spec.space, spec.seed)
        tried = [trial.user_attrs.get(QUEUED_KEY) for trial in study.get_trials(deepcopy=False)]
        self._queue = deque(entry for entry in queue if entry not in tried)

    @property
    def exhausted(self) -> bool:
        """True once every point of a grid has been handed out."""
        if self._spec.sampler.name != "grid" or self._queue:
            return False
        return not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))

    def ask(self) -> optuna.Trial:
        """Returns the next trial, its parameters drawn and its seed set."""
        trials = self._study.get_trials(deepcopy=False)
        if self._queue and not any(trial.state is TrialState.WAITING for trial in trials):
            # One at a time: a retry of an earlier trial then always comes before the next config of the queue.
            entry = self._queue.popleft()
            self._study.enqueue_trial(entry, user_attrs={QUEUED_KEY: entry})
            trials = self._study.get_trials(deepcopy=False)
        number = next((trial.number for trial in trials if trial.state is TrialState.WAITING), len(trials))
        place = place_of(number, trials)
        sampler = self._spec.sampler
        self._study.sampler = samplers.make(sampler.name, sampler.options, study_seed=self._spec.seed, place=place)
        trial = self._study.ask(fixed_distributions=dict(self._spec.space))
        if "seed" not in trial.user_attrs:
            trial.set_user_attr("seed", derive(self._spec.seed, Stream.TRIAL, place))
        return trial


def place_of(number: int, trials: Sequence[FrozenTrial]) -> int:
    """Returns the place of a trial: its number less the retries before it; that of a retry is the place of its first try."""
    attrs: dict[str, Any] = trials[number].user_attrs if number < len(trials) else {}
    while RETRY_KEY in attrs:
        number = attrs[RETRY_KEY]
        attrs = trials[number].user_attrs
    return number - sum(RETRY_KEY in trial.user_attrs for trial in trials[:number])
