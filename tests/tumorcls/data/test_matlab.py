from pathlib import Path

import cv2
import h5py
import numpy as np
import numpy.typing as npt
import pytest

from tests.tumorcls.pictures import blob, write
from tumorcls.data.dedup.groups import find_groups
from tumorcls.data.images import read_image
from tumorcls.data.manifest import scan
from tumorcls.data.prepare import PreparedData, prepare
from tumorcls.data.split import SplitSettings
from tumorcls.errors import DataError


def write_mat(path: Path, image: npt.NDArray[np.generic], label: int, patient: str) -> Path:
    """Writes what MATLAB's ``save -v7.3`` does: arrays column by column, text as a column of uint16 codes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        struct = file.create_group("cjdata")
        struct["image"] = image.T
        struct["label"] = np.array([[float(label)]])
        struct["PID"] = np.array([[ord(c)] for c in patient], np.uint16)
        struct["tumorMask"] = np.zeros(image.T.shape, np.uint8)
    with path.open("r+b") as raw:  # MATLAB puts a header of its own before the HDF5 part
        raw.write(b"MATLAB 7.3 MAT-file")
    return path


def test_pixels_label_and_patient_come_out(tmp_path: Path) -> None:
    upright = np.zeros((40, 60), np.int16)
    upright[:10] = 3000  # bright at the top, and wider than high
    upright[:, 50:] = 1500
    write_mat(tmp_path / "brainTumorDataPublic_1-766" / "1.mat", upright, 2, "100360")
    manifest = scan([tmp_path], tmp_path / "cache")
    (entry,) = manifest.entries
    assert (entry.label, entry.patient, entry.source) == ("glioma", "figshare/100360", "figshare")
    assert (entry.width, entry.height, entry.channels) == (60, 40, 1)
    image = read_image(entry.path)
    assert image.shape == (40, 60, 3)
    assert np.all(image[:10, :50] == 255)
    assert np.all(image[10:, :50] == 0)
    assert np.all(np.abs(image[10:, 50:].astype(int) - 128) <= 1)


@pytest.mark.parametrize(("number", "label"), [(1, "meningioma"), (2, "glioma"), (3, "pituitary")])
def test_the_numbers_of_the_data_set(tmp_path: Path, number: int, label: str) -> None:
    write_mat(tmp_path / "1.mat", blob(1).astype(np.int16), number, "MR017260F")
    (entry,) = scan([tmp_path], tmp_path / "cache").entries
    assert (entry.label, entry.patient) == (label, "figshare/MR017260F")


def test_slices_of_a_patient_stay_together(tmp_path: Path) -> None:
    for i in range(40):
        write_mat(tmp_path / f"{i}.mat", blob(i).astype(np.int16) * 9, i // 4 % 3 + 1, f"P{i // 4}")
    data = prepare([tmp_path], SplitSettings(validation=0.2, test=0.2), tmp_path / "cache")
    assert data.manifest.patients == "named"
    for patient in range(10):
        members = [i for i, entry in enumerate(data.manifest.entries) if entry.patient == f"figshare/P{patient}"]
        assert len(members) == 4
        assert len(set(data.groups[members].tolist())) == 1
        assert len(set(data.parts[members].tolist())) == 1


def test_copies_in_a_set_that_names_no_patients_follow_the_patients_of_this_one(tmp_path: Path) -> None:
    """Most of SARTAJ's tumour images are slices of this set, saved anew."""
    patients = range(12)
    for i in range(24):
        slice_ = blob(i, 128)
        write_mat(tmp_path / "figshare" / f"{i}.mat", slice_.astype(np.int16) * 9, 3, f"P{i // 2}")
        smaller = cv2.resize(slice_, (100, 100), interpolation=cv2.INTER_AREA)
        write(tmp_path / "sartaj" / "Training" / "pituitary_tumor" / f"p ({i}).jpg", smaller[:, ::-1], 85)
    sartaj, figshare = (tmp_path / name for name in ("sartaj", "figshare"))
    alone, both = (
        prepare(sources, SplitSettings(validation=0.2, test=0.2), tmp_path / "cache")
        for sources in ([sartaj], [sartaj, figshare])
    )

    def of_patients(data: PreparedData, values: npt.NDArray[np.generic]) -> list[int]:
        found = {entry.path.name: value for entry, value in zip(data.manifest.entries, values.tolist(), strict=True)}
        return [len({found[f"p ({2 * patient + i}).jpg"] for i in range(2)}) for patient in patients]

    assert of_patients(both, both.copies.images) == [2] * 12, "no copies of one another"
    assert of_patients(both, both.groups) == of_patients(both, both.parts) == [1] * 12
    assert of_patients(alone, alone.groups) == [2] * 12
    assert (both.manifest.patients, alone.manifest.patients) == ("named in part", "not named")
    assert 2 in of_patients(alone, alone.parts), "without this set they are strangers"


def test_a_patient_is_one_in_a_folder_and_in_a_table(tmp_path: Path) -> None:
    """Whose id another set's patient may have: such words are two people."""
    write_mat(tmp_path / "figshare" / "1.mat", blob(1).astype(np.int16), 1, "100360")
    write_mat(tmp_path / "more" / "2.mat", blob(2).astype(np.int16), 1, "100360")
    write(tmp_path / "more" / "3.png", blob(3))
    (tmp_path / "table.csv").write_text("path,label,patient\nmore/2.mat,meningioma,\nmore/3.png,meningioma,100360\n")
    manifest = scan([tmp_path / "figshare", tmp_path / "table.csv"], tmp_path / "cache")
    groups = dict(zip((entry.path.name for entry in manifest.entries), find_groups(manifest).split.tolist(), strict=True))
    assert groups["1.mat"] == groups["2.mat"] != groups["3.png"]


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file, an older version"])
def test_other_files_are_listed_as_unreadable(tmp_path: Path, content: bytes) -> None:
    write_mat(tmp_path / "1.mat", blob(1).astype(np.int16), 1, "P")
    (tmp_path / "2.mat").write_bytes(content)
    manifest = scan([tmp_path], tmp_path / "cache")
    assert [bad.path.name for bad in manifest.unreadable] == ["2.mat"]
    assert len(manifest.entries) == 1


def test_a_missing_field_and_an_unknown_label_are_named(tmp_path: Path) -> None:
    write_mat(tmp_path / "1.mat", blob(1).astype(np.int16), 7, "P")
    with pytest.raises(DataError, match=r"label must be one of \[1, 2, 3\]; got 7"):
        read_image(tmp_path / "1.mat")
    with h5py.File(tmp_path / "2.mat", "w") as file:
        file.create_group("cjdata")["image"] = np.zeros((4, 4), np.int16)
    with pytest.raises(DataError, match="cjdata/PID"):
        read_image(tmp_path / "2.mat")
