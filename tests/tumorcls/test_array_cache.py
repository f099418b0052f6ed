import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from tumorcls.array_cache import ArrayCache, content_key
from tumorcls.errors import DataError


def slow_fill(array):
    array[: len(array) // 2] = 1
    time.sleep(60)


def write_slowly(folder):
    ArrayCache(folder).get("key", (1000,), np.float32, slow_fill)


def write_and_count(folder, name):
    def fill(array):
        (folder / f"made-by-{name}").touch()
        time.sleep(0.3)
        array[:] = 7

    return float(ArrayCache(folder).get("key", (10,), np.float32, fill).sum())


def never(array):
    raise AssertionError("it is there already")


def test_an_entry_is_made_once_and_read_only(tmp_path):
    cache = ArrayCache(tmp_path)
    made = cache.get("key", (3, 2), np.float16, lambda array: array.fill(0.5))
    again = cache.get("key", (3, 2), np.float16, never)
    np.testing.assert_array_equal(made, np.full((3, 2), 0.5, np.float16))
    np.testing.assert_array_equal(again, made)
    assert isinstance(again, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 1


def test_a_key_depends_on_names_and_values_and_not_on_their_order():
    assert content_key(a=1, b=[2]) == content_key(b=[2], a=1)
    assert len({content_key(a=1, b=2), content_key(a=2, b=1), content_key(a=1)}) == 3


def test_a_killed_writer_leaves_nothing_that_a_reader_takes(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=write_slowly, args=(tmp_path,))
    process.start()
    while not list(tmp_path.glob("*.partial")):
        time.sleep(0.02)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list(tmp_path.glob("*.npy"))
    made = ArrayCache(tmp_path).get("key", (1000,), np.float32, lambda array: array.fill(2))
    assert made.min() == made.max() == 2
    assert not list(tmp_path.glob("*.partial"))


def test_of_two_processes_one_works_and_the_other_waits(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(write_and_count, [(tmp_path, "a"), (tmp_path, "b")]) == [70.0, 70.0]
    assert len(list(tmp_path.glob("made-by-*"))) == 1


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    cache = ArrayCache(tmp_path, max_bytes=9_000)
    for number, key in enumerate("abc"):
        cache.get(key, (500,), np.float64, lambda array: array.fill(0))
        os.utime(tmp_path / f"{key}.npy", (number, number))
        if key == "b":
            cache.get("a", (500,), np.float64, never)  # now the last used
    assert {path.stem for path in tmp_path.glob("*.npy")} == {"a", "c"}


def test_the_bound_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TUMORCLS_CACHE_GIB", "0.5")
    assert ArrayCache(tmp_path).max_bytes == 2**29


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="TUMORCLS_CACHE") as caught:
        ArrayCache(tmp_path / "file").get("key", (1,), np.uint8, never)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="room"):
        ArrayCache(tmp_path, max_bytes=2**62).get("huge", (2**50,), np.uint8, never)
