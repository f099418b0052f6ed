"""How often sets of classes hold the true one, and how large they are: on clean images and on corrupted ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from tumorcls.evaluation.bootstrap import Estimate, Resamples, estimate
from tumorcls.evaluation.metrics import Floats, Labels, RoundedShare

if TYPE_CHECKING:
    from tumorcls.model.conformal import ClassSets


@dataclass(frozen=True)
class SetScores:
    """How sets do under one noise, on average over its severities; the noise is None for clean images.

    Coverage is the share of sets that hold the true class, size the mean number of classes in a set.
    """

    noise: str | None
    coverage: Estimate
    size: Estimate


@dataclass(frozen=True)
class SetCoverage:
    """What a model's sets are worth (see `tumorcls.model.conformal`).

    Attributes:
        asked: Coverage that the validation images were asked for.
        cutoff: Probability from which a class is in a set beside the likeliest.
        rows: Clean images first, then each noise, then what was never seen.
    """

    asked: RoundedShare
    cutoff: RoundedShare
    rows: Annotated[tuple[SetScores, ...], Field(min_length=1, max_length=100)]


def measure(
    labels: Labels,
    clean: Floats,
    corrupted: Mapping[tuple[str, int], Floats],
    sets: "ClassSets",
    resamples: Resamples,
) -> SetCoverage:
    """Returns coverage and size, with intervals, of the sets that are made of probabilities (n, k) of the same n images.

    Those of corrupted images are named by noise and severity.
    """
    by_noise: dict[str | None, list[Floats]] = {None: [clean]}
    for (noise, _), probabilities in corrupted.items():
        by_noise.setdefault(noise, []).append(probabilities)
    rows = (_score(noise, conditions, labels, sets, resamples) for noise, conditions in by_noise.items())
    return SetCoverage(sets.coverage, sets.cutoff, tuple(rows))


def _score(noise: str | None, conditions: list[Floats], labels: Labels, sets: "ClassSets", resamples: Resamples) -> SetScores:
    inside = np.stack([sets.contain(probabilities) for probabilities in conditions])  # (conditions, n, k)
    hit = inside[:, np.arange(len(labels)), labels].mean(axis=0)
    size = inside.sum(axis=2).mean(axis=0)
    coverage = estimate(resamples.means(hit), groups=resamples.groups)
    return SetScores(noise, coverage, estimate(resamples.means(size)))
