import errno
import io
import json
import sys
import tempfile
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from tensorflow.errors import ResourceExhaustedError

from tumorcls import DISCLAIMER
from tumorcls.commands import export_model
from tumorcls.data.labels import CLASSES
from tumorcls.errors import DataError, ExportError
from tumorcls.inference import onnx_tflite


@pytest.fixture(scope="module")
def model(untrained):
    return untrained


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def mirroring(model):
    return replace(model, config=model.config.model_copy(update={"mirror_average": True}))


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), ResourceExhaustedError(None, None, "x; No space left on device")],
)
def test_where_temporary_files_have_no_room_is_one_line(error, no_temporary_folder, monkeypatch, tmp_path):
    def export(*_, **__):
        raise error

    with pytest.raises(
        ExportError, match=r"^onnx: must have room for temporary files; got No usable temporary dir.*\. Set TMPDIR"
    ):
        onnx_tflite._exported(SimpleNamespace(export=export), "onnx", "model.onnx")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(
        ExportError, match=r"^onnx: must have room for temporary files; got .*No space left on device\. Set TMPDIR"
    ):
        onnx_tflite._exported(SimpleNamespace(export=export), "onnx", "model.onnx")


@pytest.mark.slow
def test_what_is_exported_averages_with_the_mirror_image_too(mirroring, model, pictures):
    answers = np.asarray(onnx_tflite._from_uint8(mirroring).predict_on_batch(pictures))
    np.testing.assert_allclose(answers, mirroring.predict(pictures), atol=1e-5)
    assert np.abs(answers - model.predict(pictures)).max() > 1e-4, "else it shows nothing"


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".onnx", ".tflite"])
def test_an_average_with_the_mirror_image_is_in_the_exported_file(mirroring, model, pictures, tmp_path, ending):
    pytest.importorskip({".onnx": "tf2onnx", ".tflite": "ai_edge_litert"}[ending])
    path = tmp_path / f"model{ending}"
    assert onnx_tflite.export(mirroring, path, pictures) <= onnx_tflite.TOLERANCE
    run = onnx_tflite.run_onnx if ending == ".onnx" else onnx_tflite.run_tflite
    answers = run(path.read_bytes(), pictures)
    np.testing.assert_allclose(answers, run(path.read_bytes(), np.ascontiguousarray(pictures[:, :, ::-1])), atol=1e-5)
    assert np.abs(mirroring.predict(pictures) - model.predict(pictures)).max() > 0, "else it shows nothing"


@pytest.mark.slow
def test_onnx_answers_as_the_model_does_and_says_what_it_is(model, pictures, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("tf2onnx")
    path = tmp_path / "model.onnx"
    onnx_tflite.export(model, path, pictures)
    written = onnx.load(path)
    told = {entry.key: entry.value for entry in written.metadata_props}
    assert json.loads(told["classes"]) == list(CLASSES)
    assert (told["disclaimer"], told["model_sha256"], told["split_sha256"]) == (DISCLAIMER, model.sha256, "abc")
    assert float(told["threshold"]) == 0.6
    assert ([i.name for i in written.graph.input], [o.name for o in written.graph.output]) == (["image"], ["probabilities"])
    for some in (pictures[:1], pictures, np.tile(pictures, (13, 1, 1, 1))):
        answers = onnx_tflite.run_onnx(path.read_bytes(), some)
        np.testing.assert_allclose(answers, model.predict(some), atol=onnx_tflite.TOLERANCE)


@pytest.mark.slow
def test_tflite_answers_as_the_model_does_and_says_what_it_is(model, pictures, tmp_path):
    pytest.importorskip("ai_edge_litert")
    path = tmp_path / "model.tflite"
    onnx_tflite.export(model, path, pictures)
    with zipfile.ZipFile(path) as archive:
        told = json.loads(archive.read("tumorcls.json"))
        assert archive.read("labels.txt").decode().split() == list(CLASSES)
    assert told == onnx_tflite.metadata(model)
    for some in (pictures[:1], np.tile(pictures, (13, 1, 1, 1))):
        answers = onnx_tflite.run_tflite(path.read_bytes(), some)
        np.testing.assert_allclose(answers, model.predict(some), atol=onnx_tflite.TOLERANCE)


class Runtime:
    """Stands for ONNX Runtime's session and LiteRT's interpreter: answers each image with its first pixel, and counts."""

    def __init__(self, *_, **__):
        self.batches = []
        OPENED.append(self)

    def run(self, _, inputs):
        [images] = inputs.values()
        self.batches.append(len(images))
        return [images[:, 0, 0, :1]]

    def get_input_details(self):
        return [{"index": 0}]

    get_output_details = get_input_details

    def resize_tensor_input(self, _, shape):
        self.shape = shape

    def allocate_tensors(self):
        self.invoke = lambda: None

    def set_tensor(self, _, images):
        assert images.shape == self.shape
        [self.answer] = self.run(None, {0: images})

    def get_tensor(self, _):
        return self.answer


OPENED: list[Runtime] = []


@pytest.mark.parametrize("run", [onnx_tflite.run_onnx, onnx_tflite.run_tflite])
def test_a_folder_of_images_goes_through_a_file_few_at_a_time(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Runtime))
    monkeypatch.setitem(sys.modules, "ai_edge_litert", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", SimpleNamespace(Interpreter=Runtime))
    images = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3)).astype(np.uint8)
    OPENED.clear()
    np.testing.assert_array_equal(run(b"file", images), images[:, 0, 0, :1])
    [opened] = OPENED
    assert opened.batches == [32, 32, 6]


def test_another_answer_is_an_error_and_writes_nothing(model, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_tflite, "_check", lambda path: None)
    monkeypatch.setattr(onnx_tflite, "_to_onnx", lambda network, described: b"file")
    monkeypatch.setattr(onnx_tflite, "run_onnx", lambda content, images: model.predict(images) + np.float32(0.01))
    with pytest.raises(ExportError, match=r"difference of 0\.01"):
        onnx_tflite.export(model, tmp_path / "model.onnx", pictures)
    monkeypatch.setattr(onnx_tflite, "run_onnx", lambda content, images: np.full((3, 4), np.nan, np.float32))
    with pytest.raises(ExportError, match="difference of nan"):
        onnx_tflite.export(model, tmp_path / "model.onnx", pictures)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_one_line(model, pictures, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"must end in \.onnx or \.tflite; got '\.pb'"):
        onnx_tflite.export(model, tmp_path / "model.pb", pictures)
    monkeypatch.setattr(onnx_tflite, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"tf2onnx, onnx, onnxruntime must be installed.*tumorcls\[export\]"):
        onnx_tflite.export(model, tmp_path / "model.onnx", pictures)
    monkeypatch.setattr(onnx_tflite, "find_spec", lambda name: io)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ExportError, match="must run on TensorFlow"):
        onnx_tflite.export(model, tmp_path / "model.onnx", pictures)


def test_the_command_compares_on_the_images_it_is_given(model, tmp_path, monkeypatch):
    model.save(tmp_path / "model.keras")
    compared = []
    monkeypatch.setattr(onnx_tflite, "export", lambda model, path, images: compared.append(images.shape) or 2e-7)
    (tmp_path / "scans").mkdir()
    keras.utils.save_img(tmp_path / "scans" / "a.png", np.zeros((40, 50, 3)))
    arguments = [str(tmp_path / "model.keras"), "-o", "m.onnx", "-o", "m.tflite"]
    for images in ([], [str(tmp_path / "scans")]):
        done = CliRunner().invoke(export_model.command, arguments + images, catch_exceptions=False)
        assert "differ by at most 2.0e-07" in done.output
        assert DISCLAIMER in done.output
    assert compared == [(8, 32, 32, 3)] * 2 + [(1, 32, 32, 3)] * 2


def test_a_model_of_two_classes_is_compared_on_generated_images_too(model, tmp_path, monkeypatch):
    binary = replace(model, classes=("no_tumor", "tumor"))
    monkeypatch.setattr("tumorcls.model.saved_model.load_model", lambda path: binary)
    monkeypatch.setattr("tumorcls.inference.onnx_tflite.export", lambda model, path, images: 0.0)
    done = CliRunner().invoke(export_model.command, [str(tmp_path / "model.keras"), "-o", "m.onnx"], catch_exceptions=False)
    assert "Over 8 images" in done.output
