"""Which DICOM files are slices of one volume, and how a series is called."""

import numpy as np
import pytest

from tests.tumorcls.volume_files import write_dicom
from tumorcls.data.series import Series, gather

pytest.importorskip("pydicom")
EMPTY = np.zeros((4, 4), np.uint8)


@pytest.fixture
def slices(tmp_path):
    """Writes a slice of a series: its name in the folder, which series, and its number."""

    def write_slice(name, series, number, values=EMPTY, **tags):
        path = tmp_path / name
        write_dicom(path, values, SeriesInstanceUID=f"1.2.{series}", InstanceNumber=number, **tags)
        return path

    return write_slice


def test_a_series_is_of_one_folder_in_the_order_of_its_slices(slices, tmp_path):
    a = [slices(f"a/{name}.dcm", 1, number) for name, number in (("x", 3), ("y", 1), ("z", 2))]
    b = [slices(f"b/{name}.dcm", 1, number) for name, number in (("x", 4), ("y", 5))]
    alone = slices("c/x.dcm", 1, 6)
    plain = tmp_path / "a" / "y.png"
    found = list(gather([*a, plain, *b, alone]))
    assert found == [
        Series(str(tmp_path / "a"), (a[1], a[2], a[0])),
        plain,
        Series(str(tmp_path / "b"), (b[0], b[1])),
        alone,
    ]


def test_of_several_in_a_folder_each_has_a_number_by_its_first_file(slices, tmp_path):
    files = {
        name: slices(name, series, number) for name, series, number in (("b", 1, 1), ("c", 2, 2), ("d", 2, 1), ("a", 1, 2))
    }
    listed = [files[name] for name in "cbda"]
    first, second = Series(f"{tmp_path}, series 1 of 2", (files["b"], files["a"])), (files["d"], files["c"])
    assert list(gather(listed)) == [Series(f"{tmp_path}, series 2 of 2", second), first]


def test_files_of_many_slices_each_and_those_of_no_series_stay_as_they_are(slices, tmp_path):
    frames = np.zeros((3, 4, 4), np.uint8)
    many = [slices(f"{name}.dcm", 1, number, frames, NumberOfFrames=3) for number, name in enumerate("ab")]
    nameless = [tmp_path / "c.dcm", tmp_path / "d.dcm"]
    for path in nameless:
        write_dicom(path, EMPTY)
    assert list(gather([*many, *nameless])) == [*many, *nameless]


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(b"damaged")])
def test_a_file_that_cannot_be_read_is_told_when_it_is_and_keeps_no_series_apart(slices, harm):
    files = [slices(f"{name}.dcm", 1, number) for number, name in enumerate("abc")]
    harm(files[1])
    assert [one if one == files[1] else one.files for one in gather(files)] == [(files[0], files[2]), files[1]]
