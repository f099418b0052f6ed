import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tumorcls.calibration import Calibration
from tumorcls.errors import DataError, ModelError
from tumorcls.labels import CLASSES
from tumorcls.model import build_backbone, build_classifier
from tumorcls.saved_model import SavedModel, load_model

CALIBRATION = Calibration(temperature=1.5, threshold=0.6, max_error=0.05, coverage=0.9, error=0.04, images=50)


@pytest.fixture(scope="module")
def model(make_config):
    backbone = build_backbone(32, "none")
    head = keras.layers.Dense(4)
    head.build((None, 1280))
    provenance = {"seed": 3, "split_sha256": "abc"}
    return SavedModel(build_classifier(backbone, head, 0.3), CLASSES, make_config(), provenance, CALIBRATION)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)


def test_a_model_comes_back_as_it_was(model, saved, pictures):
    loaded = load_model(saved)
    assert loaded.classes == CLASSES
    assert loaded.config == model.config
    assert loaded.provenance == {"seed": 3, "split_sha256": "abc"}
    assert loaded.calibration == CALIBRATION
    assert loaded.sha256 == model.sha256
    probabilities = loaded.predict(pictures, batch_size=2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(probabilities, model.predict(pictures), rtol=1e-5)
    assert [path.name for path in saved.parent.iterdir()] == ["model.keras"], "nothing temporary is left"


def test_keras_alone_can_load_it(saved):
    code = (
        "import sys, keras\nmodel = keras.saving.load_model(sys.argv[1])\n"
        "assert 'tumorcls' not in sys.modules\nprint(model.output_shape)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "(None, 4)"


def test_what_is_no_model_of_ours_is_one_line(saved, tmp_path):
    plain = tmp_path / "plain.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(plain)
    text = tmp_path / "text.keras"
    text.write_text("a model, honestly")
    cut = tmp_path / "cut.keras"
    cut.write_bytes(saved.read_bytes()[:5000])
    empty = tmp_path / "empty.keras"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("tumorcls.json", "{}")
    junk = tmp_path / "junk.keras"
    with zipfile.ZipFile(junk, "w") as archive:
        archive.writestr("tumorcls.json", "{not JSON")
        archive.writestr("config.json", b"\x00\xff")
    older = tmp_path / "older.h5"
    with h5py.File(older, "w") as file:
        file["weights"] = 1
    for path in (plain, text, cut, empty, junk, older, tmp_path / "missing.keras", tmp_path):
        with pytest.raises(ModelError) as caught:
            load_model(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_code_inside_a_file_never_runs(saved, tmp_path):
    # A Lambda layer is Python code that loading would run; here it would leave a file.
    trace = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    network = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(eval(f"lambda x: ({code}, x)[1]"), output_shape=(2,))])
    path = tmp_path / "lambda.keras"
    network.save(path)
    with zipfile.ZipFile(saved) as ours, zipfile.ZipFile(path, "a") as archive:
        archive.writestr("tumorcls.json", ours.read("tumorcls.json"))
    trace.unlink(missing_ok=True)  # building the network ran it
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


def test_a_place_that_cannot_hold_it_is_one_line(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="must be writable"):
        model.save(tmp_path / "file" / "model.keras")
    with pytest.raises(DataError, match=r"must end in \.keras"):
        model.save(tmp_path / "model.h5")
