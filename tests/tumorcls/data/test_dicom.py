"""DICOM slices, made here or shipped with pydicom, against readings of their own."""

import contextlib
import io
import itertools
import re
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.tumorcls.pictures import blob
from tests.tumorcls.volume_files import ID, NAME, header, saved, write_dicom
from tumorcls.data import dicom
from tumorcls.data.decoding import decode
from tumorcls.data.external import find_seen
from tumorcls.data.fingerprint import fingerprint
from tumorcls.data.image_files import is_image
from tumorcls.data.manifest import scan
from tumorcls.data.prepare import prepare, write_split_files
from tumorcls.data.split import SplitSettings
from tumorcls.data.windowing import to_uint8
from tumorcls.errors import DataError

pydicom = pytest.importorskip("pydicom")


def read(content, where="a.dcm"):
    return decode(io.BytesIO(content), where)


def grey(content):
    pixels = read(content).pixels
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0]


def packed(content, syntax):
    """Returns a file compressed by another program."""
    gdcm = pytest.importorskip("gdcm")
    with tempfile.TemporaryDirectory() as folder:
        plain, compressed = (f"{folder}/{name}.dcm" for name in ("plain", "packed"))
        Path(plain).write_bytes(content)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(plain)
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(compressed)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return Path(compressed).read_bytes()


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(0, 4096, (20, 30)).astype(np.uint16)


def test_12_bits_are_scaled_as_any_deep_image_is(values):
    assert (grey(saved(header(values, BitsStored=12))) == to_uint8(values)).all()


def test_16_bits_signed_and_rescaled(values):
    signed = (values.astype(np.int32) * 15 - 30000).astype(np.int16)
    content = saved(header(signed, RescaleSlope="0.5", RescaleIntercept="-100"))
    assert (grey(content) == to_uint8(signed * 0.5 - 100)).all()


def test_8_bits_without_a_window_are_as_they_are():
    low = np.arange(40, 80, dtype=np.uint8).reshape(4, 10)
    assert (grey(saved(header(low))) == low).all()


def test_the_first_window_is_what_a_person_would_see(values):
    content = saved(header(values, WindowCenter=["1000", "40"], WindowWidth=["800", "80"]))
    low, high = 1000 - 0.5 - 799 / 2, 1000 - 0.5 + 799 / 2  # PS3.3 C.11.2.1.2.1
    wanted = np.clip((values - low) / (high - low), 0, 1) * 255
    assert np.abs(grey(content).astype(float) - wanted).max() <= 0.51


def test_a_window_is_in_rescaled_values(values):
    content = saved(header(values, RescaleSlope="2", RescaleIntercept="-500", WindowCenter="1500", WindowWidth="1000"))
    rescaled = 2.0 * values - 500
    wanted = np.clip((rescaled - (1499.5 - 499.5)) / 999, 0, 1) * 255
    assert np.abs(grey(content).astype(float) - wanted).max() <= 0.51


def test_monochrome1_is_turned_round(values):
    plain = grey(saved(header(values)))
    assert (grey(saved(header(values, PhotometricInterpretation="MONOCHROME1"))) == 255 - plain).all()


def test_padding_is_no_value(values):
    padded = values.astype(np.int16)
    padded[:5] = -2000
    shown = grey(saved(header(padded, PixelPaddingValue=-2000)))
    assert (shown[:5] == 0).all()
    assert (shown[5:] == to_uint8(np.where(padded == -2000, padded[5:].min(), padded))[5:]).all()


@pytest.mark.parametrize("padding", [0, 5000, 65535])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": "2000", "WindowWidth": "1000"}])
def test_what_lies_outside_of_a_picture_is_dark_turned_round_too(values, padding, window):
    values[:5] = padding
    values[5:] = values[5:].clip(1)
    shown = grey(saved(header(values, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=padding, **window)))
    assert (shown[:5] == 0).all()
    assert shown[5:].max() == 255


@pytest.mark.parametrize(("value", "limit"), [(-2000, -1800), (-1800, -2000)])
def test_padding_may_be_a_range(values, value, limit):
    padded = values.astype(np.int16)
    padded[:5] = np.arange(-2000, -1850).reshape(5, 30)
    shown = grey(saved(header(padded, PixelPaddingValue=value, PixelPaddingRangeLimit=limit)))
    assert (shown[:5] == 0).all()
    assert (shown[5:] == to_uint8(np.where(padded < 0, padded[5:].min(), padded))[5:]).all()


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_a_rescaling_that_changes_nothing_changes_nothing(kind):
    low = np.arange(40, 80, dtype=np.uint8).reshape(4, 10)
    plain = header(low, PhotometricInterpretation=kind)
    told = header(low, PhotometricInterpretation=kind, RescaleSlope="1", RescaleIntercept="0")
    assert (grey(saved(told)) == grey(saved(plain))).all()


def test_a_table_of_values_takes_the_place_of_a_rescaling():
    stored = np.arange(16, dtype=np.uint8).reshape(4, 4)
    listed = (np.arange(16)[::-1] ** 2 * 10).astype(np.uint16)
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData, table.ModalityLUTType = [16, 0, 16], listed.tolist(), "US"
    made = header(stored, ModalityLUTSequence=[table])
    made.ModalityLUTSequence[0]["LUTDescriptor"].VR = made.ModalityLUTSequence[0]["LUTData"].VR = "US"
    assert (grey(saved(made)) == to_uint8(listed[stored])).all()


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": "100", "WindowWidth": "0"},
        {"WindowCenter": "100", "WindowWidth": "0.8"},
        {"WindowCenter": "100", "WindowWidth": "-1"},
        {"WindowCenter": "100"},
        {"WindowWidth": "9"},
    ],
)
def test_a_window_that_is_none_is_none(values, window):
    assert (grey(saved(header(values, **window))) == to_uint8(values)).all()


ALIKE = ("RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless")


@pytest.mark.parametrize("kind", ALIKE)
def test_every_lossless_file_of_one_slice_is_that_slice(kind):
    plain, other = (pydicom.data.get_testdata_file(f"MR_small{end}.dcm", download=False) for end in ("", f"_{kind}"))
    if kind.startswith("j"):
        pytest.importorskip("gdcm")
    with open(plain, "rb") as one, open(other, "rb") as two:
        assert (grey(one.read()) == grey(two.read())).all()


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEG2000Lossless", "RLELossless", "JPEGLSLossless"])
def test_what_gdcm_compressed_is_read_as_it_was(values, syntax):
    content = packed(saved(header(values)), syntax)
    assert pydicom.dcmread(io.BytesIO(content)).file_meta.TransferSyntaxUID.is_compressed
    assert (grey(content) == to_uint8(values)).all()


AXES = np.eye(3, dtype=int)
LAID = {(0, 1): (1, 1), (0, 2): (1, -1), (1, 2): (1, -1)}
"""By the axes across and down: to which end of each the columns and the rows go. Left, back, head are the positive ends."""


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3), 2)))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=2)))
def test_slices_lie_as_in_the_public_sets_however_they_were_stored(axes, signs):
    body = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)  # a value for each place (x, y, z)
    across, down = axes
    [through] = {0, 1, 2} - set(axes)
    plane = np.moveaxis(np.take(body, 2, axis=through), 0, -1) if across < down else np.take(body, 2, axis=through)
    stored = plane[:: signs[1], :: signs[0]]
    orientation = [*(signs[0] * AXES[across]), *(signs[1] * AXES[down])]
    shown = grey(saved(header(np.ascontiguousarray(stored), ImageOrientationPatient=[float(x) for x in orientation])))
    first, second = sorted(axes)
    columns, rows = LAID[first, second]
    wanted = np.take(body, 2, axis=through).T[::rows, ::columns]
    assert shown.shape == wanted.shape
    assert (shown == wanted).all()


def test_an_oblique_slice_lies_as_the_nearest_plane():
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
    turned = saved(header(stored, ImageOrientationPatient=[-0.97, 0.2, 0.1, 0.2, 0.97, 0.0]))
    assert (grey(turned) == grey(saved(header(stored)))[:, ::-1]).all()


@pytest.mark.parametrize(
    "orientation",
    [[-1, 0, 0, -1, 0, 0], [1, 0, 0, -1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, 0, 0, 0, 0, 0], [np.nan, 0, 0, 0, -1, 0]],
)
def test_a_slice_whose_orientation_says_nothing_is_shown_as_it_is_stored(orientation):
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert (grey(saved(header(stored, ImageOrientationPatient=[float(x) for x in orientation]))) == stored).all()


@pytest.mark.parametrize(
    ("tags", "position"),
    [
        ({"ImagePositionPatient": [5, 6, 7.5], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, 7.5),  # axial, to the head
        ({"ImagePositionPatient": [5, 6, 7.5], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, -5),  # sagittal, to the right
        ({"ImagePositionPatient": [5, 6, 7.5], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, 6),  # coronal, to the back
        ({"ImagePositionPatient": [5, 6, 7.5], "InstanceNumber": 4}, 4),
        ({"ImagePositionPatient": [5, 6], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "InstanceNumber": 4}, 4),
        ({"ImagePositionPatient": [5, 6, np.nan], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, 0),
        ({"InstanceNumber": 4}, 4),
        ({}, 0),
    ],
)
def test_slices_follow_one_another_across_their_plane_and_else_by_their_numbers(tags, position):
    content = saved(header(np.zeros((4, 4), np.uint8), SeriesInstanceUID="1.2.3", **tags))
    assert dicom.read_place(content, "a.dcm").position == dicom.read_dicom(content, "a.dcm", 16).position == position


@pytest.fixture
def frames():
    return np.random.default_rng(5).integers(0, 4096, (5, 20, 30)).astype(np.uint16)


@pytest.mark.parametrize("syntax", [None, "RLELossless", "JPEG2000Lossless", "JPEGLSLossless"])
def test_each_frame_is_read_as_a_slice_of_its_own(frames, syntax):
    made = header(frames, BitsStored=12, NumberOfFrames=5)
    if syntax == "RLELossless":
        made.compress(pydicom.uid.RLELossless)
        content = saved(made)
    else:
        content = saved(made) if syntax is None else packed(saved(made), syntax)
    for number in (1, 4, 5):
        assert (decode(io.BytesIO(content), "a.dcm", number).pixels[:, :, 0] == to_uint8(frames[number - 1])).all()
    middle = read(content)
    assert (middle.pixels[:, :, 0] == to_uint8(frames[2])).all()
    assert (middle.number, middle.count) == (3, 5)


def test_what_is_said_of_all_frames_and_of_one_is_done(frames):
    def group(**sequences):
        made = pydicom.Dataset()
        for name, tags in sequences.items():
            item = pydicom.Dataset()
            item.update(tags)
            setattr(made, name, [item])
        return made

    made = header(frames, NumberOfFrames=5)
    turned = {"ImageOrientationPatient": [-1.0, 0, 0, 0, 1, 0]}
    made.SharedFunctionalGroupsSequence = [group(PlaneOrientationSequence=turned)]
    made.PerFrameFunctionalGroupsSequence = [
        group(
            PixelValueTransformationSequence={"RescaleSlope": str(k + 1), "RescaleIntercept": "0"},
            FrameVOILUTSequence={"WindowCenter": "2000", "WindowWidth": "1000"},
        )
        for k in range(5)
    ]
    content = saved(made)
    for k in range(5):
        wanted = np.clip((frames[k, :, ::-1] * (k + 1.0) - (1999.5 - 499.5)) / 999, 0, 1) * 255
        assert np.abs(decode(io.BytesIO(content), "a.dcm", k + 1).pixels[:, :, 0].astype(float) - wanted).max() <= 0.51


SIDES = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")


@pytest.mark.parametrize("name", SIDES)
def test_pixels_are_square_whatever_says_that_they_were_not(name):
    stored = np.random.default_rng(6).integers(0, 255, (6, 5)).astype(np.uint8)
    for sides, shape in (((2, 1), (12, 5)), ((2, 4), (6, 10)), ((3, 3), (6, 5)), ((1000, 995), (6, 5)), ((102, 100), (6, 5))):
        assert grey(saved(header(stored, **{name: list(sides)}))).shape == shape
    turned = header(stored, ImageOrientationPatient=[0.0, 1, 0, 1, 0, 0], **{name: [2, 1]})
    assert grey(saved(turned)).shape == (5, 12)  # the rows of the file are the columns of what is shown


def test_a_slice_that_is_shown_otherwise_is_another_image(tmp_path):
    stored = np.random.default_rng(6).integers(0, 255, (20, 20)).astype(np.uint8)
    for name, sides in (("none", {}), ("square", {"PixelSpacing": [2, 2]}), ("oblong", {"PixelSpacing": [2, 1]})):
        (tmp_path / name).write_bytes(saved(header(stored, **sides)))
    none, square, oblong = (fingerprint(tmp_path / name).pixel_sha256 for name in ("none", "square", "oblong"))
    assert none == square != oblong


def test_the_spacing_in_the_body_comes_before_any_other():
    stored, others = np.zeros((6, 5), np.uint8), {name: [2, 1] for name in SIDES[1:]}
    assert grey(saved(header(stored, PixelSpacing=[1, 3], **others))).shape == (6, 15)


def test_each_frame_has_square_pixels_by_what_is_said_of_it(frames):
    def measures(down, across):
        group, item = pydicom.Dataset(), pydicom.Dataset()
        item.PixelSpacing = [down, across]
        group.PixelMeasuresSequence = [item]
        return group

    made = header(frames, NumberOfFrames=5, PixelSpacing=[1, 1])
    made.SharedFunctionalGroupsSequence = [measures(2, 1)]
    assert decode(io.BytesIO(saved(made)), "a.dcm", 1).pixels.shape == (40, 30, 3)
    made.PerFrameFunctionalGroupsSequence = [measures(1, 1 + k) for k in range(5)]
    content = saved(made)
    for k in range(5):
        assert decode(io.BytesIO(content), "a.dcm", 1 + k).pixels.shape == (20, 30 * (1 + k), 3)


@pytest.mark.parametrize(
    "said", ["", "1", "a\\b", "1\\", "1\\2\\3", "0\\1", "-1\\2", "nan\\1", "1e400\\1", "1e-320\\1", "1\\1e9"]
)
def test_a_spacing_that_says_nothing_or_too_much_leaves_a_slice_as_it_is_stored(said):
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
    made = header(stored)
    made.add_new("PixelSpacing", "LO", said)
    content = saved(made)
    place = content.index(b"\x28\x00\x30\x00LO") + 4
    assert (grey(content[:place] + b"DS" + content[place + 2 :]) == stored).all()


@pytest.mark.parametrize(("down", "across"), [(1.8, 0.9), (0.5, 1.25), (1, 1)])
def test_a_slice_is_the_same_picture_from_dicom_and_from_nifti(down, across, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    stored = np.random.default_rng(7).integers(0, 255, (16, 32)).astype(np.uint8)
    axial = {"ImageOrientationPatient": [1.0, 0, 0, 0, 1, 0], "PixelSpacing": [down, across]}
    dicom_shown = grey(saved(header(stored, **axial))).astype(int)
    volume = nibabel.Nifti1Image(stored.T[::-1, ::-1, None], np.diag([across, down, 5.0, 1]))
    nifti_shown = read(volume.to_bytes(), "a.nii").pixels[:, :, 0]
    assert dicom_shown.shape == nifti_shown.shape
    assert np.abs(dicom_shown - nifti_shown).max() <= 1


def test_a_frame_that_is_not_there_is_refused(frames):
    with pytest.raises(DataError, match=r"^a.dcm: slice must be from 1 to 5; got 6. Name another.$"):
        decode(io.BytesIO(saved(header(frames, NumberOfFrames=5))), "a.dcm", 6)


def refused(content, where="a.dcm"):
    with pytest.raises(DataError) as caught:
        read(content, where)
    text = str(caught.value)
    assert "\n" not in text
    assert not any(secret in text for secret in (NAME, "Qvist", ID))
    return text


def without(name):
    made = header(np.zeros((4, 4), np.uint8))
    delattr(made, name)
    return made


def deflated():
    made = header(np.zeros((4, 4), np.uint8))
    made.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    return made


CASES = {
    "frames": (header(np.zeros((3, 4, 4), np.uint8), NumberOfFrames=2**31 - 1), "1 to 4,096 frames; its header claims 2,147"),
    "no frames": (header(np.zeros((3, 4, 4), np.uint8), NumberOfFrames=0), "1 to 4,096 frames; its header claims 0"),
    "fewer frames": (header(np.zeros((3, 4, 4), np.uint8), NumberOfFrames=9), "must be a whole DICOM file|its compression"),
    "colours": (header(np.zeros((4, 4), np.uint8), PhotometricInterpretation="RGB"), "must be grey; got colours"),
    "palette": (header(np.zeros((4, 4), np.uint8), PhotometricInterpretation="PALETTE COLOR"), "must be grey; got colours"),
    "no pixels": (without("PixelData"), "must hold an image; got none"),
    "no rows": (without("Rows"), "must hold an image; got none"),
    "a huge claim": (header(np.zeros((4, 4), np.uint8), Rows=60000, Columns=60000), "its header claims 60000x60000"),
    "nothing in it": (header(np.zeros((4, 4), np.uint8), Rows=0), "its header claims 4x0"),
    "too few pixels": (header(np.zeros((4, 4), np.uint8), Rows=400), "must be a whole DICOM file|its compression must be"),
    "no bits": (without("BitsAllocated"), "must be a whole DICOM file|its compression must be"),
    "deflated": (deflated(), "must not be deflated"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_slice_is_refused_in_one_line_without_a_word_of_the_header(case):
    made, line = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = saved(made)
    assert re.search(line, refused(content))


@pytest.mark.parametrize("share", np.linspace(0.05, 0.99, 12))
def test_a_truncated_file_is_refused(share):
    content = saved(header(np.random.default_rng(1).integers(0, 255, (40, 40)).astype(np.uint8)))
    assert refused(content[: int(len(content) * share)])


@pytest.mark.parametrize("name", ["SpecificCharacterSet", "InstanceNumber", "RescaleSlope"])
def test_no_warning_quotes_a_header(name):
    made = header(np.zeros((4, 4), np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is written breaks the rules
        made.add(pydicom.DataElement(name, "LO", NAME))
        content = saved(made)
    with warnings.catch_warnings(record=True) as told, contextlib.suppress(DataError):
        warnings.simplefilter("always")
        dicom.read_place(content, "a.dcm")
        read(content)
    assert told == []


def test_another_file_with_its_ending_is_refused():
    assert "must be a DICOM file" in refused(b"\x89PNG\r\n\x1a\n" + bytes(200))


def test_without_pydicom_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert "pip install 'tumorcls[medical]'" in refused(bytes(128) + b"DICM" + bytes(64))


def test_what_pydicom_itself_fails_to_import_is_not_told_as_pydicom_missing(monkeypatch, values):
    monkeypatch.setattr(dicom, "_shown", lambda *_: __import__("a_decoder_that_is_not_there"))
    assert "reading it ended in ModuleNotFoundError" in refused(saved(header(values)))


def test_a_file_is_known_by_its_first_bytes_where_it_has_no_ending(tmp_path, values):
    for name in ("IM0001", "1.2.840.113619.2.1"):
        (tmp_path / name).write_bytes(saved(header(values)))
        assert is_image(tmp_path / name)
    (tmp_path / "IM0002").write_bytes(bytes(200))
    assert not is_image(tmp_path / "IM0002")


def test_slices_of_a_patient_stay_together_and_nothing_of_a_header_is_kept(tmp_path):
    rng = np.random.default_rng(3)
    for label in ("glioma", "meningioma", "pituitary", "notumor"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(12):
            small = rng.integers(0, 255, (8, 8)).astype(np.uint8)
            made = header(cv2.resize(small, (64, 64)), PatientID=f"{ID}-{label}-{number // 3}")
            (tmp_path / "data" / label / f"{number}.dcm").write_bytes(saved(made))
    cache = tmp_path / "cache"
    manifest = scan([tmp_path / "data"], cache)
    patients = Counter(entry.patient for entry in manifest.entries)
    assert set(patients.values()) == {3}
    assert all(len(patient) == 24 for patient in patients)
    prepared = prepare([tmp_path / "data"], SplitSettings(), cache)
    parts = {}
    for entry, part in zip(prepared.manifest.entries, prepared.parts, strict=True):
        parts.setdefault(entry.patient, set()).add(part)
    assert {len(found) for found in parts.values()} == {1}
    for file in cache.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not any(secret.encode() in content for secret in (NAME, "Qvist", ID)), file


@pytest.fixture
def two_years(tmp_path):
    """Two folders of one hospital, in which most patients are again."""
    rng = np.random.default_rng(4)
    folders = [tmp_path / year for year in ("2023", "2024")]
    for year, folder in enumerate(folders):
        for label in ("glioma", "meningioma", "pituitary", "notumor"):
            (folder / label).mkdir(parents=True)
            for number in range(8):
                image = cv2.resize(rng.integers(0, 255, (8, 8)).astype(np.uint8), (64, 64))
                made = header(image, PatientID=f"{label}-{number + 2 * year}")
                (folder / label / f"{number}.dcm").write_bytes(saved(made))
    return folders


@pytest.mark.parametrize("same_name", [False, True])
def test_a_patient_of_two_folders_is_one(two_years, tmp_path, same_name):
    if same_name:
        two_years = [folder.rename(folder.parent / f"of {folder.name}") / "scans" for folder in two_years]
        for folder in two_years:
            inside = [*folder.parent.iterdir()]
            folder.mkdir()
            for child in inside:
                child.rename(folder / child.name)
    data = prepare(two_years, SplitSettings(), tmp_path / "cache")
    parts = {}
    for entry, part in zip(data.manifest.entries, data.parts, strict=True):
        parts.setdefault(entry.patient, set()).add(part)
    assert len(parts) == 4 * 10
    assert {len(found) for found in parts.values()} == {1}


@pytest.mark.parametrize("as_table", [False, True])
def test_a_patient_who_was_learned_from_is_known_in_another_folder(two_years, tmp_path, as_table):
    one, other = two_years
    own = prepare([one], SplitSettings(), tmp_path / "cache")
    if as_table:
        rows = [f"2024/{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(other.rglob("*.dcm"))]
        other = tmp_path / "other.csv"
        other.write_text("\n".join(["path,label", *rows]))
    learned = {
        entry.patient for entry, part in zip(own.manifest.entries, own.parts, strict=True) if part in ("train", "validation")
    }
    found = find_seen(own, scan([other], tmp_path / "cache"), SplitSettings(), tmp_path / "cache")
    expected = np.array([entry.patient in learned for entry in found.manifest.entries])
    assert expected.sum() > 10
    assert (found.seen_patient == expected).all()


@pytest.fixture
def named(tmp_path):
    """Two scans each of 24 patients, whom the files name, and a table that names who is asked for in words of its own."""
    labels = ("glioma", "meningioma", "no_tumor", "pituitary")

    def write_table(who, scans=(0, 1), name="table"):
        lines = ["path,label,patient"]
        for number in range(24):
            for scan_number in scans:
                file = tmp_path / f"{number}-{scan_number}.dcm"
                write_dicom(file, blob(10 * number + scan_number), PatientID=f"{ID}-{number}")
                lines.append(f"{file.name},{labels[number % 4]},{who(number, scan_number)}")
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
        return tmp_path / f"{name}.csv"

    return write_table


def people(data):
    """Returns how many files each group has, in ascending order."""
    return sorted(Counter(data.groups.tolist()).values())


def test_a_patient_whom_a_table_names_in_some_rows_is_one_with_whom_the_file_names(named, tmp_path):
    some_rows = named(lambda number, scan_number: "" if scan_number else f"P-{number}")
    assert people(prepare([some_rows], SplitSettings(), tmp_path / "cache")) == [2] * 24
    tables = [
        named(lambda number, _: f"P-{number}", [0], "all_named"),
        named(lambda *_: "", [1], "none_named"),
    ]
    both = prepare(tables, SplitSettings(), tmp_path / "cache")
    assert people(both) == [2] * 24
    write_split_files(both, SplitSettings(), tmp_path / "out")
    again = prepare([tmp_path / "out" / "images.csv"], SplitSettings(), tmp_path / "cache")
    assert people(again) == [2] * 24
    own, other = prepare(tables[:1], SplitSettings(), tmp_path / "cache"), scan(tables[1:], tmp_path / "cache")
    learned = {
        entry.name[:-5] for entry, part in zip(own.manifest.entries, own.parts, strict=True) if part in ("train", "validation")
    }
    found = find_seen(own, other, SplitSettings(), tmp_path / "cache")
    assert 0 < len(learned) < 24
    assert {other.entries[i].name[:-5] for i in np.flatnonzero(found.seen_patient)} == learned


def test_patients_whose_ids_are_alike_are_two_where_a_table_names_each(named, tmp_path):
    by_hospital = named(lambda number, scan_number: f"hospital {scan_number}: {number}")
    assert people(prepare([by_hospital], SplitSettings(), tmp_path / "cache")) == [1] * 48


def test_what_nothing_installed_could_read_is_read_once_something_can(two_years, tmp_path, monkeypatch):
    (tmp_path / "2023" / "glioma" / "plain.png").write_bytes(cv2.imencode(".png", np.eye(64, dtype=np.uint8) * 255)[1])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pydicom", None)
        assert len(scan([two_years[0]], tmp_path / "cache").entries) == 1
    assert len(scan([two_years[0]], tmp_path / "cache").entries) == 33


def test_so_is_what_memory_was_too_short_for(two_years, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("pydicom.pixels.pixel_array", fail)
        with pytest.raises(DataError, match="MemoryError"):
            scan([two_years[0]], tmp_path / "cache")
    assert len(scan([two_years[0]], tmp_path / "cache").entries) == 32


def test_who_has_no_id_is_nobody(values):
    assert read(saved(header(values, PatientID=""))).patient is None
    one, other = (read(saved(header(values, IssuerOfPatientID=issuer))).patient for issuer in ("A", "B"))
    assert one != other
    assert dicom.read_dicom(saved(header(values)), "a", 10_000).patient == read(saved(header(values))).patient


def test_where_there_is_no_id_a_study_is_of_one_patient(values):
    def who(**tags):
        return read(saved(header(values, **tags))).patient

    one, other = (who(PatientID="", StudyInstanceUID=f"1.2.{number}") for number in (1, 2))
    assert one == who(PatientID=" ", StudyInstanceUID="1.2.1") is not None
    assert one != other
    assert who(PatientID="A", StudyInstanceUID="1.2.1") == who(PatientID=" A ", StudyInstanceUID="1.2.2") != one
