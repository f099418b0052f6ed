import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence

from tests.tumorcls.pictures import png_header
from tests.tumorcls.volume_files import ID, NAME, write_dicom, write_nifti
from tumorcls import DISCLAIMER
from tumorcls.data.images import fit_square, read_image
from tumorcls.data.labels import BINARY_CLASSES
from tumorcls.data.labels import CLASSES as FOUR
from tumorcls.data.manifest import scan
from tumorcls.errors import DataError, ModelError
from tumorcls.evaluation.record import BOTH_PARTS
from tumorcls.inference.activation_map import Explained
from tumorcls.inference.figure import draw_answer
from tumorcls.inference.pictures import find_images, find_volumes
from tumorcls.inference.predict import (
    NO_SLICE,
    UNCERTAIN,
    Judgement,
    Prediction,
    answer_files,
    answer_images,
    as_csv,
    as_json,
    as_text,
    limits_of,
    predict_files,
    promise_of,
)
from tumorcls.model.conformal import ClassSets
from tumorcls.model.gate import PICTURE, fit_gate
from tumorcls.reports.limits import map_grid, other_diseases

CLASSES = ("dark", "bright")


class ByBrightness:
    """Stands for a model: how bright an image is decides, and its batches are remembered."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def explain(self, images):
        self.batches.append(len(images))
        bright = (images.mean(axis=(1, 2, 3)) / 255).astype(np.float32)
        looked_at = np.column_stack([bright, images.std(axis=(1, 2, 3)) / 255, np.zeros((len(images), PICTURE))])
        return Explained(np.column_stack([1 - bright, bright]), np.ones((len(images), 2, 2), np.float32), looked_at)


def write(path, value, shape=(20, 20, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.full(shape, value, np.uint8))[1].tobytes())
    return path


@pytest.fixture
def answers(tmp_path):
    paths = [
        write(tmp_path / "b.png", 230),
        tmp_path / "none.png",
        write(tmp_path / "d.png", 10),
        write(tmp_path / "m.png", 140),
    ]
    return list(predict_files(ByBrightness(), paths, CLASSES, 16, Judgement(0.7)))


def test_answers_come_in_order_and_a_bad_file_stops_nothing(answers):
    assert [one.answer for one in answers] == ["bright", None, "dark", UNCERTAIN]
    assert answers[1].probabilities == {}
    assert "none.png" in answers[1].error
    assert answers[0].probabilities["bright"] == pytest.approx(230 / 255)
    assert answers[3].image.shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("asked", "rule"),
    [({"slices": "al"}, "slices: must be one of middle, all; got 'al'"), ({"threshold": 50}, "threshold: must be in")],
)
def test_a_setting_that_means_nothing_is_refused_before_anything_is_read(asked, rule):
    with pytest.raises(ValueError, match=rule):
        answer_files(None, "none-such.png", **asked)


@pytest.fixture
def model(monkeypatch):
    """Stands for a saved model of 16 pixels that judges by brightness."""
    monkeypatch.setattr("tumorcls.inference.activation_map.explainer_of", lambda network, mirror_average: network)
    calibration = SimpleNamespace(threshold=0.7, sets=ClassSets(0.9, 0.42))
    config = SimpleNamespace(image_size=16, mirror_average=False)
    return SimpleNamespace(network=ByBrightness(), classes=CLASSES, config=config, calibration=calibration, gate=None)


def test_paths_may_come_one_by_one_or_in_a_list(model, tmp_path):
    first, second = write(tmp_path / "a.png", 230), write(tmp_path / "b.png", 10)
    for asked in ([first, second], [[str(first), second]], [(path for path in (first, second))], [first, [second]]):
        assert [(one.path, one.answer) for one in answer_files(model, *asked)] == [(first, "bright"), (second, "dark")]


def test_images_in_memory_are_answered_as_their_files_are(model, tmp_path):
    values, shapes = (230, 10, 140), ((20, 20, 3), (16, 16, 3), (9, 31, 3))
    paths = [write(tmp_path / f"{value}.png", value, shape) for value, shape in zip(values, shapes, strict=True)]
    files, images = list(answer_files(model, paths)), answer_images(model, [read_image(path) for path in paths])
    assert [one.title for one in images] == ["images[0]", "images[1]", "images[2]"]
    for ours, of_file in zip(images, files, strict=True):
        np.testing.assert_array_equal(ours.image, of_file.image)
        assert (ours.answer, ours.probabilities, ours.class_set) == (of_file.answer, of_file.probabilities, of_file.class_set)
    model.gate = SimpleNamespace(passes=lambda features: np.zeros(len(features), bool))
    array = np.stack([np.full((20, 20, 3), value, np.uint8) for value in values])
    assert {one.answer for one in answer_images(model, array)} == {NO_SLICE}
    assert [one.answer for one in answer_images(model, array, threshold=0.0, gate=False)] == ["bright", "dark", "bright"]


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((20, 20, 3), np.uint8),
        np.zeros((1, 20, 20, 3), np.float32),
        [np.zeros((20, 20), np.uint8)],
        [np.zeros((0, 9, 3), np.uint8)],
    ],
)
def test_an_array_that_is_no_images_is_refused(model, images):
    with pytest.raises(ModelError, match=re.escape("images[0]: must be uint8 in [0, 255] of shape (height, width, 3); got")):
        answer_images(model, images)


def test_batches_are_bounded_and_empty_ones_never_run(tmp_path):
    model = ByBrightness()
    good = write(tmp_path / "a.png", 200)
    paths = [good] * 40 + [tmp_path / "none.png"] * 40
    found = list(predict_files(model, paths, CLASSES, 16, Judgement(0.0)))
    assert len(found) == 80
    assert model.batches == [32, 8]
    model.batches.clear()
    list(predict_files(model, [good] * 9, CLASSES, 150, Judgement(0.0)))
    assert model.batches == [4, 4, 1], "large images come in smaller batches"


def test_folders_give_their_images_sorted_and_files_pass_as_they_are(tmp_path):
    inside = [write(tmp_path / "folder" / name, 1) for name in ("z.png", "deep/a.PNG")]
    (tmp_path / "folder" / "notes.txt").write_text("no image")
    assert list(find_images([Path("x.dcm"), tmp_path / "folder"])) == [Path("x.dcm"), inside[1], inside[0]]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="must hold image files"):
        list(find_images([tmp_path / "empty"]))


def test_every_form_says_the_same_and_what_it_is_not_for(answers):
    text = as_text(answers, CLASSES)
    assert f"{UNCERTAIN}  (bright 0.549  dark 0.451)" in text
    table = list(csv.DictReader(io.StringIO(as_csv(answers, CLASSES))))
    document = json.loads(as_json(answers, CLASSES))
    assert [row["answer"] for row in table] == ["bright", "", "dark", UNCERTAIN]
    assert [one["answer"] or "" for one in document["predictions"]] == [row["answer"] for row in table]
    assert float(table[2]["dark"]) == pytest.approx(document["predictions"][2]["probabilities"]["dark"], abs=1e-6)
    assert table[1]["error"] == document["predictions"][1]["error"] != ""
    assert f"\n{DISCLAIMER}\nThe model knows only dark and bright: an abscess, a stroke" in text
    assert (document["note"], document["limits"]) == (DISCLAIMER, limits_of(answers, CLASSES))
    assert table[0]["note"] == " ".join([DISCLAIMER, *limits_of(answers, CLASSES)])


def test_what_becomes_of_another_disease_is_said_by_the_classes():
    """A metastasis is a tumour: a model of two classes may call it one."""
    four, two = other_diseases(FOUR), other_diseases(BINARY_CLASSES)
    assert four.startswith(
        "The model knows only glioma, meningioma, no tumor and pituitary: a metastasis, an abscess, a stroke, "
    )
    assert two.startswith("The model knows only no tumor and tumor: an abscess, a stroke, ")


def test_nothing_is_certain_for_people_that_is_not_so_for_programs(answers):
    sure = replace(answers[0], probabilities={"dark": 0.0004, "bright": 0.9996})
    assert "bright  (bright >0.999  dark <0.001)" in as_text([sure], CLASSES)
    assert "bright,0.000400,0.999600," in as_csv([sure], CLASSES)
    assert json.loads(as_json([sure], CLASSES))["predictions"][0]["probabilities"] == sure.probabilities


def test_sets_name_what_is_not_ruled_out(tmp_path):
    paths = [write(tmp_path / "m.png", 140), write(tmp_path / "d.png", 100), tmp_path / "none.png"]
    found = list(predict_files(ByBrightness(), paths, CLASSES, 16, Judgement(0.0, ClassSets(0.9, 0.42))))
    assert [one.class_set for one in found] == [("bright", "dark"), ("dark",), None]
    text, table = as_text(found, CLASSES), list(csv.DictReader(io.StringIO(as_csv(found, CLASSES))))
    assert "  not ruled out: bright, dark\n" in text
    assert [row["set"] for row in table] == ["bright dark", "dark", ""]
    assert [one["set"] for one in json.loads(as_json(found, CLASSES))["predictions"]] == [["bright", "dark"], ["dark"], None]
    assert DISCLAIMER in text
    own, final = (
        SimpleNamespace(calibration=SimpleNamespace(sets=ClassSets(0.95, 0.1)), provenance={"trained_on": parts})
        for parts in ("training images", BOTH_PARTS)
    )
    told = as_text(found, CLASSES, promise_of(own))
    assert "are made so that 95% of them hold the true class, over images like the validation images. That is no prob" in told
    assert "of this one, which has trained on them, nothing is promised. That is no prob" in as_text(
        found, CLASSES, promise_of(final)
    )
    assert "hold the true class" not in as_text([replace(one, class_set=None) for one in found], CLASSES, promise_of(own))
    assert promise_of(SimpleNamespace(calibration=SimpleNamespace(sets=None), provenance={})) == ""


@pytest.mark.parametrize(("threshold", "answer"), [(0.0, "bright"), (0.7, UNCERTAIN)])
def test_no_answer_is_ruled_out_beside_itself(tmp_path, threshold, answer):
    judgement = Judgement(threshold, ClassSets(0.9, 0.825))
    [found] = predict_files(ByBrightness(), [write(tmp_path / "m.png", 140)], CLASSES, 16, judgement)
    assert found.answer == answer
    assert found.class_set == ("bright",)
    assert "not ruled out: bright\n" in as_text([found], CLASSES)


def test_the_gate_stops_what_is_no_slice(tmp_path):
    generator = np.random.default_rng(0)
    known = np.column_stack([generator.normal((0.5, 0.0), 0.1, (300, 2)), np.zeros((300, PICTURE))])
    gate = fit_gate(known[:200], known[200:])
    noise = generator.integers(0, 2, (20, 20, 3)).astype(np.uint8) * 255
    (tmp_path / "noise.png").write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    paths = [write(tmp_path / "m.png", 140), tmp_path / "noise.png"]
    found = list(predict_files(ByBrightness(), paths, CLASSES, 20, Judgement(0.0, ClassSets(0.9, 0.42), gate)))
    assert [one.answer for one in found] == ["bright", NO_SLICE]
    assert [one.class_set for one in found] == [("bright", "dark"), None]
    assert as_text(found, CLASSES).count("not ruled out") == 1
    table = list(csv.DictReader(io.StringIO(as_csv(found, CLASSES))))
    assert [row["answer"] for row in table] == ["bright", NO_SLICE]
    said, stopped = as_text(found, CLASSES).splitlines()[:2]
    assert "(bright 0.5" in said
    assert stopped == f"{tmp_path / 'noise.png'}: {NO_SLICE}", "what a class is worth here means nothing to a person"
    assert float(table[1]["dark"]) > 0, "programs get it"
    assert draw_answer(found[1]) != draw_answer(found[0])


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("noise.png", np.random.default_rng(0).integers(0, 256, (300, 200, 3)).astype(np.uint8)),
        ("black.png", np.zeros((50, 50), np.uint8)),
        ("dot.png", np.zeros((1, 1), np.uint8)),
        ("deep.png", np.random.default_rng(0).integers(0, 65536, (60, 60)).astype(np.uint16)),
        ("clear.png", np.random.default_rng(0).integers(0, 256, (60, 60, 4)).astype(np.uint8)),
    ],
)
def test_what_is_no_slice_gets_an_answer(tmp_path, name, image):
    (tmp_path / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
    [found] = predict_files(ByBrightness(), [tmp_path / name], CLASSES, 16, Judgement(0.0))
    assert found.answer in CLASSES


@pytest.mark.parametrize("form", ["gif", "png", "webp"])
def test_an_animation_is_its_first_picture(tmp_path, form):
    frames = [Image.new("RGB", (40, 30), (value,) * 3) for value in (250, 10, 10)]
    path = tmp_path / f"a.{form}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, lossless=True)
    with Image.open(path) as animation:
        assert ImageSequence.all_frames(animation)[1:], "there are more"
    [found] = predict_files(ByBrightness(), [path], CLASSES, 16, Judgement(0.0))
    assert found.image.max() >= 240


def test_what_is_no_image_is_a_line_each(tmp_path):
    whole = write(tmp_path / "whole.png", 90).read_bytes()
    contents = {"cut.png": whole[: len(whole) // 2], "text.jpg": b"no picture", "empty.png": b"", "half.gif": b"GIF89a\x01"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.png").mkdir()
    paths = [*(tmp_path / name for name in contents), tmp_path / "folder.png", Path("/dev/zero"), png_header(tmp_path, 20_000)]
    found = list(predict_files(ByBrightness(), paths, CLASSES, 16, Judgement(0.0)))
    assert [one.answer for one in found] == [None] * len(paths)
    assert all(one.error.startswith(f"{one.path}: ") and "\n" not in one.error for one in found)


def test_the_picture_of_an_answer_shows_image_and_map(answers):
    sheet = cv2.imdecode(np.frombuffer(draw_answer(answers[0]), np.uint8), cv2.IMREAD_COLOR)
    left, right = sheet[150, 100], sheet[150, 500]
    assert tuple(left) == (230, 230, 230)
    assert tuple(right) != (230, 230, 230)
    of_volume = cv2.imdecode(np.frombuffer(draw_answer(replace(answers[0], slice_number=3, slices=5)), np.uint8), 0)
    assert of_volume.shape[0] > sheet.shape[0], "a line says that another slice may show a tumour"


def test_a_map_says_how_coarse_it_is():
    assert map_grid(5, 150).startswith("The map has 5 by 5 cells, each 30 of the picture's 150 pixels wide, ")


@pytest.mark.parametrize("name", ["=1+1.png", "+x.png", "-x.png", "@x.png", "\tx.png"])
def test_no_name_of_a_file_is_a_formula(name):
    answer = Prediction(Path(name), None, {}, error=f"{name}: cannot be read")
    [row] = csv.DictReader(io.StringIO(as_csv([answer], CLASSES)))
    assert not row["file"].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert not row["error"].startswith(("=", "+", "-", "@", "\t", "\r"))


def test_of_a_volume_the_slice_in_the_middle_is_answered_or_all_that_show_something(tmp_path):
    pytest.importorskip("nibabel")
    slices = np.zeros((5, 20, 20), np.uint8)
    slices[1:] = np.array([50, 100, 150, 200], np.uint8)[:, None, None]
    slices[1:, 0, 0] = 0
    write_nifti(tmp_path / "head.nii.gz", slices)
    paths = [tmp_path / "head.nii.gz", write(tmp_path / "b.png", 230)]

    def ask(which):
        found = list(predict_files(ByBrightness(), paths, CLASSES, 20, Judgement(0.0), which))
        rows = [row["file"].rpartition("/")[2] for row in csv.DictReader(io.StringIO(as_csv(found, CLASSES)))]
        numbers = [(one["slice"], one["slices"]) for one in json.loads(as_json(found, CLASSES))["predictions"]]
        return found, rows, numbers

    found, rows, numbers = ask("middle")
    assert rows == ["head.nii.gz#3", "b.png"]
    assert numbers == [(3, 5), (None, 1)]
    assert "head.nii.gz#3 of 5: dark" in as_text(found, CLASSES)
    assert "slices:" not in as_text(found, CLASSES)
    assert as_text(found, CLASSES).endswith("\nOf a volume one slice was read: a tumour may lie in another.\n")
    assert "Of a volume" not in as_text(found[1:], CLASSES)
    found, rows, numbers = ask("all")
    assert f"head.nii.gz: 4 of 5 slices: dark 2, bright 2\n{tmp_path}/b.png: bright" in as_text(found, CLASSES)
    assert as_text(found, CLASSES).endswith("\nA count of slices is no answer for a patient.\n")
    assert rows == ["head.nii.gz#2", "head.nii.gz#3", "head.nii.gz#4", "head.nii.gz#5", "b.png"]
    assert [one.image.max() for one in found] == [50, 100, 150, 200, 230]
    assert numbers == [(2, 5), (3, 5), (4, 5), (5, 5), (None, 1)]


VALUES = (0, 50, 100, 150, 200)


def write_series(folder, series="1.2.3", names="cadbe", **tags):
    """Writes slices of one series, the darkest lowest, under names in another order; all but the first show something."""
    for place, (value, name) in enumerate(zip(VALUES, names, strict=True)):
        image = np.full((20, 20), value, np.uint8)
        image[0, 0] = 0
        where = {"ImagePositionPatient": [0, 0, 3.0 * place], "ImageOrientationPatient": [1.0, 0, 0, 0, 1, 0]}
        write_dicom(folder / f"{name}.dcm", image, SeriesInstanceUID=series, **where, **tags)


def ask_folder(folder, which="middle"):
    pytest.importorskip("pydicom")
    return list(predict_files(ByBrightness(), find_volumes([folder]), CLASSES, 20, Judgement(0.0), which))


def test_dicom_files_of_a_series_in_a_folder_are_one_volume(tmp_path):
    write_series(tmp_path / "scan")
    [middle] = ask_folder(tmp_path)
    assert (middle.path.name, middle.slice_number, middle.slices, middle.image.max()) == ("d.dcm", 3, 5, 100)
    assert as_text([middle], CLASSES).startswith(f"{tmp_path}/scan/d.dcm, slice 3 of 5: dark  (")
    every = ask_folder(tmp_path, "all")
    assert [(one.path.name, one.slice_number, one.image.max()) for one in every] == [
        *(("a.dcm", 2, 50), ("d.dcm", 3, 100), ("b.dcm", 4, 150), ("e.dcm", 5, 200))
    ]
    assert f"\n{tmp_path}/scan: 4 of 5 slices: dark 2, bright 2\n" in as_text(every, CLASSES)
    document = json.loads(as_json(every, CLASSES))
    assert document["volumes"] == [{"volume": f"{tmp_path}/scan", "answers": {"dark": 2, "bright": 2}}]
    assert [one["slice"] for one in document["predictions"]] == [2, 3, 4, 5]
    assert [row["file"] for row in csv.DictReader(io.StringIO(as_csv(every, CLASSES)))] == [str(one.path) for one in every]


def test_a_series_is_read_as_training_reads_it(tmp_path):
    """The same slices, in the same order, of the same pixels."""
    write_series(tmp_path / "data" / "glioma" / "scan")
    for which in ("middle", "all"):
        entries = scan([tmp_path / "data"], tmp_path / "cache", which).entries
        learned = {entry.path: fit_square(read_image(entry.path), 20) for entry in entries}
        answered = {one.path: one.image for one in ask_folder(tmp_path / "data", which)}
        assert learned.keys() == answered.keys()
        assert all((learned[path] == answered[path]).all() for path in learned)


def test_series_of_one_folder_are_told_apart_and_what_is_alone_stays_alone(tmp_path):
    write_series(tmp_path, "1.2.3", "acegi", SeriesDescription=NAME)
    write_series(tmp_path, "1.2.4", "bdfhj", SeriesDescription=NAME)
    write_dicom(tmp_path / "alone.dcm", np.full((20, 20), 9, np.uint8), SeriesInstanceUID="1.2.5")
    write_dicom(tmp_path / "frames.dcm", np.full((2, 20, 20), 9, np.uint8), SeriesInstanceUID="1.2.3", NumberOfFrames=2)
    for name in ("x", "y"):  # of no series
        write_dicom(tmp_path / f"{name}.dcm", np.full((20, 20), 9, np.uint8))
    write(tmp_path / "b.png", 230)
    found = ask_folder(tmp_path)
    names = ["e.dcm", "alone.dcm", "f.dcm", "b.png", "frames.dcm", "x.dcm", "y.dcm"]
    assert [one.path.name for one in found] == names
    assert [one.volume for one in found[:4]] == [f"{tmp_path}, series 1 of 2", None, f"{tmp_path}, series 2 of 2", None]
    assert [one.slices for one in found] == [5, 1, 5, 1, 2, 1, 1]
    assert not any(secret in form(found, CLASSES) for form in (as_text, as_csv, as_json) for secret in (NAME, ID, "1.2.3"))


def test_files_that_are_named_one_by_one_are_answered_one_by_one(tmp_path):
    write_series(tmp_path)
    assert list(find_volumes(sorted(tmp_path.iterdir()))) == sorted(tmp_path.iterdir())


def test_a_slice_that_cannot_be_read_is_told_and_another_one_is_the_middle(tmp_path):
    write_series(tmp_path)
    (tmp_path / "d.dcm").write_bytes((tmp_path / "d.dcm").read_bytes()[:-100])
    broken, answered = ask_folder(tmp_path)
    assert (broken.path.name, broken.answer, broken.slice_number) == ("d.dcm", None, 3)
    assert broken.error.startswith(f"{tmp_path}/d.dcm: must be a whole DICOM file")
    assert (answered.path.name, answered.answer, answered.slice_number) == ("b.dcm", "bright", 4)
    assert f"{tmp_path}: 4 of 5 slices: bright 2, dark 1, cannot be read 1" in as_text(ask_folder(tmp_path, "all"), CLASSES)


def test_a_volume_of_which_nothing_is_seen_gets_one_answer(tmp_path):
    for place in range(3):
        write_dicom(tmp_path / f"{place}.dcm", np.zeros((20, 20), np.uint8), SeriesInstanceUID="1.2.3", InstanceNumber=place)
    [found] = ask_folder(tmp_path, "all")
    assert (found.path.name, found.answer) == ("1.dcm", "dark")
