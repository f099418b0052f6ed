"""What the next trial is: a lost one, a config of the queue or of the initial design, or a draw of the sampler."""

import copy
import hashlib
import json
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.driver.baseline import complete
from search.driver.budget import CLIMBED_AFTER, EndReason
from search.driver.compatibility import check_kinds
from search.driver.enqueued import as_given, misfits, note_attrs
from search.driver.initial_design import initial_design, is_given, next_point
from search.driver.per_trial import PerTrial
from search.driver.promotion import Board, standing_of
from search.driver.retry import fail
from search.driver.sampler_view import SamplerView, with_same_constraints, without
from search.errors import StudyFileError
from search.optuna_internals import add_trial, seeing, storage_of, suggest, trial_id_of
from search.records.attributes import QUEUED_KEY, SEED_KEY, STOPPED_KEY, given_of, is_warm, queued_of, retry_of, seed_of
from search.records.beginnings import portfolio_of
from search.records.optuna_keys import FIXED_PARAMS
from search.records.rungs import is_paused
from search.records.saving import save, split
from search.seeds import Stream, derive
from search.storage.open import study_lock, together
from search.study_file import own_class, samplers
from search.study_file.conditions import is_active
from search.study_file.distributions import check_value, listed
from search.study_file.load import StudySpec
from search.study_file.targets import is_own
from search.text import one_line, show

_AT_ONCE = 20  # are refused, which takes some tenths of a second


class TrialSource:
    """Asks Optuna for trials, so that each is fixed by the study's seed and what is in the storage.

    A trial's index is its number less the retries and the trials of a warm start before it. It replaces the number wherever a
    seed is derived, so that a trial lost to a kill and taken up again, or one of another study, shifts nothing after it.
    """

    def __init__(self, study: optuna.Study, spec: StudySpec) -> None:
        self._study = copy.copy(study)
        self._study.stop = self._stop  # type: ignore[method-assign]  # Optuna's own is for `Study.optimize`
        self._spec = spec
        self._has_stopped = False
        queue = _distinct((*spec.enqueue, *_portfolio(study, spec)))
        entries = [entry for trial in study.get_trials(deepcopy=False) if (entry := queued_of(trial)) is not None]
        if spec.sampler.name == "grid":
            taken = [{name: listed(value, spec.space[name]) for name, value in entry.items()} for entry in queue]
            queue += [point for point in samplers.grid(spec.space, spec.conditions, spec.seed) if point not in taken]
        self._queue = deque(entry for entry in queue if entry not in entries)
        self._defaults: Mapping[str, Any] | None = None
        self._startup_trials = samplers.startup_trials(spec.sampler.name, spec.sampler.options)
        self._sampler_kept: BaseSampler | None = None
        self._standing = PerTrial(standing_of)
        self._seen = 0
        self._unindexed: list[int] = []  # among the first `_seen` trials, ascending

    @cached_property
    def _sampler_digest(self) -> str:
        """Stands for the sampler and its options: another one may go on where one has stopped."""
        sampler = self._spec.sampler
        return hashlib.sha256(json.dumps([sampler.name, sampler.options], sort_keys=True, default=str).encode()).hexdigest()

    @cached_property
    def _sampler_view(self) -> SamplerView | None:
        """What a sampler sees of a study with a fidelity; a class of the user's own is imported to tell how much is enough."""
        if self._spec.fidelity is None:
            return None
        return SamplerView(self._spec.fidelity, samplers.enough_trials(self._spec.sampler.name, self._spec.sampler.options))

    @property
    def exhausted(self) -> EndReason | None:
        """Why no config is left: those of a grid, or of the queue alone, are handed out, or the sampler wants no more."""
        finite = self._spec.sampler.name in samplers.FINITE and not self._queue
        if not (finite or self._has_stopped):
            return None
        if not all(map(is_paused, self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))):
            return None  # one that was enqueued has not begun
        return "grid" if finite else "sampler"

    def may_go_on(self, trials: Sequence[FrozenTrial]) -> bool:
        """Returns whether a paused one of all trials is to go on, even where no new config may begin."""
        return self._waiting(trials, may_begin=False) is not None

    def ask(
        self,
        attrs: Mapping[str, Any],
        end_reason: Callable[[Sequence[FrozenTrial]], EndReason | None] = lambda _: None,
        budget_left: float = 1.0,
        refused: Callable[[int, str], None] = lambda number, why: None,
    ) -> optuna.Trial | None:
        """Returns the next trial, its parameters drawn and its seed set, or None where none is wanted for now.

        One that somebody else has enqueued and the space does not hold fails, and the next one is taken; after many such ones
        at a later call, since other drivers and ^C wait for the end of this one.

        This is `Study.ask` in as few transactions as it can be, since they are what a driver's time goes into: the trials are
        read once, and a new trial is stored together with its attributes.

        Args:
            attrs: Attributes that the trial gets at once.
            end_reason: Is asked why there is to be no other trial, given those that there are. Until the new one is among
                them, no other driver of the study asks for one. One that was begun may still go on where the reason is the
                number of trials, or the sampler's wish.
            budget_left: The part of the study's budget that is left, in [0, 1].
            refused: Is told the number of each trial that the space does not hold, and why.
        """
        with study_lock(self._study):
            while True:
                trials = self._study.get_trials(deepcopy=False)
                self._look_at(trials[self._seen :])
                self._seen = len(trials)
                self._has_stopped |= (
                    is_own(self._spec.sampler.name) and self._study.user_attrs.get(STOPPED_KEY) == self._sampler_digest
                )
                reason = end_reason(trials)
                if reason is not None and (reason not in CLIMBED_AFTER or self._spec.fidelity is None):
                    return None
                waiting = self._waiting(trials, may_begin=reason is None)
                if waiting is None and reason is not None:
                    return None
                if waiting is None or is_paused(waiting) or not (wrong := self._refuse_misfits(trials, attrs, refused)):
                    break
                if wrong == _AT_ONCE:
                    return None
            number = len(trials) if waiting is None else waiting.number
            first, trial_index = first_try(number, trials, self._unindexed)
            takes_entry = waiting is None and bool(self._queue)
            attrs = {SEED_KEY: derive(self._spec.seed, Stream.TRIAL, trial_index), **attrs}
            trial_id = self._create(attrs) if waiting is None else self._wake(waiting, attrs)
            self._seen += waiting is None  # our own has an index, and its entry has left the queue
        if waiting is not None and is_paused(waiting):
            return optuna.Trial(copy.copy(self._study), trial_id)  # there is nothing left to draw
        designed = None if takes_entry else self._designed(first, trials)
        if designed is not None:
            return self._drawn(trial_id, trials, samplers.fixed(designed))
        return self._drawn(trial_id, trials, self._sampler_kept or self._make(trial_index, budget_left))

    def _refuse_misfits(
        self, trials: Sequence[FrozenTrial], attrs: Mapping[str, Any], refused: Callable[[int, str], None]
    ) -> int:
        """Fails trials that somebody has enqueued and the space does not hold, at most `_AT_ONCE`; returns how many."""
        wrong = list(islice(misfits(trials, self._spec.space), _AT_ONCE))
        for trial, why in wrong:
            self._wake(trial, attrs)  # Optuna ends none that waits
            fail(self._study, trial.number, why)
            refused(trial.number, why)
        return len(wrong)

    def _stop(self) -> None:
        """Notes that a sampler of the user's own has called `Study.stop`, which is for all launches with it."""
        self._has_stopped = True
        self._study.set_user_attr(STOPPED_KEY, self._sampler_digest)

    def _drawn(self, trial_id: int, trials: Sequence[FrozenTrial], sampler: BaseSampler) -> optuna.Trial:
        """Returns a trial with its parameters: those that it has, and the others drawn."""
        spec = self._spec
        # A study object of its own: the sampler is this trial's, and no trials cached for an earlier one are in it.
        study = copy.copy(self._study)
        study.sampler = sampler
        shown = with_same_constraints(trials) if self._sampler_view is None else self._sampler_view.of(trials)
        # What the first trials happen to share would be no space for the next.
        if spec.conditions and samplers.models_shared(spec.sampler.name):
            shown = without(shown, spec.conditions)
        seen = study if shown is trials else seeing(study, shown)
        try:
            trial = optuna.Trial(seen, trial_id)
            drawn: dict[str, Any] = {}
            with together(study, trial_id):
                for name, distribution in spec.drawn.items():
                    if is_active(name, drawn, spec.conditions):
                        drawn[name] = suggest(trial, name, distribution)
                        self._check_drawn(name, drawn[name])
        except (StudyFileError, TypeError, ValueError) as error:  # of a sampler of the user's own, or Optuna's
            fail(study, storage_of(study).get_trial_number_from_id(trial_id), one_line(error))
            check_kinds(study, spec)  # what another program has added since the launch began
            raise
        trial.study = study  # what is in the storage, now that nothing is left to draw
        return trial

    def _check_drawn(self, name: str, value: Any) -> None:
        """Refuses what a sampler of the user's own made up; Optuna does not look at what is drawn alone."""
        spec = self._spec
        if is_own(spec.sampler.name) and (problem := check_value(name, value, spec.space)):
            where = f"{spec.path}: sampler.target"
            raise StudyFileError(
                f"{where}: must draw what the space holds; got {name} = {show(value)}, which {problem[0]}. Mend it."
            )

    def complete_queue(self, defaults: Mapping[str, Any] | None) -> list[str]:
        """Has the configs of the queue take what they leave open from an objective's defaults; returns a line for each.

        Raises:
            StudyFileError: The space does not hold a default.
        """
        self._defaults = defaults
        return complete(self._queue, self._spec, defaults)[1]

    def _waiting(self, trials: Sequence[FrozenTrial], *, may_begin: bool) -> FrozenTrial | None:
        """Returns the trial in the storage that is run next: one that was enqueued, else one that is promoted; or None."""
        waiting = [trial for trial in trials if trial.state is TrialState.WAITING]
        if (fidelity := self._spec.fidelity) is None:
            return waiting[0] if waiting else None
        enqueued = next((trial for trial in waiting if not self._standing(trial).is_paused), None)
        if may_begin and enqueued is not None:
            return enqueued
        if not waiting:
            return None
        by_time = samplers.weighs_time(self._spec.sampler.name, self._spec.sampler.options)
        board = Board.of(trials, fidelity, self._study.direction, may_begin=may_begin, by_time=by_time, standing=self._standing)
        return board.choose()

    def _designed(self, number: int, trials: Sequence[FrozenTrial]) -> dict[str, Any] | None:
        """Returns the config of the initial design that a trial, no retry, is to have, given all trials that there are.

        None where there is none, or the trial is given a config; or where enough trials are known, as after a warm start: the
        sampler learns from them at once.
        """
        spec = self._spec
        known = (trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or is_paused(trial))
        learns = len(list(islice(known, self._startup_trials))) == self._startup_trials
        if learns or any(map(is_given, trials[number : number + 1])):
            return None
        seed = derive(spec.seed, Stream.DESIGN)
        design = initial_design(spec.drawn, spec.conditions, self._startup_trials, seed, spec.priors)
        return next_point(design, trials[:number], spec.drawn)

    def _make(self, trial_index: int, budget_left: float) -> BaseSampler:
        spec, (name, options) = self._spec, (self._spec.sampler.name, self._spec.sampler.options)
        weighed_by = samplers.acquisition(name, options, spec.priors, budget_left, climbs=spec.fidelity is not None)
        sampler = samplers.make(name, options, study_seed=spec.seed, trial_index=trial_index, acquisition=weighed_by)
        if is_own(name):
            sampler = own_class.guard(sampler, f"{spec.path}: sampler.target")
        if samplers.keeps(name, options):
            self._sampler_kept = sampler
        return sampler

    def _create(self, attrs: dict[str, Any]) -> int:
        fixed: dict[str, Any] = {}
        if self._queue:
            entry = self._queue.popleft()
            attrs |= {QUEUED_KEY: entry}
            fixed = {FIXED_PARAMS: complete([entry], self._spec, self._defaults)[0][0]}
        user, system = split(attrs)
        template = create_trial(state=TrialState.RUNNING, user_attrs=user, system_attrs={**fixed, **system})
        return add_trial(self._study, template)

    def _wake(self, waiting: FrozenTrial, attrs: Mapping[str, Any]) -> int:
        """Starts a trial that was enqueued; a retry keeps the seed of its first try."""
        storage, trial_id = storage_of(self._study), trial_id_of(waiting)
        with together(self._study, trial_id):
            for key, value in attrs.items():
                if key != SEED_KEY or seed_of(waiting) is None:
                    save(storage, trial_id, key, value)
            if not is_paused(waiting):
                note_attrs(self._study, waiting)
            if given_of(waiting):
                storage.set_trial_system_attr(trial_id, FIXED_PARAMS, as_given(waiting, self._spec.space))
        storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        return trial_id

    def _look_at(self, new: Sequence[FrozenTrial]) -> None:
        """Notes which trials have no index of their own, and which entries of the queue other drivers have taken."""
        self._unindexed += [trial.number for trial in new if retry_of(trial) is not None or is_warm(trial)]
        for trial in new:
            entry = queued_of(trial)
            if entry is not None and entry in self._queue:
                self._queue.remove(entry)


def _distinct(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns each entry once, where it comes first."""
    return [dict(entry) for index, entry in enumerate(entries) if entry not in entries[:index]]


def _portfolio(study: optuna.Study, spec: StudySpec) -> list[Mapping[str, Any]]:
    """Returns the configs of a study's portfolio that lie in its space, which may have changed before the first trial.

    How far a trial of it is trained is the driver's choice, where the study has a fidelity.
    """
    kept = portfolio_of(study)
    return [
        {name: value for name, value in config.items() if name in spec.drawn}
        for config in (kept.configs if kept is not None else ())
        if all(name in spec.space and not check_value(name, value, spec.space) for name, value in config.items())
    ]


def first_try(number: int, trials: Sequence[FrozenTrial], unindexed: Sequence[int]) -> tuple[int, int]:
    """Returns the number of a trial, for a retry that of its first try, and its index: that less the unindexed ones before it.

    Args:
        number: Of the trial, which need not be there yet.
        trials: All trials of the study.
        unindexed: The numbers of retries and of what a warm start brought, ascending.
    """
    while number < len(trials) and (first := retry_of(trials[number])) is not None:
        number = first
    return number, number - bisect_left(unindexed, number)
