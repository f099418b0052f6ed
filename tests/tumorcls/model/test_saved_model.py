import datetime
import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest

from tumorcls.data.labels import CLASSES
from tumorcls.errors import ConfigError, DataError, ModelError
from tumorcls.inference.activation_map import Explainer
from tumorcls.model.backbone import build_classifier, build_network
from tumorcls.model.calibration import softmax
from tumorcls.model.gate import FEATURES, PICTURE, fit_gate, gate_features
from tumorcls.model.model_file import CARD, GATE, check_exported, parse_card
from tumorcls.model.saved_model import SavedModel, load_model


@pytest.fixture(scope="module")
def model(untrained):
    return untrained


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
    assert loaded.calibration == model.calibration
    assert loaded.sha256 == model.sha256
    probabilities = loaded.predict(pictures, batch_size=2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    same_batches = model.predict(pictures, batch_size=2)  # others round otherwise, which untrained weights make much of
    np.testing.assert_allclose(probabilities, same_batches, rtol=1e-5, atol=1e-8)
    assert [path.name for path in saved.parent.iterdir()] == ["model.keras"], "nothing temporary is left"


@pytest.mark.parametrize(
    ("made", "got"),
    [
        (lambda pictures: pictures / np.float32(255), "float32 of shape (5, 32, 32, 3)"),
        (lambda pictures: pictures.astype(np.float32), "float32 of shape (5, 32, 32, 3)"),
        (lambda pictures: pictures[0], "uint8 of shape (32, 32, 3)"),
        (lambda pictures: pictures[..., :1], "uint8 of shape (5, 32, 32, 1)"),
        (lambda pictures: pictures[:, :16], "uint8 of shape (5, 16, 32, 3)"),
        (lambda pictures: pictures[:0], "uint8 of shape (0, 32, 32, 3)"),
    ],
)
def test_images_that_a_model_does_not_take_are_one_line(model, pictures, made, got):
    """Those of Keras users are divided by 255 as often as not, and a network would answer for them as for any."""
    with pytest.raises(ModelError) as caught:
        model.predict(made(pictures))
    must = "images: must be uint8 in [0, 255] of shape (n, 32, 32, 3), n > 0"
    assert str(caught.value) == f"{must}; got {got}. Do not divide by 255."


def test_a_path_may_be_a_string(model, tmp_path):
    model.save(str(tmp_path / "text.keras"))
    assert load_model(str(tmp_path / "text.keras")).sha256 == model.sha256


def test_what_a_prediction_makes_of_the_network_is_not_saved(model, saved, pictures, tmp_path):
    model.predict(pictures)
    model.save(tmp_path / "again.keras")
    with zipfile.ZipFile(saved) as before, zipfile.ZipFile(tmp_path / "again.keras") as after:
        for name in ("config.json", CARD):
            assert after.read(name) == before.read(name)
    assert load_model(tmp_path / "again.keras").sha256 == model.sha256


@pytest.fixture(scope="module")
def gated(model, tmp_path_factory):
    """A model's file with a gate, and the gate."""
    features = np.random.default_rng(0).normal(size=(30, FEATURES))
    gate = fit_gate(features[:20], features[20:])
    path = tmp_path_factory.mktemp("gated") / "gated.keras"
    replace(model, gate=gate).save(path)
    return path, gate


def test_a_gate_comes_back_as_it_was(gated):
    path, gate = gated
    loaded = load_model(path).gate
    assert loaded.limit == gate.limit
    np.testing.assert_array_equal(loaded.space, gate.space)


@pytest.mark.parametrize(
    ("narrow", "missing"),
    [(384, ["features", "picture"]), (384 + 9 * 112, ["picture"])],
    ids=["block 6 alone", "without the picture"],
)
def test_a_gate_of_an_earlier_version_judges_what_it_did(gated, tmp_path, narrow, missing):
    path, image = tmp_path / "earlier.keras", np.random.default_rng(1).normal(size=(1, FEATURES))
    space = np.concatenate([np.zeros((1, narrow)), np.ones((1, narrow)), image[:, :narrow]])
    with zipfile.ZipFile(gated[0]) as ours, zipfile.ZipFile(path, "w") as archive:
        for name in ours.namelist():
            card = json.loads(ours.read(CARD)) if name == CARD else {}
            if card:
                card["gate"]["features"] = narrow
                for key in missing:
                    del card["gate"][key]
            content = json.dumps(card).encode() if card else ours.read(name)
            archive.writestr(name, space.astype("<f2").tobytes() if name == GATE else content)
    np.testing.assert_allclose(load_model(path).gate.distances(image), 0, atol=0.02)


def test_a_gate_looks_at_as_many_features_as_a_file_holds(model):
    looked_at = gate_features(model.network)
    assert looked_at.shape == (None, FEATURES)
    images = np.random.default_rng(0).integers(0, 256, (2, *model.network.input_shape[1:])).astype(np.uint8)
    images[1] = 90  # of no contrast
    found = np.asarray(keras.Model(model.network.input, looked_at)(images))[:, -PICTURE:]
    side = images.shape[1]
    parts = [slice(n * side // 6, -(-(n + 1) * side // 6)) for n in range(6)]
    coarse = np.array([[one[rows, columns].mean() for rows in parts for columns in parts] for one in images])
    wanted = (coarse - coarse.mean(axis=1, keepdims=True)) / (coarse.std(axis=1, keepdims=True) + 2)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(
    "space",
    [
        None,
        b"",
        np.ones((2, FEATURES), "<f2").tobytes(),
        np.ones((3, FEATURES), "<f2").tobytes() + b"\0\0",
        np.zeros((3, FEATURES), "<f2").tobytes(),
        (-np.ones((3, FEATURES), "<f2")).tobytes(),
        np.full((3, FEATURES), np.nan, "<f2").tobytes(),
        np.repeat(np.array([[1], [1], [np.inf]], "<f2"), FEATURES, axis=1).tobytes(),
        b"\0" * 2**23,
    ],
    ids=["none", "empty", "no image", "half a row", "a scale of 0", "one below", "not finite", "an image that is not", "large"],
)
def test_a_gate_that_is_none_is_one_line(gated, tmp_path, space):
    path = tmp_path / "changed.keras"
    with zipfile.ZipFile(gated[0]) as ours, zipfile.ZipFile(path, "w") as archive:
        for name in ours.namelist():
            if name != GATE:
                archive.writestr(name, ours.read(name))
        if space is not None:
            archive.writestr(GATE, space)
    with pytest.raises(ModelError, match=r"must be a model saved by `tumorcls train`; .*tumorcls\.gate") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_integers_of_another_width_are_the_same_numbers(model, saved, pictures, tmp_path):
    with zipfile.ZipFile(saved) as ours, zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        for name in ours.namelist():
            archive.writestr(name, narrowed(ours.read(name)) if name == "model.weights.h5" else ours.read(name))
    loaded = load_model(tmp_path / "other.keras")
    np.testing.assert_array_equal(loaded.predict(pictures), load_model(saved).predict(pictures))
    assert loaded.sha256 == model.sha256


def narrowed(content):
    """Returns a file of weights as a backend writes it whose integers have 32 bits."""
    content, changed = io.BytesIO(content), []
    with h5py.File(content, "r+") as file:
        file.visititems(lambda name, at: changed.append(name) if isinstance(at, h5py.Dataset) and at.dtype == "i8" else None)
        for name in changed:
            value = file[name][()]
            del file[name]
            file[name] = value.astype(np.int32)
    assert changed, "else it shows nothing"
    return content.getvalue()


@pytest.mark.slow
def test_a_model_goes_from_a_backend_to_the_other_and_back(model, saved, pictures, tmp_path):
    pytest.importorskip("jax")
    code = (
        "import sys\nfrom pathlib import Path\nfrom tumorcls.model.backend import select_backend\n"
        "assert select_backend() == 'jax'\n"
        "from tumorcls.model.saved_model import load_model\nmodel = load_model(Path(sys.argv[1]))\n"
        "model.save(Path(sys.argv[2]))\nassert 'tensorflow' not in sys.modules\nprint(model.sha256)"
    )
    arguments, environ = [str(saved), str(tmp_path / "jax.keras")], {"KERAS_BACKEND": "jax", "TUMORCLS_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True, check=True
    )
    back = load_model(tmp_path / "jax.keras")
    assert done.stdout.strip() == back.sha256 == model.sha256
    np.testing.assert_array_equal(back.predict(pictures), load_model(saved).predict(pictures))


@pytest.mark.slow
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


@pytest.mark.parametrize("kind", ["many members", "zip64"])
def test_a_list_of_members_that_may_be_long_is_not_read(saved, tmp_path, monkeypatch, kind):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(saved) as ours, zipfile.ZipFile(path, "w") as archive, monkeypatch.context() as patch:
        for name in ours.namelist() if kind == "zip64" else map(str, range(200)):
            archive.writestr(name, ours.read(name) if kind == "zip64" else b"")
        patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1 if kind == "zip64" else 1000)
        archive.close()
    monkeypatch.setattr(zipfile, "ZipFile", lambda _: pytest.fail("it was read"))
    with pytest.raises(ModelError, match="it is not a whole zip archive with a few members"):
        load_model(path)


def test_a_member_that_unpacks_to_more_than_it_claims_takes_no_memory(saved, tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(saved) as ours, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ours.namelist():
            archive.writestr(name, b" " * 2**26 if name == CARD else ours.read(name) if name == "metadata.json" else b"")
    content = path.read_bytes()
    claim = content.find(CARD.encode(), content.find(b"PK\1\2")) - 22  # its size, in the list of members
    path.write_bytes(content[:claim] + (10).to_bytes(4, "little") + content[claim + 4 :])
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="must be a model saved by"):
            load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


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


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["none", "imagenet", "file.h5"])
def test_the_network_of_a_card_answers_to_the_last_bit_as_the_trained_one(model, make_config, weights, pictures, tmp_path):
    backbone = build_network(32, 1, imagenet=weights == "imagenet")
    backbone = keras.Model(backbone.input, backbone.get_layer("avg_pool").output)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.mean, layer.variance = (np.full((1, 1, 1, 3), value, np.float32) for value in (0.4, 0.06))
            layer.set_weights([np.full(3, 0.4, np.float32), np.full(3, 0.06, np.float32), np.int32(7)])
            layer.finalize_state()
    head = keras.layers.Dense(4)
    head.build((None, 1280))
    config = make_config(weights=weights, batch_norm="train")
    trained = SavedModel(CLASSES, config, {}, model.calibration, network=build_classifier(backbone, head, 0.3, 1.7))
    trained.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(pictures), trained.predict(pictures))
    assert loaded.sha256 == trained.sha256


def test_an_answer_that_is_no_probability_is_refused(model, pictures, tmp_path):
    huge = build_network(32, 4, imagenet=False)
    huge.get_layer("top_bn").beta.assign(np.full(1280, 1e30, np.float32))
    logits = huge.get_layer("logits")
    logits.set_weights([np.full((1280, 4), 3e38, np.float32), np.zeros(4, np.float32)])
    path = tmp_path / "huge.keras"
    SavedModel(CLASSES, model.config, {}, model.calibration, network=huge).save(path)
    with pytest.raises(ModelError, match="must answer with probabilities"):
        load_model(path).predict(pictures)
    with pytest.raises(ModelError, match="must answer with probabilities"):
        Explainer(load_model(path).network).explain(pictures)


@pytest.fixture
def mirroring(model):
    """A model with a mirror average, of one dense layer, and what that makes of images alone."""
    kernel = np.random.default_rng(0).normal(0, 3e-4, (32 * 32 * 3, 4)).astype(np.float32)
    image = keras.Input((32, 32, 3))
    logits = keras.layers.Dense(4, name="logits")
    network = keras.Model(image, keras.layers.Softmax()(logits(keras.layers.Flatten()(image))))
    logits.set_weights([kernel, np.zeros(4, np.float32)])
    config = model.config.model_copy(update={"mirror_average": True})
    return replace(model, network=network, config=config), lambda images: images.reshape(len(images), -1) @ kernel


def test_with_a_mirror_average_it_answers_with_the_mean_of_both_logits(mirroring, pictures):
    model, logits = mirroring
    wanted = softmax((logits(pictures) + logits(pictures[:, :, ::-1])) / 2)
    assert np.abs(wanted - softmax(logits(pictures))).max() > 0.1, "they differ"
    np.testing.assert_allclose(model.predict(pictures), wanted, atol=1e-4)


def test_a_mirror_average_that_is_no_probability_is_refused(mirroring, pictures):
    model, _ = mirroring
    model.network.get_layer("logits").kernel.assign(np.full((32 * 32 * 3, 4), 3e38, np.float32))
    with pytest.raises(ModelError, match="must answer with probabilities"):
        model.predict(pictures)


def test_a_config_may_name_variables_anywhere(model, tmp_path, monkeypatch):
    monkeypatch.setenv("TUMORCLS_HERE", "/here")
    written = {"trainable_from": "${TUMORCLS_FROM:-head}", "data": ["${TUMORCLS_HERE}/scans"]}
    replace(model, written=written).save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.config.trainable_from == model.config.trainable_from
    assert loaded.config.data == ("/here/scans",)
    assert loaded.written == {"data": ["${TUMORCLS_HERE}/scans"]}


@pytest.mark.parametrize(("weights", "kept"), [("imagenet", "imagenet"), ("none", "none"), ("/w.h5", "${TUMORCLS_W}")])
def test_what_the_network_is_made_of_hangs_on_no_variable(model, monkeypatch, weights, kept):
    config = model.config.model_copy(update={"weights": weights, "batch_norm": "train"})
    card = replace(model, config=config, written={"weights": "${TUMORCLS_W}"}).to_json()
    for there in ("imagenet", "/other.h5"):
        monkeypatch.setenv("TUMORCLS_W", there)
        assert parse_card(card, None, "model.keras").config.weights == kept


def test_what_could_not_be_opened_again_is_not_written(model, tmp_path):
    with pytest.raises(ModelError, match="provenance"):
        SavedModel(CLASSES, model.config, {"seed": -1}, model.calibration, network=model.network).save(tmp_path / "model.keras")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "exported",
    [{"x": "a" * 2**17}, {"x": [0] * 40_000}, {str(number): number for number in range(101)}, [], {"x": float}],
    ids=["a long text", "many numbers", "many values", "a list", "no JSON"],
)
def test_an_exported_provenance_that_no_file_could_hold_is_refused_before_training(exported):
    with pytest.raises(ConfigError, match=r"^best\.toml: \[provenance\] must be what `search export` .* Export it again\.$"):
        check_exported(exported, "best.toml")


def test_the_longest_exported_provenance_and_all_that_a_run_may_give_is_opened_again(model):
    exported = {"x": [0] * 18_000, "at": datetime.date(2026, 11, 30)}
    check_exported(exported, "best.toml")
    card = replace(model, provenance={"exported": exported, "seed": 2**63 - 1, "validation": {"clean_f1": np.nan}}).to_json()
    assert len(card) < 2**18
    assert parse_card(card, None, "model.keras").provenance == {
        "exported": {**exported, "at": "2026-11-30"},
        "seed": 2**63 - 1,
        "validation": {"clean_f1": None},
    }
