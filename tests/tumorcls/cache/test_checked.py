"""A file of several arrays is whole, or is not there."""

import io
import os

import numpy as np
import pytest

from tumorcls.cache.checked import load_arrays, store_arrays


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "a.npz"
    store_arrays(path, np.arange(500), names=np.array(["x", "ÿ"]))
    return path


def test_what_was_stored_comes_back(stored):
    arrays = load_arrays(stored, ("names",))
    np.testing.assert_array_equal(arrays["arr_0"], np.arange(500))
    assert arrays["names"].tolist() == ["x", "ÿ"]


def test_no_file_is_no_news(tmp_path, capfd):
    assert load_arrays(tmp_path / "none.npz") is None
    assert capfd.readouterr().err == ""


def test_every_flipped_bit_is_noticed(stored, capfd):
    whole = stored.read_bytes()
    for place in [*range(0, len(whole), 37), len(whole) - 1]:
        stored.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert load_arrays(stored) is None
        assert capfd.readouterr().err.count("\n") == 1


def plain_archive(content):
    file = io.BytesIO()
    np.savez(file, np.arange(500))
    return file.getvalue()


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:20],
        lambda content: content + b"x",
        lambda content: bytes(len(content)),
        plain_archive,
    ],
)
def test_what_is_not_whole_is_dropped_with_one_line(stored, capfd, harm):
    stored.write_bytes(harm(stored.read_bytes()))
    assert load_arrays(stored) is None
    told = capfd.readouterr().err
    assert told.startswith(f"{stored}: dropped and computed again; ")
    assert told.count("\n") == 1


def test_the_content_of_another_file_is_dropped(stored, tmp_path, capfd):
    os.link(stored, tmp_path / "b.npz")
    assert load_arrays(tmp_path / "b.npz") is None
    assert "checksum" in capfd.readouterr().err


def test_other_arrays_than_were_wanted_are_dropped(stored, capfd):
    assert load_arrays(stored, ("names", "fields")) is None
    assert "something else" in capfd.readouterr().err
