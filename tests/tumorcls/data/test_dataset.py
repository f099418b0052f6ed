"""Images are decoded once, and are those of the scan."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tumorcls.pictures import blob, write
from tumorcls.cache.arrays import ArrayCache, Rows
from tumorcls.data.dataset import image_set
from tumorcls.data.images import fit_square, read_image
from tumorcls.data.labels import CLASSES
from tumorcls.data.manifest import Entry, scan
from tumorcls.errors import DataError


@pytest.fixture
def entries(tmp_path: Path) -> tuple[Entry, ...]:
    for i in range(5):
        write(tmp_path / "in" / "glioma" / f"{i}.png", blob(i, 40 + i))
    return scan([tmp_path / "in"], tmp_path / "scans").entries


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    return ArrayCache(tmp_path / "cache")


def arrays(cache: ArrayCache) -> list[Path]:
    return list(cache.folder.glob("*.npy"))


def load_images(entries: tuple[Entry, ...], size: int, cache: ArrayCache) -> Rows:
    return image_set(entries, np.arange(len(entries)), CLASSES, size, cache).images


def test_images_are_decoded_once(entries: tuple[Entry, ...], cache: ArrayCache) -> None:
    first = load_images(entries, 24, cache)
    assert first.shape == (5, 24, 24, 3)
    assert np.array_equal(first[3], fit_square(read_image(entries[3].path), 24))
    for entry in entries:
        entry.path.unlink()
    assert np.array_equal(load_images(entries, 24, cache)[:], first[:])


def test_other_images_or_another_size_are_another_array(entries: tuple[Entry, ...], cache: ArrayCache) -> None:
    load_images(entries, 24, cache)
    load_images(entries[:4], 24, cache)
    load_images(entries, 16, cache)
    assert len(arrays(cache)) == 3


def test_readers_at_work_at_once_agree(entries: tuple[Entry, ...], cache: ArrayCache) -> None:
    results: list[Rows] = []
    threads = [threading.Thread(target=lambda: results.append(load_images(entries, 24, cache)[:])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(np.array_equal(result, results[0]) for result in results)
    assert len(arrays(cache)) == 1


def test_a_broken_image_leaves_no_array_behind(entries: tuple[Entry, ...], cache: ArrayCache) -> None:
    entries[2].path.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"2\.png"):
        load_images(entries, 24, cache)
    assert [path.suffix for path in cache.folder.iterdir()] == [".lock"]


def test_an_image_that_is_another_one_since_the_scan_is_refused(entries: tuple[Entry, ...], cache: ArrayCache) -> None:
    write(entries[1].path, blob(9, 41))
    with pytest.raises(DataError, match=r"1\.png: must stay as it is") as caught:
        load_images(entries, 24, cache)
    assert "\n" not in str(caught.value)
    assert arrays(cache) == []


def test_no_images_are_an_empty_array(cache: ArrayCache) -> None:
    assert load_images([], 24, cache)[:].shape == (0, 24, 24, 3)


def test_who_is_shown_is_kept_where_it_is_named(entries: tuple[Entry, ...], cache: ArrayCache) -> None:
    first, *others = entries
    images = image_set((replace(first, patient="A"), *others), np.arange(5), CLASSES, 24, cache)
    assert images.patients == ("A", None, None, None, None)
    assert images.rows(np.array([3, 0])).patients == (None, "A")
