"""What a leak is worth: a model's score on official test images that have a twin in the official training part, and on others.

    TUMORCLS_DATA=~/data python -m benchmarks.leak

A logistic regression on the frozen network's features of SARTAJ's own Training folder (`tumorcls.training.linear_probe`)
answers for its Testing folder. Twins are found by this project's grouping (docs/deduplication.md), which the model is not told
of. `docs/benchmark-leak.md` shows what this printed.
"""

import argparse
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorcls.cache.arrays import ArrayCache
from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.dataset import image_set
from tumorcls.data.images import read_image
from tumorcls.data.labels import CLASSES
from tumorcls.data.manifest import Entry
from tumorcls.data.prepare import prepare
from tumorcls.data.split import SplitSettings
from tumorcls.data.twins import Pair, count_twins, list_twins
from tumorcls.evaluation.bootstrap import draw_resamples, estimate
from tumorcls.evaluation.metrics import macro_f1
from tumorcls.model.backend import select_backend

THUMB = 64
SHOWN = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TUMORCLS_DATA", "data")) / "sartaj")
    parser.add_argument("--weights", default=os.environ.get("TUMORCLS_WEIGHTS", "imagenet"))
    parser.add_argument("--size", type=int, default=150)
    arguments = parser.parse_args()
    prepared = prepare([arguments.data], SplitSettings(), cache_folder())
    entries = prepared.manifest.entries
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
    predicted = predict(arguments.data, arguments.weights, arguments.size, entries, train, test)
    labels = np.array([CLASSES.index(entries[i].label) for i in test])
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


def predict(
    data: Path, weights: str, size: int, entries: tuple[Entry, ...], train: NDArray[np.int64], test: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns what a logistic regression on clean frozen features of the training images answers for the test images."""
    select_backend()
    from tumorcls.model.program_cache import ProgramCache
    from tumorcls.training.features import Features
    from tumorcls.training.linear_probe import fit_head, head_config

    config = head_config(TrainConfig.parse({"data": [str(data)], "weights": weights, "image_size": size}, where="leak"))
    cache = ArrayCache(cache_folder())
    features = Features(ProgramCache().get(config), cache)

    def of(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        images = image_set([entries[i] for i in rows], rows, CLASSES, size, cache).images
        key = " ".join(entries[i].pixel_sha256 for i in rows)
        activations: NDArray[np.float32] = features.of_images(images, key)[:].astype(np.float32)
        return activations

    kernel, bias = fit_head(of(train), np.array([CLASSES.index(entries[i].label) for i in train]))
    answers: NDArray[np.int64] = (of(test) @ kernel + bias).argmax(axis=1)
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
