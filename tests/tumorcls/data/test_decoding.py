import io

import numpy as np
import pytest

from tests.tumorcls.hostile_images import Kind, images, slices
from tumorcls.data.decoding import decode
from tumorcls.errors import DataError

KINDS = [*images(), *slices()]


def test_there_are_many_kinds_and_none_twice() -> None:
    assert len(KINDS) >= 150
    assert len({kind.name for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_file_is_read_right_or_refused_in_one_line(kind: Kind) -> None:
    if kind.pixels is None:
        with pytest.raises(DataError, match=kind.message) as caught:
            decode(io.BytesIO(kind.content), kind.name)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"{kind.name}: ")
        return
    pixels = decode(io.BytesIO(kind.content), kind.name).pixels
    assert pixels.shape == kind.pixels.shape
    assert np.abs(pixels.astype(int) - kind.pixels.astype(int)).max() <= kind.tolerance
