import io
import os
import resource
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tumorcls.data.hdf5 import SLICE, Limits, open_hdf5
from tumorcls.errors import DataError

SMALL = Limits(total_bytes=2**20, objects=20, depth=4)


def check(build: Callable[[h5py.File], object], limits: Limits = SMALL) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        build(file)
    with open_hdf5(buffer, "a.mat", limits):
        pass


@pytest.mark.parametrize(
    "build",
    [
        lambda file: file.create_dataset("x", data=np.eye(40), compression="gzip", shuffle=True, fletcher32=True),
        lambda file: file.create_dataset("x", data=np.random.default_rng(0).normal(size=99)),
        lambda file: file.create_dataset("x", data=np.frombuffer(os.urandom(5000), np.uint8), compression="gzip"),
        lambda file: file.create_dataset("x", shape=(10, 10), dtype="i2", chunks=(3, 3)),  # no chunk written
        lambda file: file.create_dataset("x", shape=(0,), maxshape=(None,), dtype="i2"),
        lambda file: file.create_dataset("x", data=h5py.Empty("f4")),
        lambda file: file.attrs.update(names=["a", "b"], backend="tensorflow", number=3, flag=True),
        lambda file: file.create_group("a/b").create_dataset("x", data=1.0),
        lambda file: file.__setitem__("b", file.create_dataset("a", data=[1, 2])),  # two names of one array
    ],
)
def test_what_matlab_and_keras_write_passes(build: Callable[[h5py.File], object]) -> None:
    check(build)


def external_storage(file: h5py.File) -> None:
    file.create_dataset("x", (100,), "u1", external=[("/etc/passwd", 0, 100)])


def virtual(file: h5py.File, maxshape: tuple[int | None, ...] | None = None) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="u1", maxshape=maxshape)
    layout[:4] = h5py.VirtualSource("/etc/passwd", "x", shape=(4,))
    file.create_virtual_dataset("x", layout)


def cycle(file: h5py.File) -> None:
    file.create_group("a/b")
    file["a/b/loop"] = file["a"]
    external_storage(file)


def deep(file: h5py.File) -> None:
    file.create_group("/".join("abcdefgh"))


def many_links(file: h5py.File) -> None:
    array = file.create_dataset("x", data=1)
    for number in range(30):
        file[f"x{number}"] = array


def many_attributes(file: h5py.File) -> None:
    for number in range(30):
        file.attrs[str(number)] = number


def shared_text(file: h5py.File) -> None:
    file.attrs["names"] = ["x" * 60_000] * 40  # each name may be the same 60 kB of the file


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")), "no link to elsewhere; got /x"),
        (lambda file: file.__setitem__("x", h5py.SoftLink("/y")), "no link to elsewhere"),
        (external_storage, "names other files"),
        (virtual, "names other files"),
        (cycle, "names other files"),
        (deep, "at most 4 deep"),
        (many_links, "at most 20 objects"),
        (many_attributes, "at most 20 objects"),
        (shared_text, "short texts and numbers"),
        (lambda file: file.attrs.create("x", np.zeros(3, [("a", "i4")])), "short texts and numbers"),
        (lambda file: file.create_dataset("x", (2**17 + 1,), "f8"), "at most 1,048,576 bytes; got 1,048,584 by /x"),
        (lambda file: file.create_dataset("x", (2**40, 2**20), "f8"), "must take at most"),
        (lambda file: [file.create_dataset(n, (2**16,), "f8") for n in "abc"], "must take at most"),
        (lambda file: file.create_dataset("x", (8,), "f8", chunks=(2**24,), maxshape=(None,)), "chunks of no more"),
        (lambda file: file.create_dataset("x", (2**19,), "u1", chunks=(1,)), "at most 65,536 chunks"),
        (lambda file: file.create_dataset("x", data=np.eye(40), compression="lzf"), "stored plainly or by gzip"),
        (lambda file: file.create_dataset("x", data=np.eye(40, dtype=int), scaleoffset=3), "stored plainly or by gzip"),
        (lambda file: file.create_dataset("x", data=np.ones(3, complex)), "numbers or text"),
        (lambda file: file.create_dataset("x", data=np.zeros(3, [("a", "i4"), ("b", "f4")])), "numbers or text"),
        (lambda file: file.create_dataset("x", data=["a", "b"], dtype=h5py.string_dtype()), "numbers or text"),
        (lambda file: file.create_dataset("x", data=file.ref, dtype=h5py.ref_dtype), "numbers or text"),
        (lambda file: file.create_dataset("x", (3,), h5py.vlen_dtype("i4")), "numbers or text"),
        (lambda file: file.__setitem__("x", np.dtype("i4")), "only groups and arrays"),
    ],
)
def test_what_is_refused(build: Callable[[h5py.File], object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        check(build)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("a.mat: ")


def test_a_chunk_that_inflates_beyond_its_size_is_refused() -> None:
    def bomb(file: h5py.File) -> None:
        array = file.create_dataset("x", (1000,), "u1", chunks=(1000,), compression="gzip")
        array.id.write_direct_chunk((0,), zlib.compress(bytes(1900))[:900])
        small = zlib.compress(bytes(10**6))
        array.id.write_direct_chunk((0,), small)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="a chunk must hold 1,000 bytes"):
        check(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_no_named_file_is_opened(tmp_path: Path) -> None:
    """A FIFO would hang whoever opens it."""
    os.mkfifo(tmp_path / "other.h5")
    for number, build in enumerate((external_storage, virtual)):
        path = tmp_path / f"{number}.h5"
        with h5py.File(path, "w") as file:
            if build is virtual:
                layout = h5py.VirtualLayout(shape=(4,), dtype="u1", maxshape=(None,))
                layout[: h5py.h5s.UNLIMITED] = h5py.VirtualSource(
                    str(tmp_path / "other.h5"), "x", shape=(4,), maxshape=(None,), dtype="u1"
                )[: h5py.h5s.UNLIMITED]
                file.create_virtual_dataset("x", layout)
            else:
                file.create_dataset("x", (9,), "u1", external=[(str(tmp_path / "other.h5"), 0, 9)])
        with path.open("rb") as raw, pytest.raises(DataError, match="names other files"):
            open_hdf5(raw, "x", SLICE)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(500)])
def test_what_is_no_hdf5_file_is_one_line(content: bytes) -> None:
    with pytest.raises(DataError, match="must be an HDF5 file") as caught:
        open_hdf5(io.BytesIO(content), "a.h5", SLICE)
    assert "\n" not in str(caught.value)
