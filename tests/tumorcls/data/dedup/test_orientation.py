import numpy as np
import pytest
from PIL import Image

from tests.tumorcls.pictures import blob
from tumorcls.data.dedup.orientation import (
    MIRRORED,
    QUARTER_TURNED,
    TURNED_BACK,
    UPRIGHT,
    Orientation,
    hash_blocks,
    turn,
    turned_hashes,
)
from tumorcls.data.fingerprint import perceptual_hash, thumbnail

PICTURES = np.stack([thumbnail(blob(seed)) for seed in range(30)])


def test_turning_turns() -> None:
    picture = np.arange(9).reshape(1, 3, 3)
    turned = {orientation: turn(picture, orientation)[0].tolist() for orientation in (UPRIGHT, *MIRRORED, *QUARTER_TURNED)}
    every = [view.tolist() for k in range(4) for view in (np.rot90(picture[0], k), np.rot90(picture[0], k).T)]
    assert all(rows in every for rows in turned.values())
    assert len({str(rows) for rows in turned.values()}) == 7
    (missing,) = [rows for rows in every if rows not in turned.values()]
    # Turned the other way: a quarter turn undone.
    assert missing == turn(picture, TURNED_BACK)[0].tolist() == np.rot90(picture[0], 1).tolist()
    assert turned[QUARTER_TURNED[-1]] == np.rot90(picture[0], 3).tolist()


@pytest.mark.parametrize("orientation", MIRRORED)
def test_mirroring_undoes_itself(orientation: Orientation) -> None:
    assert np.array_equal(turn(turn(PICTURES, orientation), orientation), PICTURES)


@pytest.mark.parametrize("orientation", [UPRIGHT, *MIRRORED, *QUARTER_TURNED])
def test_turned_hashes_are_those_of_the_turned_pictures(orientation: Orientation) -> None:
    hashes = turned_hashes(hash_blocks(PICTURES), orientation)
    expected = [perceptual_hash(Image.fromarray(picture)) for picture in turn(PICTURES, orientation)]
    distances = [(int(a) ^ b).bit_count() for a, b in zip(hashes, expected, strict=True)]
    assert np.mean(distances) < 1.5
    assert max(distances) <= 4
