"""One network from several runs: the average of their weights, of those runs whose weights make it better.

A greedy soup (Wortsman et al., Model soups, ICML 2022): the best run first, then each of the others in the order of its score,
which stays where the average scores no worse on validation images with it than without; and once more from the best on, so that
a run may count twice, until a whole round changes nothing (with replacement, as ensembles are chosen: Caruana et al., ICML
2004). All runs begin with the same pretrained weights. Where the head alone is trained it is linear, so that averaged weights
give averaged logits: the soup is the ensemble, at the price of one network.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorcls.config.file import Member
from tumorcls.training.trainer import Fitted, Trainer
from tumorcls.training.validation import Epoch, Measured

MAX_ROUNDS = 3

Weights = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Soup:
    """What was averaged.

    Attributes:
        fitted: The run of the best member, its program with the averaged weights, its last epoch with their scores.
        counts: How often each member is in it, the best first.
        best: The score of the best member alone.
        score: That of the average.
    """

    fitted: Fitted
    counts: tuple[tuple[Member, int], ...]
    best: float
    score: float

    def describe(self) -> str:
        """Returns what was averaged and what it gained, in one line."""
        if len(self.counts) == 1:
            return f"No average is better on validation images than {self.counts[0][0].name} alone, {self.best:.4f}."
        names = ", ".join(f"{member.name}{f' ({count} times)' if count > 1 else ''}" for member, count in self.counts)
        return (
            f"The averaged weights of {names}: {self.score:.4f} on validation images, {self.best:.4f} the best of them alone."
        )


def cook(trainer: Trainer, members: Sequence[Member], tell: Callable[[str], None]) -> Soup:
    """Trains all members and averages the weights of those that make the average better.

    Args:
        trainer: Of their data.
        members: At least one; they agree in what the network is made of.
        tell: Is told how it goes, a line at a time.
    """
    found = []
    for number, member in enumerate(members, start=1):
        fitted = trainer.fit(member.config, member.seed, _ignore)
        score = fitted.scores[members[0].config.score[0]]
        tell(f"member {number}/{len(members)}, {member.name}: {members[0].config.score[0]} {score:.4f}")
        found.append((score, member, fitted, fitted.program.weights()))
    found.sort(key=lambda entry: -entry[0])
    best, first, fitted, _ = found[0]
    measured: dict[tuple[int, ...], Measured] = {}

    def score_of(chosen: Sequence[int]) -> float:
        key = tuple(sorted(chosen))
        if key not in measured:
            fitted.program.set_weights(average([found[index][3] for index in key]))
            measured[key] = trainer.measure(fitted)
        scores = measured[key].final_scores
        assert scores is not None
        return scores[first.config.score[0]]

    chosen = [0]
    score = score_of(chosen)
    for _ in range(MAX_ROUNDS):
        before = len(chosen)
        for index in range(len(found)):
            with_it = score_of([*chosen, index])
            if with_it > score or (with_it == score and index not in chosen):
                chosen, score = [*chosen, index], with_it
        if len(chosen) == before:
            break
    fitted.program.set_weights(average([found[index][3] for index in chosen]))
    last = replace(fitted.last, measured=measured[tuple(sorted(chosen))])
    counts = tuple((found[index][1], count) for index, count in sorted(Counter(chosen).items()))
    return Soup(replace(fitted, epochs=(*fitted.epochs[:-1], last)), counts, best, score)


def cook_final(trainer: Trainer, soup: Soup) -> Fitted:
    """Trains what a soup was made of on training and validation images together, and averages it as often."""
    weights: list[Weights] = []
    for member, count in soup.counts:
        fitted = trainer.fit(member.config, member.seed, _ignore, final=True)
        weights += [fitted.program.weights()] * count
    fitted.program.set_weights(average(weights))
    return fitted


def average(weights: Sequence[Weights]) -> list[NDArray[Any]]:
    """Returns the mean of each array over several networks."""
    return [np.mean(arrays, axis=0, dtype=np.float64).astype(arrays[0].dtype) for arrays in zip(*weights, strict=True)]


def _ignore(_: Epoch) -> None:
    """A member's epochs are not shown."""
