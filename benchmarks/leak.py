"""What a leak is worth: a model's score on official test images that have a twin in the official training part, and on others.

    TUMORCLS_DATA=~/data python -m benchmarks.leak
    TUMORCLS_DATA=~/data python -m benchmarks.leak --blocks 20 40

A logistic regression on the frozen network's features of SARTAJ's own Training folder (`tumorcls.training.linear_probe`)
answers for its Testing folder. Twins are found by this project's grouping (docs/deduplication.md), which the model is not told
of. With `--blocks` it is measured instead what slices of one patient on both sides may be worth: the sets name no patients, and
consecutive file numbers stand in for them. `docs/benchmark-leak.md` shows what both printed.
"""

import argparse
import os
import re
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.kept import machine
from tumorcls.cache.arrays import ArrayCache
from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.dataset import image_set
from tumorcls.data.images import read_image
from tumorcls.data.labels import CLASSES
from tumorcls.data.manifest import Entry
from tumorcls.data.prepare import PreparedData, prepare
from tumorcls.data.split import SplitSettings
from tumorcls.data.twins import Pair, count_twins, list_twins
from tumorcls.evaluation.bootstrap import draw_resamples, estimate
from tumorcls.evaluation.metrics import confusion_matrix, macro_f1
from tumorcls.model.backend import package_versions, select_backend

THUMB = 64
SHOWN = 10
TESTED, TRAINED = 0.2, 1700  # share of each class, and images of the rest, which are the same for all ways to split

Rows = NDArray[np.int64]
Features = Callable[[Rows], NDArray[np.float32]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TUMORCLS_DATA", "data")) / "sartaj")
    parser.add_argument("--weights", default=os.environ.get("TUMORCLS_WEIGHTS", "imagenet"))
    parser.add_argument("--size", type=int, default=150)
    parser.add_argument("--blocks", type=int, nargs="+", help="consecutive file numbers that stand for a patient")
    parser.add_argument("--draws", type=int, default=10, help="of the test images, with --blocks")
    arguments = parser.parse_args()
    prepared = prepare([arguments.data], SplitSettings(), cache_folder())
    entries = prepared.manifest.entries
    features = features_of(arguments.data, arguments.weights, arguments.size, entries)
    if arguments.blocks:
        return compare_splits(prepared, features, arguments.blocks, arguments.draws)
    for twins in count_twins(entries, prepared.copies):
        print(
            f"{twins.source}: of {twins.test} {twins.part} images {twins.same_file} are a file of the training part, "
            f"{twins.same_pixels} equal one pixel for pixel, {twins.same_picture} ({twins.same_picture / twins.test:.1%}) show "
            "the same picture"
        )
    pairs = [pair for pair in list_twins(entries, prepared.copies) if entries[pair.held_out].official_split == "test"]
    show_pairs(entries, pairs)
    train, test = (
        np.array([i for i, entry in enumerate(entries) if entry.official_split == part]) for part in ("train", "test")
    )
    labels = labels_of(entries, test)
    predicted = predict(features(train), labels_of(entries, train), features(test))
    has_twin = np.isin(test, [pair.held_out for pair in pairs])
    scores("all", predicted, labels, prepared.groups[test])
    scores("with a twin", predicted[has_twin], labels[has_twin], prepared.groups[test[has_twin]])
    scores("the rest", predicted[~has_twin], labels[~has_twin], prepared.groups[test[~has_twin]])


def show_pairs(entries: tuple[Entry, ...], pairs: list[Pair]) -> None:
    """Prints how twins correlate, and some of them, evenly over all."""
    values = np.array([correlation(entries[pair.held_out].path, entries[pair.copy].path) for pair in pairs])
    for least in (0.999, 0.99, 0.95):
        count = int((values >= least).sum())
        print(f"correlate by at least {least} at {THUMB} pixels, as they are or mirrored: {count} of {len(values)} twins")
    order = np.argsort(-values, kind="stable")
    for at in order[np.linspace(0, len(order) - 1, SHOWN).round().astype(int)]:
        pair = pairs[at]
        print(f"| {entries[pair.held_out].name} | {entries[pair.copy].name} | {pair.likeness} | {values[at]:.3f} |")


def correlation(first: Path, second: Path) -> float:
    """Returns how grey thumbnails correlate, the second one as it is or mirrored, without any alignment."""
    one, other = (
        cv2.resize(cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
        for path in (first, second)
    )
    return max(float(np.corrcoef(one.ravel(), turned.ravel())[0, 1]) for turned in (other, other[:, ::-1], other[::-1]))


def compare_splits(prepared: PreparedData, features: Features, blocks: list[int], draws: int) -> None:
    """Prints the scores of test images that are split off by groups of copies, and by blocks of file numbers."""
    rows, series, numbers = numbered(prepared)
    inputs, labels, groups = features(rows), labels_of(prepared.manifest.entries, rows), prepared.groups[rows]
    print(
        f"{len(rows):,} images; of each class {TESTED:.0%} are tested, {TRAINED:,} others trained on; {draws} draws; macro-F1"
    )
    print("| split by | logistic regression | nearest neighbour |")
    for block in [0, *blocks]:
        found = []
        for draw in range(draws):
            rng = np.random.default_rng(draw)
            test = draw_test(blocks_of(series, numbers, block, rng) if block else groups, labels, rng)
            rest = rng.choice(np.flatnonzero(~np.isin(groups, groups[test])), TRAINED, replace=False)
            found.append(list(probe_scores(inputs[rest], labels[rest], inputs[test], labels[test])))
        cells = [f"{np.mean(of_one):.3f} ({min(of_one):.3f} to {max(of_one):.3f})" for of_one in zip(*found, strict=True)]
        print(f"| {f'blocks of {block} file numbers' if block else 'groups of copies'} | {' | '.join(cells)} |", flush=True)
    print("in brackets: the lowest and the highest draw")
    print(f"{machine()}, scikit-learn {metadata.version('scikit-learn')}, {package_versions()}")


def numbered(prepared: PreparedData) -> tuple[Rows, list[str], Rows]:
    """Returns index, series and number of the numbered files of the Training folder that are not left out."""
    found = [
        (i, match[1], int(match[2]))
        for i, (entry, part) in enumerate(zip(prepared.manifest.entries, prepared.parts, strict=True))
        if (match := re.fullmatch(r"Training/(.+?)\s*\((\d+)\)\.\w+", entry.name)) and part != "left_out"
    ]
    rows, series, numbers = zip(*found, strict=True)
    return np.array(rows), list(series), np.array(numbers)


def blocks_of(series: list[str], numbers: Rows, block: int, rng: np.random.Generator) -> NDArray[np.str_]:
    """Returns of each image its series and its block of consecutive numbers, of which the first begins anywhere."""
    return np.array([f"{of} {number}" for of, number in zip(series, (numbers + rng.integers(block)) // block, strict=True)])


def draw_test(units: NDArray[Any], labels: Rows, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Returns which images are tested: of each class whole units, drawn until they hold its share."""
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_it = labels == label
        for unit in rng.permutation(np.unique(units[of_it])):
            if test[of_it].mean() < TESTED:
                test |= of_it & (units == unit)
    return test


def probe_scores(train: NDArray[np.float32], known: Rows, test: NDArray[np.float32], labels: Rows) -> Iterator[float]:
    """Yields the macro-F1 of a logistic regression, and of the most alike training image."""
    unit_train, unit_test = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (train, test))
    for answers in (
        predict(train, known, test),
        known[(unit_test @ unit_train.T).argmax(axis=1)],  # by the cosine of features
    ):
        yield float(macro_f1(confusion_matrix(labels, answers, len(CLASSES))))


def labels_of(entries: tuple[Entry, ...], rows: Rows) -> Rows:
    """Returns the classes of some entries."""
    return np.array([CLASSES.index(entries[i].label) for i in rows])


def features_of(data: Path, weights: str, size: int, entries: tuple[Entry, ...]) -> Features:
    """Returns what gives the clean frozen features of some entries."""
    select_backend()
    from tumorcls.model.program_cache import ProgramCache
    from tumorcls.training import features as frozen
    from tumorcls.training.linear_probe import head_config

    config = head_config(TrainConfig.parse({"data": [str(data)], "weights": weights, "image_size": size}, where="leak"))
    cache = ArrayCache(cache_folder())
    features = frozen.Features(ProgramCache().get(config), cache)

    def of(rows: Rows) -> NDArray[np.float32]:
        images = image_set([entries[i] for i in rows], rows, CLASSES, size, cache).images
        key = " ".join(entries[i].pixel_sha256 for i in rows)
        activations: NDArray[np.float32] = features.of_images(images, key)[:].astype(np.float32)
        return activations

    return of


def predict(train: NDArray[np.float32], labels: Rows, test: NDArray[np.float32]) -> Rows:
    """Returns what a logistic regression on features of training images answers for the test images."""
    from tumorcls.training.linear_probe import fit_head

    kernel, bias = fit_head(train, labels)
    answers: Rows = (test @ kernel + bias).argmax(axis=1)
    return answers


def scores(name: str, predicted: NDArray[np.int64], labels: NDArray[np.int64], groups: NDArray[np.int64]) -> None:
    """Prints accuracy and macro-F1 with their 95% intervals over groups of near-duplicates."""
    resamples = draw_resamples(groups, 1000, 0)
    confusions = resamples.confusions(labels, predicted, len(CLASSES))
    accuracy, f1 = estimate(resamples.means(predicted == labels)), estimate(macro_f1(confusions))
    print(f"{name}: {len(labels)} images, accuracy {accuracy}, macro-F1 {f1}")
    for index, label in enumerate(CLASSES):
        if (labels == index).any():
            right_of_it = int((predicted[labels == index] == index).sum())
            print(f"  {label}: {right_of_it} of {int((labels == index).sum())} right")


if __name__ == "__main__":
    main()
