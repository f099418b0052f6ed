import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.tumorcls.pictures import blob, colour, png_header, write
from tumorcls.data import decoding
from tumorcls.data.decoding import MAX_PIXELS
from tumorcls.data.images import fit_square, read_image
from tumorcls.errors import DataError


def test_png_comes_out_as_it_went_in(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(read_image(write(tmp_path / "a.png", rgb[:, :, ::-1])), rgb)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = blob(1, 32)
    assert np.array_equal(read_image(write(tmp_path / "a.png", grey)), colour(grey))


def test_sixteen_bits_are_scaled_by_percentiles(tmp_path: Path) -> None:
    deep = (np.arange(1000, dtype=np.uint16).reshape(20, 50)) + 300  # 12-bit values in a 16-bit file
    image = read_image(write(tmp_path / "a.png", deep))
    assert image.dtype == np.uint8
    assert image.min() == 0
    assert image.max() == 255
    assert np.all(np.diff(image[:, :, 0].ravel().astype(int)) >= 0)


def test_transparent_parts_are_black(tmp_path: Path) -> None:
    rgba = np.full((4, 4, 4), 200, np.uint8)
    rgba[:2, :, 3] = 0
    rgba[2:, :, 3] = 255
    image = read_image(write(tmp_path / "a.png", rgba))
    assert np.all(image[:2] == 0)
    assert np.all(image[2:] == 200)


def test_the_orientation_tag_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: shown turned clockwise
    grey = blob(2, 48)
    Image.fromarray(grey).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), colour(np.rot90(grey, -1)))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = write(tmp_path / f"a{suffix}", blob(3, 128))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match="image"):
        read_image(path)


def test_a_jpeg_without_its_end_marker_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg", blob(3, 128))
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match="truncated"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"no picture at all\n", b"\xff\xd8\xff", b"%PDF-1.4 not an image"])
def test_what_is_no_image_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="readable"):
        read_image(tmp_path / "none.jpg")


@pytest.mark.parametrize("side", [4_097, 11_000, 60_000])
def test_a_huge_header_is_refused_before_decoding(tmp_path: Path, side: int) -> None:
    path = png_header(tmp_path, side)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=f"at most {MAX_PIXELS:,} pixels"):
            read_image(path)


def test_an_image_of_many_strips_is_the_same_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (50, 30, 4), dtype=np.uint8)
    path = write(tmp_path / "a.png", rgba)
    whole = read_image(path)
    monkeypatch.setattr(decoding, "_STRIP_PIXELS", 200)
    assert np.array_equal(read_image(path), whole)
    assert abs(whole[40, 20, 0] - rgba[40, 20, 2] * (rgba[40, 20, 3] / 255)) <= 1


def test_fit_square_keeps_the_aspect_ratio_and_pads_with_black() -> None:
    fitted = fit_square(np.full((50, 100, 3), 90, np.uint8), 40)
    assert fitted.shape == (40, 40, 3)
    assert np.all(fitted[10:30] == 90)
    assert np.all(fitted[:10] == 0)
    assert np.all(fitted[30:] == 0)


def test_fit_square_averages_areas() -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.all(fit_square(stripes, 4) == 100)


def test_fit_square_is_what_it_has_always_been() -> None:
    """What changes these must raise `PIXELS_VERSION` of data.decoding, or stored arrays would be taken for the new ones."""
    ramp = np.arange(0, 240, dtype=np.uint8).reshape(8, 10, 3)
    assert fit_square(ramp, 4)[:, 1, 0].tolist() == [36, 115, 193, 0]
    assert fit_square(ramp, 13)[3, ::3, 1].tolist() == [46, 53, 60, 66, 73]


def test_pillow_and_opencv_agree_on_a_jpeg(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg", colour(blob(5, 64)))
    expected = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert expected is not None
    assert np.abs(read_image(path).astype(int) - expected[:, :, ::-1]).max() <= 2
    assert Image.open(io.BytesIO(path.read_bytes())).size == (64, 64)
