import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence

from tests.tumorcls.pictures import png_header
from tests.tumorcls.volume_files import write_nifti
from tumorcls import DISCLAIMER
from tumorcls.errors import DataError
from tumorcls.inference.activation_map import Explained
from tumorcls.inference.figure import draw_answer
from tumorcls.inference.predict import (
    NO_SLICE,
    UNCERTAIN,
    Judgement,
    Prediction,
    as_csv,
    as_json,
    as_text,
    find_images,
    predict_files,
)
from tumorcls.model.conformal import ClassSets
from tumorcls.model.gate import fit_gate

CLASSES = ("dark", "bright")


class ByBrightness:
    """Stands for a model: how bright an image is decides, and its batches are remembered."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def explain(self, images):
        self.batches.append(len(images))
        bright = (images.mean(axis=(1, 2, 3)) / 255).astype(np.float32)
        looked_at = np.column_stack([bright, images.std(axis=(1, 2, 3)) / 255])
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
    assert DISCLAIMER in text
    assert DISCLAIMER == document["note"] == table[0]["note"]


def test_sets_name_what_is_not_ruled_out(tmp_path):
    paths = [write(tmp_path / "m.png", 140), write(tmp_path / "d.png", 100), tmp_path / "none.png"]
    found = list(predict_files(ByBrightness(), paths, CLASSES, 16, Judgement(0.0, ClassSets(0.9, 0.42))))
    assert [one.class_set for one in found] == [("bright", "dark"), ("dark",), None]
    text, table = as_text(found, CLASSES), list(csv.DictReader(io.StringIO(as_csv(found, CLASSES))))
    assert "  not ruled out: bright, dark\n" in text
    assert [row["set"] for row in table] == ["bright dark", "dark", ""]
    assert [one["set"] for one in json.loads(as_json(found, CLASSES))["predictions"]] == [["bright", "dark"], ["dark"], None]
    assert DISCLAIMER in text
    unlikely = Judgement(0.0, ClassSets(0.9, 0.99))
    assert "not ruled out: none" in as_text(predict_files(ByBrightness(), paths[:1], CLASSES, 16, unlikely), CLASSES)


def test_the_gate_stops_what_is_no_slice(tmp_path):
    generator = np.random.default_rng(0)
    gate = fit_gate(generator.normal((0.5, 0.0), 0.1, (200, 2)), generator.normal((0.5, 0.0), 0.1, (100, 2)))
    noise = generator.integers(0, 2, (20, 20, 3)).astype(np.uint8) * 255
    (tmp_path / "noise.png").write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    paths = [write(tmp_path / "m.png", 140), tmp_path / "noise.png"]
    found = list(predict_files(ByBrightness(), paths, CLASSES, 20, Judgement(0.0, ClassSets(0.9, 0.42), gate)))
    assert [one.answer for one in found] == ["bright", NO_SLICE]
    assert [one.class_set for one in found] == [("bright", "dark"), None]
    assert as_text(found, CLASSES).count("not ruled out") == 1
    assert [row["answer"] for row in csv.DictReader(io.StringIO(as_csv(found, CLASSES)))] == ["bright", NO_SLICE]
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
    found, rows, numbers = ask("all")
    assert rows == ["head.nii.gz#2", "head.nii.gz#3", "head.nii.gz#4", "head.nii.gz#5", "b.png"]
    assert [one.image.max() for one in found] == [50, 100, 150, 200, 230]
    assert numbers == [(2, 5), (3, 5), (4, 5), (5, 5), (None, 1)]
