from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.tumorcls.pictures import blob
from tumorcls.data.dedup.groups import MIN_SIMILARITY
from tumorcls.data.dedup.similarity import similarity, views
from tumorcls.data.fingerprint import thumbnail

Grey = npt.NDArray[np.uint8]
SEEDS = range(12)


def crop(image: Grey) -> Grey:
    edge = round(len(image) * 0.02)
    return image[edge:-edge, edge:-edge]


def turned(image: Grey, degrees: float) -> Grey:
    centre = (len(image) - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), degrees, 1)
    return cv2.warpAffine(image, matrix, image.shape[::-1]).astype(np.uint8)


def jpeg(image: Grey) -> Grey:
    decoded = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)
    assert decoded is not None
    return decoded.astype(np.uint8)


def compare(first: list[Grey], second: list[Grey]) -> npt.NDArray[np.float32]:
    pairs = np.column_stack([np.arange(len(first))] * 2)
    left, right = (views(np.stack([thumbnail(image) for image in images])) for images in (first, second))
    return similarity(left, right, pairs)


@pytest.mark.parametrize(
    "copy",
    [
        pytest.param(lambda image: image, id="same"),
        pytest.param(jpeg, id="jpeg"),
        pytest.param(crop, id="crop"),
        pytest.param(lambda image: turned(image, 2), id="turned"),
        pytest.param(lambda image: cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA), id="half"),
        pytest.param(lambda image: (image * 0.9).astype(np.uint8), id="darker"),
        pytest.param(lambda image: (255 * (image / 255) ** 0.8).astype(np.uint8), id="gamma"),
    ],
)
def test_copies_are_alike(copy: Callable[[Grey], Grey]) -> None:
    originals = [blob(seed, 256) for seed in SEEDS]
    assert compare(originals, [copy(image) for image in originals]).min() >= MIN_SIMILARITY


def test_strangers_are_not() -> None:
    strangers = [blob(seed + 100, 256) for seed in SEEDS]
    assert compare([blob(seed, 256) for seed in SEEDS], strangers).max() < MIN_SIMILARITY - 0.05


def test_either_side_may_be_the_crop() -> None:
    originals = [blob(seed, 256) for seed in SEEDS]
    crops = [crop(image) for image in originals]
    assert np.allclose(compare(originals, crops), compare(crops, originals), atol=1e-3)


def test_a_constant_picture_is_like_nothing() -> None:
    black = np.zeros((64, 64), np.uint8)
    assert np.allclose(compare([black, black], [black, blob(1)]), 0, atol=1e-6)


def test_no_pairs_give_no_values() -> None:
    some = views(np.stack([thumbnail(blob(1))]))
    assert similarity(some, some, np.zeros((0, 2), np.int64)).shape == (0,)
