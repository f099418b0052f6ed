"""What the next trial is: a lost one taken up again, a config of the file's queue, or a draw of the sampler."""

import copy
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from search import samplers
from search.conditions import is_active
from search.resume import RETRY_KEY
from search.seeds import Stream, derive
from search.study_file import StudySpec
from search.warm_start import is_warm

QUEUED_KEY = "enqueued"
"""Trial user attribute: the entry of the file's queue that this trial tries."""


class Asker:
    """Asks Optuna for trials, so that each is fixed by the study's seed and what is in the storage.

    A trial's *place* is its number less the retries and the trials of a warm start before it. It replaces the number wherever a
    seed is derived, so that a trial lost to a kill and taken up again, or one of another study, shifts nothing after it.

    Args:
        study: The study; this process is its only writer.
        spec: The study's file.
    """

    def __init__(self, study: optuna.Study, spec: StudySpec) -> None:
        self._study = study
        self._spec = spec
        queue = [dict(entry) for entry in spec.enqueue]
        if spec.sampler.name == "grid":
            queue += samplers.grid(spec.space, spec.conditions, spec.seed)
        tried = [trial.user_attrs.get(QUEUED_KEY) for trial in study.get_trials(deepcopy=False)]
        self._queue = deque(entry for entry in queue if entry not in tried)
        self._seen = 0
        self._placeless: list[int] = []  # among the first `_seen` trials, ascending

    @property
    def exhausted(self) -> bool:
        """True once every config of a grid, or of the queue alone, has been handed out."""
        if self._spec.sampler.name not in samplers.FINITE or self._queue:
            return False
        return not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))

    def ask(self, attrs: Mapping[str, Any]) -> optuna.Trial:
        """Returns the next trial, its parameters drawn and its seed set.

        This is `Study.ask` in as few transactions as it can be, since they are what a driver's time goes into: the trials are
        read once, and a new trial is stored together with its attributes.

        Args:
            attrs: User attributes that the trial gets at once.
        """
        trials = self._study.get_trials(deepcopy=False)
        waiting = next((trial for trial in trials if trial.state is TrialState.WAITING), None)
        number = len(trials) if waiting is None else waiting.number
        place = place_of(number, trials, self._count_placeless(trials))
        # A study object of its own: the sampler is this trial's, and no trials cached for an earlier one are in it.
        study = copy.copy(self._study)
        sampler = self._spec.sampler
        study.sampler = samplers.make(sampler.name, sampler.options, study_seed=self._spec.seed, place=place)
        attrs = {"seed": derive(self._spec.seed, Stream.TRIAL, place), **attrs}
        trial = optuna.Trial(study, self._create(attrs) if waiting is None else self._wake(waiting, attrs))
        drawn: dict[str, Any] = {}
        for name, distribution in self._spec.space.items():
            if is_active(name, drawn, self._spec.conditions):
                drawn[name] = trial._suggest(name, distribution)
        return trial

    def _create(self, attrs: dict[str, Any]) -> int:
        fixed: dict[str, Any] = {}
        if self._queue:
            entry = self._queue.popleft()
            attrs |= {QUEUED_KEY: entry}
            fixed = {"fixed_params": entry}
        template = create_trial(state=TrialState.RUNNING, user_attrs=attrs, system_attrs=fixed)
        return self._study._storage.create_new_trial(self._study._study_id, template)

    def _wake(self, waiting: FrozenTrial, attrs: dict[str, Any]) -> int:
        """Starts a trial that was enqueued; a retry keeps the seed of its first try."""
        self._study._storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
        for key, value in attrs.items():
            if key != "seed" or key not in waiting.user_attrs:
                self._study._storage.set_trial_user_attr(waiting._trial_id, key, value)
        return waiting._trial_id

    def _count_placeless(self, trials: Sequence[FrozenTrial]) -> Sequence[int]:
        """Returns the numbers of all trials without a place of their own, looking only at those that are new."""
        self._placeless += [trial.number for trial in trials[self._seen :] if RETRY_KEY in trial.user_attrs or is_warm(trial)]
        self._seen = len(trials)
        return self._placeless


def place_of(number: int, trials: Sequence[FrozenTrial], placeless: Sequence[int]) -> int:
    """Returns the place of a trial: its number less the placeless ones before it; that of a retry is that of its first try.

    Args:
        number: Of the trial, which need not be there yet.
        trials: All trials of the study.
        placeless: The numbers of retries and of what a warm start brought, ascending.
    """
    attrs: dict[str, Any] = trials[number].user_attrs if number < len(trials) else {}
    while RETRY_KEY in attrs:
        number = attrs[RETRY_KEY]
        attrs = trials[number].user_attrs
    return number - bisect_left(placeless, number)
