"""Which slices of volumes are used, and that they stay together: from files to the split, the cache and the tables."""

import csv
import gzip
from collections import defaultdict

import numpy as np
import pytest

from tests.tumorcls.volume_files import DEPTH, head, write_dicom, write_nifti
from tumorcls.cache.arrays import ArrayCache
from tumorcls.data import reading
from tumorcls.data.audit import audit
from tumorcls.data.dataset import image_set
from tumorcls.data.dedup.groups import find_groups
from tumorcls.data.external import find_seen
from tumorcls.data.images import read_image
from tumorcls.data.labels import CLASSES
from tumorcls.data.manifest import Manifest, scan
from tumorcls.data.prepare import prepare, write_split_files
from tumorcls.data.slices import middle
from tumorcls.data.split import SplitSettings
from tumorcls.errors import DataError

pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
FOLDERS = ("glioma", "meningioma", "pituitary", "notumor")


@pytest.fixture
def volumes(tmp_path):
    """Class folders: of each class, six NIfTI, two multi-frame files, and two series of which each lies in a folder."""
    for number, label in enumerate(FOLDERS):
        for k in range(10):
            seed, folder = 100 * number + k, tmp_path / "volumes" / label
            if k < 6:
                write_nifti(folder / f"{k}.nii{'.gz' * (k % 2)}", head(seed))
            elif k < 8:
                write_dicom(folder / f"{k}.dcm", head(seed), NumberOfFrames=DEPTH, PatientID=f"{seed}")
            else:
                for place, one in enumerate(head(seed)):
                    position = [0.0, 0.0, 3.0 * place]
                    tags = {"ImagePositionPatient": position, "ImageOrientationPatient": [1.0, 0, 0, 0, 1, 0]}
                    name = f"{(place * 3) % DEPTH}.dcm"  # in no order
                    write_dicom(folder / f"patient {k}" / name, one, SeriesInstanceUID=f"1.2.{seed}", PatientID="", **tags)
    return tmp_path / "volumes"


def shown(entry):
    return read_image(entry.path, entry.slice_number)[:, :, 0]


def number_of(entry):
    return int(entry.name.split("/")[1].removeprefix("patient ").split(".")[0])


def seed_of(entry):
    return 100 * FOLDERS.index(entry.name.split("/")[0]) + number_of(entry)


def test_the_middle_slice_of_each_volume_is_used(volumes, tmp_path):
    entries = scan([volumes], tmp_path / "c").entries
    assert len(entries) == 40
    for entry in entries:
        assert (shown(entry) == head(seed_of(entry))[2]).all()
        assert entry.slice_number == (3 if number_of(entry) < 8 else None)
        assert entry.volume


def test_of_two_in_the_middle_the_latter_is_used():
    assert [middle(count) for count in range(1, 7)] == [1, 2, 2, 3, 3, 4]


def test_all_slices_that_show_something_are_used_when_asked_for(volumes, tmp_path):
    entries = scan([volumes], tmp_path / "c", "all").entries
    assert len(entries) == 40 * (DEPTH - 1)
    assert len({(entry.name, entry.slice_number) for entry in entries}) == len(entries)
    for entry in entries:
        if entry.slice_number is not None:
            assert (shown(entry) == head(seed_of(entry))[entry.slice_number - 1]).all()
    assert len({entry.volume for entry in entries}) == 40


def test_slices_of_a_volume_stay_together_and_are_no_copies_of_one_another(volumes, tmp_path):
    settings = SplitSettings(duplicates="drop")
    data = prepare([volumes], settings, tmp_path / "c", "all")
    parts = defaultdict(set)
    for entry, part in zip(data.manifest.entries, data.parts.tolist(), strict=True):
        parts[entry.volume].add(part)
    assert {len(found) for found in parts.values()} == {1}
    assert set.union(*parts.values()) == {"train", "validation", "test"}  # none was thrown away as a copy
    report = audit(data, settings)
    assert (report.files.sets, report.pictures.sets, report.straddling) == (0, 0, 0)


def test_a_copy_of_a_volume_is_one(volumes, tmp_path):
    write_nifti(volumes / "glioma" / "again.nii", head(0))
    manifest = scan([volumes], tmp_path / "c", "all")
    groups = find_groups(manifest)
    sizes = np.bincount(groups.images)
    assert sorted(sizes[sizes > 1].tolist()) == [2] * (DEPTH - 1)


def unpacked(path):
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))


def packed_again(path):
    path.with_name("again.nii.gz").write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))


def described_anew(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[148:228] = b"anonymous".ljust(80)
    path.with_name("again.nii").write_bytes(content)


def compressed(path):
    made = pydicom.dcmread(path)
    made.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    made.save_as(path.with_name("again.dcm"))


@pytest.mark.parametrize(
    ("name", "save"), [("1.nii.gz", unpacked), ("1.nii.gz", packed_again), ("1.nii.gz", described_anew), ("6.dcm", compressed)]
)
def test_a_volume_that_is_saved_anew_is_the_same(volumes, tmp_path, name, save):
    whole = {entry.volume for entry in scan([volumes], tmp_path / "c").entries}
    save(volumes / "glioma" / name)
    again = [entry.volume for entry in scan([volumes], tmp_path / "c").entries]
    assert (len(whole), len(again)) == (40, 41)
    assert set(again) == whole


def test_a_second_scan_opens_nothing_whatever_was_asked_for_between(volumes, tmp_path, monkeypatch):
    first = {which: scan([volumes], tmp_path / "c", which).sha256 for which in ("middle", "all")}
    monkeypatch.setattr(reading, "fingerprint", None)
    for which in ("middle", "all", "middle"):
        assert scan([volumes], tmp_path / "c", which).sha256 == first[which]


def test_the_table_that_prepare_writes_gives_the_same_images_and_parts(volumes, tmp_path):
    data = prepare([volumes], SplitSettings(), tmp_path / "c", "all")
    write_split_files(data, SplitSettings(), tmp_path / "out")
    assert Manifest.read(tmp_path / "out" / "manifest.csv").entries == data.manifest.entries

    def parts(prepared):
        places = ((entry.path.resolve(), entry.slice_number) for entry in prepared.manifest.entries)
        return dict(zip(places, prepared.parts.tolist(), strict=True))

    again = prepare([tmp_path / "out" / "images.csv"], SplitSettings(), tmp_path / "c")
    assert parts(again) == parts(data)
    with (tmp_path / "out" / "split.csv").open(newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert "glioma/0.nii#3" in names
    assert len(set(names)) == len(names)


def table(folder, *lines):
    (folder / "images.csv").write_text("\n".join(("path,label,slice", *lines, "")))
    return folder / "images.csv"


def test_a_table_names_slices_or_leaves_them_to_the_setting(volumes, tmp_path):
    lines = ("glioma/0.nii,glioma,2", "glioma/0.nii,glioma,04", "glioma/1.nii.gz,glioma,", "glioma/patient 8,glioma,")
    path = table(volumes, *lines, "glioma/7.dcm,glioma,1")

    def names(which):
        return sorted(entry.title for entry in scan([path], tmp_path / "c", which).entries)

    series = sorted(f"glioma/patient 8/{(place * 3) % DEPTH}.dcm" for place in range(DEPTH))
    named = ["glioma/0.nii#2", "glioma/0.nii#4"]
    assert names("middle") == [*named, "glioma/1.nii.gz#3", "glioma/7.dcm#1", "glioma/patient 8/1.dcm"]
    every = [f"glioma/1.nii.gz#{number}" for number in range(2, DEPTH + 1)]
    assert names("all") == [*named, *every, "glioma/7.dcm#1", *(name for name in series if name[-5] != "0")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("glioma/0.nii,glioma,0", "row 2: slice must be a whole number from 1, or empty; got '0'. Correct it."),
        ("glioma/0.nii,glioma,two", "row 2: slice must be a whole number from 1, or empty; got 'two'. Correct it."),
        (
            "glioma/patient 8,glioma,2",
            "row 2: slice must be empty where path is a folder; got a number. Name the slice's file.",
        ),
        ("glioma/0.nii,glioma,2\nglioma/0.nii,glioma,02", "rows 2, 3: each image must have one row; got 'glioma/0.nii' in"),
        ("glioma/patient 8,glioma,\nglioma/patient 8/3.dcm,glioma,", "rows 2, 3: each image must have one row; got 'glioma/pa"),
        ("glioma/patient 8,glioma,\n./glioma/patient 8/,glioma,", "rows 2, 3: each image must have one row; got 'glioma/pat"),
        ("glioma/0.nii,glioma,2\nglioma/0.nii,glioma,", "rows 2, 3: each image must have one row; got 'glioma/0.nii' in"),
    ],
)
def test_what_is_wrong_with_a_slice_is_told_with_its_rows(volumes, tmp_path, line, message):
    with pytest.raises(DataError) as caught:
        scan([table(volumes, line)], tmp_path / "c")
    assert message in str(caught.value)


def test_a_slice_that_is_not_there_is_listed_as_unreadable(volumes, tmp_path):
    manifest = scan([table(volumes, "glioma/0.nii,glioma,9", "glioma/0.nii,glioma,2")], tmp_path / "c")
    assert len(manifest.entries) == 1
    assert "slice must be from 1 to 5; got 9" in manifest.unreadable[0].reason


def test_decoded_slices_are_kept_as_they_are_read(volumes, tmp_path):
    entries = scan([volumes], tmp_path / "c", "all").entries
    images = image_set(entries, np.arange(len(entries)), CLASSES, 64, ArrayCache(tmp_path / "c")).images
    for entry, image in zip(entries, images[np.arange(len(entries))], strict=True):
        assert (image[:, :, 0] == shown(entry)).all()


def test_other_slices_of_what_was_learned_from_are_no_new_images(volumes, tmp_path):
    settings = SplitSettings()
    training = prepare([volumes], settings, tmp_path / "c")
    found = find_seen(training, scan([volumes], tmp_path / "c", "all"), settings, tmp_path / "c")
    learned = {entry.volume for entry, part in zip(training.manifest.entries, training.parts, strict=True) if part != "test"}
    new = {entry.volume for entry, is_new in zip(found.manifest.entries, found.new, strict=True) if is_new}
    assert new
    assert not new & learned
