"""NIfTI volumes, made here, against readings of their own."""

import gzip
import io
import itertools
import re
import struct
import sys
import tracemalloc
import warnings

import numpy as np
import pytest

from tests.tumorcls.volume_files import SECRETS
from tumorcls.data import nifti
from tumorcls.data.decoding import decode
from tumorcls.data.image_files import is_image
from tumorcls.data.windowing import to_uint8
from tumorcls.errors import DataError

nibabel = pytest.importorskip("nibabel")
CODES = ["".join(code) for axes in itertools.permutations(("LR", "PA", "IS")) for code in itertools.product(*axes)]
DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def volume(values, affine=None, kind=nibabel.Nifti1Image, **fields):
    """Returns a file's bytes, with a patient's name where a header may hold one."""
    image = kind(values, np.eye(4) if affine is None else affine, dtype=values.dtype)
    image.header["descrip"], image.header["intent_name"] = (secret.encode() for secret in SECRETS)
    if kind is nibabel.Nifti1Image:
        image.header["db_name"] = SECRETS[0].encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", " ".join(SECRETS).encode()))
    content = bytearray(image.to_bytes())
    for name, value in fields.items():
        dtype, offset = kind.header_class.template_dtype.fields[name][:2]
        content[offset : offset + dtype.itemsize] = np.asarray(value, dtype.base).tobytes()
    return bytes(content)


def read(content, number=None, where="a.nii"):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return decode(io.BytesIO(content), where, number)


def grey(content, number=None, where="a.nii"):
    pixels = read(content, number, where).pixels
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0]


@pytest.fixture
def body():
    """A value for each place: to the right, to the front, to the head."""
    return np.random.default_rng(0).integers(0, 256, (5, 6, 7)).astype(np.uint8)


def axial(body, number):
    """Reads the axial slice of a body place by place: the nose up, the patient's right on the left."""
    right, front, _ = body.shape
    return np.array([[body[right - 1 - x, front - 1 - y, number - 1] for x in range(right)] for y in range(front)])


def stored(body, code):
    """Returns how a body is stored where the axes of an array go as a code says, and the affine that says so."""
    axes, signs = zip(*(DIRECTIONS[letter] for letter in code), strict=True)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for k, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, k] = sign
    values = np.empty([body.shape[axis] for axis in axes], body.dtype)
    for place in np.ndindex(*values.shape):
        where = [0, 0, 0]
        for k, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
            where[axis] = place[k] if sign > 0 else body.shape[axis] - 1 - place[k]
        values[place] = body[tuple(where)]
    return values, affine


@pytest.mark.parametrize("code", CODES)
def test_every_orientation_shows_the_same_slices(body, code):
    assert len(CODES) == 48
    values, affine = stored(body, code)
    assert "".join(nibabel.aff2axcodes(affine)) == code
    content = volume(values, affine)
    for number in (None, 1, 7):
        decoded = read(content, number)
        assert (decoded.pixels[:, :, 0] == axial(body, number or 4)).all()
        assert (decoded.number, decoded.count) == (number or 4, 7)


def test_an_oblique_volume_lies_as_the_nearest_axes_do(body):
    turn = np.eye(4)
    turn[:2, :2] = [[0.97, -0.24], [0.24, 0.97]]
    assert (grey(volume(body, turn), 3) == axial(body, 3)).all()


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64])
def test_every_type_of_value_is_scaled_as_any_deep_image_is(dtype):
    values = np.random.default_rng(1).integers(-100, 100, (8, 9, 3)).astype(dtype)
    for content in (
        volume(values),
        volume(values, kind=nibabel.Nifti2Image),
        volume(values.astype(values.dtype.newbyteorder())),
    ):
        assert (grey(content, 2) == to_uint8(axial(values, 2))).all()


def test_12_bits_are_as_bright_as_16():
    low = np.random.default_rng(2).integers(0, 4096, (8, 9, 3)).astype(np.uint16)
    assert (grey(volume(low), 2) == grey(volume(low * 16), 2)).all()


def test_slope_and_intercept_are_applied_where_there_are_any(body):
    plain = axial(body, 2)
    assert (grey(volume(body, scl_slope=-2.0, scl_inter=10.0), 2) == to_uint8(plain * -2.0 + 10)).all()
    for slope in (0.0, np.nan, np.inf):
        assert (grey(volume(body, scl_slope=slope, scl_inter=10.0), 2) == plain).all()


def test_nan_is_the_lowest_value_and_nothing_else_is_no_image():
    values = np.random.default_rng(3).normal(size=(8, 9, 3)).astype(np.float32)
    values[2:4, :, 1] = np.nan
    assert (grey(volume(values), 2) == to_uint8(axial(values, 2))).all()
    values[:, :, 1] = np.nan
    assert "must have finite values" in refused(volume(values), 2)


def test_pixels_are_square_whatever_the_voxels_are(body):
    assert grey(volume(body, np.diag([1.0, 2.0, 9.0, 1.0])), 2).shape == (12, 5)
    assert grey(volume(body, np.diag([4.0, 2.0, 9.0, 1.0])), 2).shape == (6, 10)
    for longer, height in ((1.1, 7), (1.02, 6), (1.005, 6)):
        assert grey(volume(body, np.diag([1.0, longer, 9.0, 1.0])), 2).shape == (height, 5)
    wide = volume(body, np.diag([1.0, 2.0, 9.0, 1.0]))
    for most, height in ((60, 12), (59, 6)):  # pixels
        assert nifti.read_nifti(wide, "a.nii", most, 2).pixels.shape == (height, 5, 3)


def test_a_file_of_one_slice_is_shown_in_its_own_plane(body):
    coronal, sagittal = body[:, 3:4, :], body[2:3, :, :]
    assert (grey(volume(coronal)) == coronal[::-1, 0, ::-1].T).all()
    assert (grey(volume(sagittal)) == sagittal[0, ::-1, ::-1].T).all()
    assert (grey(volume(body[:, :, 1])) == axial(body, 2)).all()
    assert (read(volume(coronal)).count, read(volume(coronal)).volume) == (1, None)


def test_a_volume_is_known_by_its_values_and_how_they_lie(body):
    known = {
        read(volume(values)).volume for values in (body, body.reshape(6, 5, 7, order="F"), body.astype(np.int16), body + 1)
    }
    assert len(known) == 4
    assert read(volume(body, np.diag([-1.0, 1, 1, 1]), kind=nibabel.Nifti2Image)).volume == read(volume(body)).volume


def test_what_was_changed_in_a_packed_file_is_noticed(body):
    packed = bytearray(gzip.compress(volume(body), 0))
    packed[-40] ^= 1  # a value
    for number in (None, 2):
        assert "must be a whole NIfTI file" in refused(bytes(packed), number, "a.nii.gz")


def test_a_file_packed_by_gzip_is_read_by_its_content(body):
    content = gzip.compress(volume(body))
    parts = gzip.compress(volume(body)[:400]) + gzip.compress(volume(body)[400:])
    for packed, where in ((content, "a.nii.gz"), (content, "a"), (parts, "a.nii.gz")):
        assert (grey(packed, 2, where) == axial(body, 2)).all()


def test_a_file_is_an_image_by_its_ending(tmp_path):
    for name, known in (("a.nii", True), ("a.NII.GZ", True), ("a.gz", False), ("a.hdr", False)):
        (tmp_path / name).write_bytes(b"x")
        assert is_image(tmp_path / name) == known


def refused(content, number=None, where="a.nii"):
    with pytest.raises(DataError) as caught:
        read(content, number, where)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{where}: ")
    assert not any(secret in text for secret in SECRETS)
    return text


SMALL = np.zeros((4, 4, 4), np.uint8)
GOOD = volume(SMALL)
RGB = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
CASES = {
    "cut in the header": (GOOD[:200], "must be a NIfTI file"),
    "cut after the header": (GOOD[:352], "must be whole; got 0 of its 64 bytes"),
    "cut in the values": (GOOD[:-1], "must be whole; got 63 of its 64 bytes"),
    "another file": (b"\x89PNG\r\n\x1a\n" + bytes(400), "must be a NIfTI file; got another"),
    "text": (b"x" * 500, "must be a NIfTI file; got another"),
    "packed text": (gzip.compress(b"x" * 500), "must be a NIfTI file; got another"),
    "packed and cut": (gzip.compress(GOOD)[:-20], "reading it ended in EOFError"),
    "packed and changed": (gzip.compress(GOOD)[:-8] + bytes(8), "reading it ended in BadGzipFile"),
    "packed by another": (b"\x1f\x8b" + bytes(50), "must be a whole NIfTI file"),
    "header alone": (GOOD[:344] + b"ni1\0" + GOOD[348:], r"this is the header of two. Save it as \.nii"),
    "colours": (volume(RGB), "must hold grey values; got colours or complex ones"),
    "complex": (volume(SMALL.astype(np.complex64)), "must hold grey values; got colours or complex ones"),
    "unknown type": (volume(SMALL, datatype=77), "must be a whole NIfTI file"),
    "four volumes": (volume(np.zeros((4, 4, 4, 4), np.uint8)), r"must hold one volume; got 4\. Save each"),
    "no side": (volume(SMALL, dim=[3, 4, 0, 4, 1, 1, 1, 1]), "its header claims 4x0x4"),
    "a negative side": (volume(SMALL, dim=[3, 4, -4, 4, 1, 1, 1, 1]), "its header claims 4x-4x4"),
    "far too large": (volume(SMALL, dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "must take 1 to 134,217,728 bytes; its header"),
    "too large a slice": (
        volume(SMALL, dim=[3, 4096, 4096, 2, 1, 1, 1, 1]),
        "at most 4,194,304 pixels; its header claims 4096x4096",
    ),
    "too many slices": (volume(SMALL, dim=[3, 4, 4, 30000, 1, 1, 1, 1]), "at most 4,096 slices; got 30,000"),
    "no axes": (volume(SMALL, sform_code=1, srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4), "affine of a NIfTI must say"),
    "an affine of no numbers": (volume(SMALL, sform_code=1, srow_x=[np.nan] * 4), "NIfTI"),
    "values in the header": (volume(SMALL, vox_offset=16.0), "must begin after its header|must be a whole NIfTI file"),
    "values far away": (volume(SMALL, vox_offset=1e9), "must begin after its header; got byte 1,000,000,000"),
    "no offset": (volume(SMALL, vox_offset=np.nan), "NIfTI"),
    "no intercept": (volume(SMALL, scl_slope=1.0, scl_inter=np.inf), "must be a whole NIfTI file"),
    "empty": (b"", "must not be empty"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_volume_is_refused_in_one_line_without_a_word_of_the_header(case):
    content, line = CASES[case]
    assert re.search(line, refused(content))


def test_a_slice_that_is_not_there_is_refused(body):
    for number in (0, -1, 8):
        assert re.search(rf"slice must be from 1 to 7; got {number}\.", refused(volume(body), number))
    assert "slice must be 1: the file holds one picture; got 2" in refused(volume(body[:, :, :1]), 2)


def test_of_what_claims_or_packs_too_much_little_is_unpacked():
    bomb = gzip.compress(GOOD[:352] + bytes(100 * 2**20), compresslevel=1)
    claims = [
        gzip.compress(CASES[case][0] + bytes(2**24)) for case in ("far too large", "too large a slice", "too many slices")
    ]
    tracemalloc.start()
    try:
        assert grey(bomb, None, "a.nii.gz").shape == (4, 4)
        for claim in claims:
            refused(claim, None, "a.nii.gz")
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("seed", range(30))
def test_a_changed_header_is_read_or_refused_in_one_line(seed):
    rng = np.random.default_rng(seed)
    content = bytearray(GOOD)
    for place in rng.integers(0, 344, 12):
        content[place] = rng.integers(0, 256)
    try:
        line = str(decode(io.BytesIO(bytes(content)), "a.nii").count)
    except DataError as error:
        line = str(error)
    assert "\n" not in line


def test_without_nibabel_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    assert "pip install 'tumorcls[medical]'" in refused(GOOD)


def test_only_numbers_of_a_header_are_parsed():
    broken = GOOD[:352] + struct.pack("<ii", -7, 2) + GOOD[360:]
    assert nifti.read_nifti(broken, "a", 100).pixels.shape == (4, 4, 3)
