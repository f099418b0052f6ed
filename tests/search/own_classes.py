"""Samplers and pruners of a user's own, which behave and misbehave; tests of them copy this file into their folder."""

import random
from pathlib import Path

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, BruteForceSampler, RandomSampler


class Edges(BaseSampler):
    """Draws the ends of each range, by a seed, and learns nothing."""

    def __init__(self, seed=None, share: float = 0.5):
        self.random = random.Random(seed)
        self.share = share

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, name, distribution):
        offset = self.random.random()
        return distribution.low + offset if self.random.random() < self.share else distribution.high - offset


class Counting(Edges):
    """Remembers how many trials it was told of."""

    def __init__(self, seed=None):
        super().__init__(seed)
        self.ended = 0

    def sample_independent(self, study, trial, name, distribution):
        return float(self.ended)

    def after_trial(self, study, trial, state, values):
        self.ended += 1


class Ending(RandomSampler):
    """Ends the search when so many trials have ended."""

    def __init__(self, seed=None, after: int = 1):
        super().__init__(seed)
        self.after = after

    def after_trial(self, study, trial, state, values):
        ended = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if len(ended) + 1 >= self.after:  # this one is told of before it is stored
            study.stop()


class Stopping(RandomSampler):
    """Ends the search with its fifth config."""

    def sample_relative(self, study, trial, search_space):
        if trial.number == 4:
            study.stop()
        return {}


class Exhaustive(BruteForceSampler):
    pass


class Neighbour(RandomSampler):
    """Learns from the study alone: draws near the best so far."""

    def sample_independent(self, study, trial, name, distribution):
        drawn = super().sample_independent(study, trial, name, distribution)
        done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        best = max(done, key=lambda each: each.value, default=None)
        return drawn if best is None else (9 * best.params[name] + drawn) / 10


class Results(Edges):
    """Draws how many results it sees."""

    def sample_independent(self, study, trial, name, distribution):
        return float(len(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))))


class Raising(Edges):
    def sample_independent(self, study, trial, name, distribution):
        raise RuntimeError("no idea\nwhat to draw")


class Outside(Edges):
    def sample_independent(self, study, trial, name, distribution):
        return distribution.high + 1


class Picky(Edges):
    def __init__(self, *, wanted, seed=None):
        if wanted != 1:
            raise ValueError("wanted is not 1")
        super().__init__(seed)


class Abstract(BaseSampler):
    pass


class Second(BasePruner):
    """Prunes every trial at a step."""

    def __init__(self, step: int = 1):
        self.step = step

    def prune(self, study, trial):
        return trial.last_step == self.step


class Broken(BasePruner):
    def prune(self, study, trial):
        raise KeyError("nothing")


NO_CLASS = 3
Path("imported").touch()  # who imports this runs it
