import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pytest
from filelock import FileLock

from tumorcls.cache import arrays
from tumorcls.cache.arrays import ArrayCache, content_key
from tumorcls.cache.entry_file import EntryFile
from tumorcls.errors import DataError

SHAPE = (40, 30, 7)
VALUES = np.random.default_rng(0).normal(size=SHAPE).astype(np.float16)


def slowly():
    yield np.ones(500, np.float32)
    time.sleep(60)


def write_slowly(folder):
    ArrayCache(folder).get("key", (1000,), np.float32, slowly)


def write_and_count(folder, name):
    def make():
        (folder / f"made-by-{name}").touch()
        time.sleep(0.3)
        yield np.full(10, 7, np.float32)

    return float(ArrayCache(folder).get("key", (10,), np.float32, make)[:].sum())


def never():
    raise AssertionError("it is there already")


def zeros(count):
    return lambda: iter([np.zeros(count)])


@pytest.fixture(params=["held", "rows"], autouse=True)
def reading(request, monkeypatch):
    """Runs each test with entries that stay in memory, and with rows that are read when they are used."""
    monkeypatch.setattr(arrays, "_HELD", arrays._Held())
    if request.param == "rows":
        monkeypatch.setattr(arrays, "HELD_ENTRY_BYTES", 0)
    return request.param


@pytest.fixture
def made():
    """Counts how often the entry was made."""
    return []


@pytest.fixture
def open_entry(tmp_path, made):
    """Returns the function that opens the entry, in two blocks, as a new process would."""

    def open_it(key="key"):
        def make():
            made.append(key)
            yield VALUES[:25]
            yield VALUES[25:]

        arrays._HELD.__init__()
        return ArrayCache(tmp_path).get(key, SHAPE, np.float16, make)

    return open_it


def test_an_entry_is_made_once(open_entry, made, tmp_path):
    for _ in range(3):
        np.testing.assert_array_equal(open_entry()[:], VALUES)
    assert made == ["key"]
    np.testing.assert_array_equal(np.load(tmp_path / "arrays" / "key.npy"), VALUES)  # a file that NumPy can read


def test_what_is_held_is_read_only(open_entry, reading):
    if reading == "held":
        with pytest.raises(ValueError, match="read-only"):
            open_entry()[:][0] = 1


@pytest.mark.parametrize("rows", [3, -1, slice(4, 9), slice(None, None, -3), np.array([7, 7, 0, 39]), np.array([], int)])
def test_rows_are_read_as_those_of_an_array(open_entry, rows):
    np.testing.assert_array_equal(open_entry()[rows], VALUES[rows])


def test_an_entry_stands_for_an_array(open_entry):
    entry = open_entry()
    assert (len(entry), entry.shape, entry.dtype) == (40, SHAPE, np.float16)
    np.testing.assert_array_equal(np.asarray(entry), VALUES)
    np.testing.assert_array_equal(np.concatenate([row[None] for row in entry]), VALUES)
    with pytest.raises(IndexError):
        entry[40]


def flip(place):
    def harm(path):
        content = bytearray(path.read_bytes())
        content[place] ^= 4
        path.write_bytes(content)

    return harm


def zero_pages(path):
    content = bytearray(path.read_bytes())
    content[4096:8192] = bytes(4096)
    path.write_bytes(content)


def nan(path):
    with path.open("r+b") as file:
        file.seek(300)
        file.write(np.full(100, np.nan, np.float16).tobytes())


HARMS = {
    "bit of the magic": flip(1),
    "bit of the header": flip(30),
    "bit of the first row": flip(130),
    "bit of a row": flip(9000),
    "bit of the checksums": flip(-40),
    "bit of the last checksum": flip(-1),
    "zeroed pages": zero_pages,
    "all zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "cut short": lambda path: os.truncate(path, 5000),
    "without its checksums": lambda path: os.truncate(path, path.stat().st_size - 164),
    "one byte less": lambda path: os.truncate(path, path.stat().st_size - 1),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "no header": lambda path: path.write_bytes(path.read_bytes()[128:]),
    "a plain array": lambda path: np.save(path, VALUES),
    "another shape": lambda path: np.save(path, VALUES[:3]),
    "another type": lambda path: np.save(path, VALUES.astype(np.float32)),
    "NaN": nan,
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_what_is_damaged_between_two_processes_is_made_anew_with_one_line(open_entry, made, tmp_path, capfd, harm):
    open_entry()[:]
    harm(tmp_path / "arrays" / "key.npy")
    np.testing.assert_array_equal(open_entry()[:], VALUES)
    assert made == ["key", "key"]
    told = capfd.readouterr().err
    assert told.count("\n") == (0 if harm is HARMS["gone"] else 1)
    assert told == "" or told.startswith(f"{tmp_path / 'arrays' / 'key.npy'}: dropped and computed again; ")
    np.testing.assert_array_equal(open_entry()[:], VALUES)
    assert len(made) == 2, "what was made anew is good"


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_what_is_damaged_while_it_is_open_gives_the_right_rows(open_entry, tmp_path, harm):
    entry = open_entry()
    np.testing.assert_array_equal(entry[:5], VALUES[:5])
    harm(tmp_path / "arrays" / "key.npy")
    for start in range(0, 40, 8):
        np.testing.assert_array_equal(entry[start : start + 8], VALUES[start : start + 8])


def test_what_another_process_has_mended_meanwhile_is_not_made_again(open_entry, made, tmp_path):
    entry, path = open_entry(), tmp_path / "arrays" / "key.npy"
    entry[:5]
    shutil.copy(path, tmp_path / "mended")
    flip(9000)(path)
    os.replace(tmp_path / "mended", path)
    np.testing.assert_array_equal(entry[:], VALUES)
    assert made == ["key"]


def test_the_content_of_another_key_is_made_anew(open_entry, made, tmp_path):
    open_entry("other")[:]
    shutil.copy(tmp_path / "arrays" / "other.npy", tmp_path / "arrays" / "key.npy")
    np.testing.assert_array_equal(open_entry()[:], VALUES)
    assert made == ["other", "key"]


def test_a_disk_that_gives_back_something_else_each_time_is_one_line(open_entry, tmp_path, monkeypatch):
    write = EntryFile.write

    def write_badly(self, partial, make):
        write(self, partial, make)
        flip(200)(self.path)

    monkeypatch.setattr(EntryFile, "write", write_badly)
    with pytest.raises(DataError, match="must give back what was written") as caught:
        open_entry()[:]
    assert "\n" not in str(caught.value)


def test_a_process_keeps_so_much_in_memory_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "HELD_ENTRY_BYTES", 2**20)
    monkeypatch.setattr(arrays, "HELD_BYTES", 10_000)
    for key in "abc":
        ArrayCache(tmp_path).get(key, (500,), np.float64, zeros(500))[0]
    assert [path.stem for path in arrays._HELD._entries] == ["b", "c"]
    for key in "bd":
        ArrayCache(tmp_path).get(key, (500,), np.float64, zeros(500))[0]
    assert [path.stem for path in arrays._HELD._entries] == ["b", "d"], "what was used last stays"


def test_a_key_depends_on_names_and_values_and_not_on_their_order():
    assert content_key(a=1, b=[2]) == content_key(b=[2], a=1)
    assert len({content_key(a=1, b=2), content_key(a=2, b=1), content_key(a=1)}) == 3


def test_a_killed_writer_leaves_nothing_that_a_reader_takes(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=write_slowly, args=(tmp_path,))
    process.start()
    while not list(tmp_path.glob("arrays/*.partial")):
        time.sleep(0.02)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list(tmp_path.glob("arrays/*.npy"))
    made = ArrayCache(tmp_path).get("key", (1000,), np.float32, lambda: iter([np.full(1000, 2, np.float32)]))[:]
    assert made.min() == made.max() == 2
    assert not list(tmp_path.glob("arrays/*.partial"))


def test_of_two_processes_one_works_and_the_other_waits(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(write_and_count, [(tmp_path, "a"), (tmp_path, "b")]) == [70.0, 70.0]
    assert len(list(tmp_path.glob("made-by-*"))) == 1


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    cache = ArrayCache(tmp_path, max_bytes=15_000)
    for number, key in enumerate("abc"):
        cache.get(key, (500,), np.float64, zeros(500))
        os.utime(tmp_path / "arrays" / f"{key}.npy", (number, number))
        if key == "b":
            cache.get("a", (500,), np.float64, never)  # now the last used
    assert {path.stem for path in tmp_path.glob("arrays/*.npy")} == {"a", "c"}


def test_a_place_that_cannot_be_written_is_said_once_and_done_without(tmp_path, made, capsys):
    (tmp_path / "file").write_text("")

    def make():
        made.append(1)
        yield VALUES

    for key in ("key", "key", "other"):
        entry = ArrayCache(tmp_path / "file").get(key, SHAPE, np.float16, make)
        np.testing.assert_array_equal(entry[:], VALUES)
        np.testing.assert_array_equal(entry[[3, 0]], VALUES[[3, 0]])
        assert not entry[:].flags.writeable
    assert made == [1, 1], "each is kept in memory"
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path / 'file'}: the cache must be writable and have room; ")
    assert "TUMORCLS_CACHE" in said
    assert said.count("\n") == 1


def test_what_neither_the_disk_nor_the_memory_takes_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="room"):
        ArrayCache(tmp_path, max_bytes=2**62).get("huge", (2**50,), np.uint8, never)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(arrays, "HELD_ENTRY_BYTES", 0)
    monkeypatch.setattr(arrays, "_bytes_to_spare", lambda: 100)
    with pytest.raises(DataError, match="TUMORCLS_CACHE") as caught:
        ArrayCache(tmp_path / "file").get("key", SHAPE, np.float16, never)
    assert "\n" not in str(caught.value)


def test_a_drive_without_locks_is_written_without(open_entry, monkeypatch):
    def no_locks(self, *args, **kwargs):
        raise NotImplementedError("no flock here")

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    np.testing.assert_array_equal(open_entry()[:], VALUES)


class Stopped(BaseException):
    """What ends a writer that has made no error, as ^C does."""


@pytest.mark.parametrize("end", [DataError, Stopped])
def test_a_writer_that_ends_early_leaves_nothing(open_entry, made, tmp_path, end):
    def make():
        yield VALUES[:10]
        raise end("an image is gone")

    with pytest.raises(end):
        ArrayCache(tmp_path).get("key", SHAPE, np.float16, make)
    assert [path.suffix for path in (tmp_path / "arrays").iterdir()] == [".lock"]
    np.testing.assert_array_equal(open_entry()[:], VALUES)
    assert made == ["key"]
