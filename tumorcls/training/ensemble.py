"""One model from several runs: the mean of their weights or of their logits, of those runs that make it better.

Both are chosen alike, on validation images: the best run first, then each of the others in the order of its score, which stays
where the mean scores no worse with it than without; and once more from the best on, so that a run may count twice, until a
whole round changes nothing (with replacement, as ensembles are chosen: Caruana et al., ICML 2004).

The mean of weights is a greedy soup (Wortsman et al., Model soups, ICML 2022): all runs begin with the same pretrained weights,
and the model is one network. The mean of logits is an ensemble, and its model holds all members (`tumorcls.model.ensemble`).
Where the head alone is trained it is linear, so that averaged weights give averaged logits: the soup is the ensemble, at the
price of one network.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from tumorcls.config.file import Member
from tumorcls.config.train_config import TrainableFrom, TrainConfig
from tumorcls.errors import ConfigError
from tumorcls.model.divergence import naming_run
from tumorcls.model.ensemble import most_members
from tumorcls.model.model_file import MOST_WEIGHTS
from tumorcls.training.trainer import Fitted, Trainer, Weights
from tumorcls.training.validation import Logits, ValidationScores

MAX_ROUNDS = 3

_Chosen = tuple[int, ...]


class Run(NamedTuple):
    """A member that was trained, with its score on validation images, and its logits, see `Trainer.logits`.

    The program of its run may have gone on to another; its weights are what it answers with.
    """

    score: float
    member: Member
    fitted: Fitted
    weights: Weights
    logits: Logits


@dataclass(frozen=True)
class Ensemble:
    """What was chosen.

    Attributes:
        fitted: The run of the best member, with what answers in its place, and in its last epoch the scores of that.
        counts: How often each member is in it, the best first.
        best: The score of the best member alone.
        score: That of all together.
        keeps: Whether it holds its members, rather than the average of their weights.
    """

    fitted: Fitted
    counts: tuple[tuple[Member, int], ...]
    best: float
    score: float
    keeps: bool

    def describe(self) -> str:
        """Returns what was chosen and what it gained, in one line."""
        if len(self.counts) == 1:
            what = "ensemble" if self.keeps else "average"
            return f"No {what} is better on validation images than {self.counts[0][0].name} alone, {self.best:.4f}."
        names = ", ".join(f"{member.name}{f' ({count} times)' if count > 1 else ''}" for member, count in self.counts)
        what = "The mean of the logits of" if self.keeps else "The averaged weights of"
        return f"{what} {names}: {self.score:.4f} on validation images, {self.best:.4f} the best of them alone."

    @property
    def provenance(self) -> dict[str, str]:
        """What a model's file says of it."""
        return {"held" if self.keeps else "averaged": ", ".join(f"{member.name} x {count}" for member, count in self.counts)}


def fit_members(
    trainer: Trainer, config: TrainConfig, members: Sequence[Member], tell: Callable[[str], None]
) -> tuple[Run, ...]:
    """Trains all members, at least one, and tells a line of each; returns their runs, the best first.

    `config` says how the model is measured and answers; it agrees with the members' in what the network is made of.
    """
    score, runs = config.score[0], []
    for number, member in enumerate(members, start=1):
        with naming_run(member.name):
            fitted = replace(trainer.fit(member.config, member.seed), config=config)
        logits = trainer.logits(fitted)
        runs.append(Run(_score(trainer.score_logits(logits, config), config), member, fitted, fitted.program.weights(), logits))
        tell(f"member {number}/{len(members)}, {member.name}: {score} {runs[-1].score:.4f}")
    return tuple(sorted(runs, key=lambda run: -run.score))


def choose(trainer: Trainer, runs: Sequence[Run], *, keep: bool) -> Ensemble:
    """Chooses those of several runs, from `fit_members`, that are better together.

    With `keep` the model holds its members, see `check_keeps`; otherwise their weights are averaged.
    """
    config, measured = runs[0].fitted.config, dict[_Chosen, ValidationScores]()

    def together(chosen: _Chosen) -> Fitted:
        return _together(runs[0].fitted, [(runs[index].weights, count) for index, count in _counted(chosen)], keep=keep)

    def score_of(chosen: _Chosen) -> float:
        if chosen not in measured:
            logits = np.mean([runs[index].logits for index in chosen], axis=0) if keep else trainer.logits(together(chosen))
            measured[chosen] = trainer.score_logits(logits, config)
        return _score(measured[chosen], config)

    chosen = choose_greedily(len(runs), score_of)
    fitted = together(chosen)
    fitted = replace(fitted, epochs=(*fitted.epochs[:-1], replace(fitted.last, measured=measured[chosen])))
    counts = tuple((runs[index].member, count) for index, count in _counted(chosen))
    return Ensemble(fitted, counts, runs[0].score, score_of(chosen), keep)


def fit_final(trainer: Trainer, ensemble: Ensemble) -> Fitted:
    """Trains what was chosen on training and validation images together, to count as often."""
    weights: list[tuple[Weights, int]] = []
    for member, count in ensemble.counts:
        with naming_run(member.name):
            fitted = trainer.fit(member.config, member.seed, final=True)
        weights.append((fitted.program.weights(), count))
    return _together(replace(fitted, config=ensemble.fitted.config), weights, keep=ensemble.keeps)


def choose_greedily(count: int, score_of: Callable[[_Chosen], float]) -> _Chosen:
    """Chooses what is better together of `count` candidates, 1 or more: 0 is the best alone, and the others follow in order.

    `score_of` is given some of them, in rising order, each as often as it counts. So are those returned; 0 is one of them.
    """
    chosen: _Chosen = (0,)
    score = score_of(chosen)
    for _ in range(MAX_ROUNDS):
        before = chosen
        for index in range(count):
            with_it = tuple(sorted((*chosen, index)))
            found = score_of(with_it)
            if found > score or (found == score and index not in chosen):
                chosen, score = with_it, found
        if chosen == before:
            break
    return chosen


def check_keeps(backbone: keras.Model, trainable_from: TrainableFrom, members: int) -> None:
    """Refuses more members than a model's file can hold, before they are trained.

    Raises:
        ConfigError: There are more.
    """
    most = most_members(backbone, trainable_from, MOST_WEIGHTS)
    if members > most:
        rule = f'a model\'s file holds at most {most} members with trainable_from = "{trainable_from}"; got {members}'
        raise ConfigError(f"--keep-members: {rule}. Export fewer, or leave the option out.")


def average(weights: Sequence[tuple[Weights, int]]) -> list[NDArray[Any]]:
    """Returns the mean of each array over several networks, of which each counts so often."""
    counts = [count for _, count in weights]
    arrays = zip(*(values for values, _ in weights), strict=True)
    return [np.average(same, axis=0, weights=counts).astype(same[0].dtype) for same in arrays]


def _together(fitted: Fitted, weights: Sequence[tuple[Weights, int]], *, keep: bool) -> Fitted:
    return replace(fitted, members=tuple(weights) if keep else ((average(weights), 1),))


def _counted(chosen: _Chosen) -> list[tuple[int, int]]:
    return sorted(Counter(chosen).items())


def _score(measured: ValidationScores, config: TrainConfig) -> float:
    assert measured.final_scores is not None
    return measured.final_scores[config.score[0]]
