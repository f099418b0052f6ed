import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.tumorcls.pictures import image_set
from tumorcls.cache.arrays import ArrayCache, Stored
from tumorcls.config.space_check import _OPENED, SHARED
from tumorcls.data.dataset import Fold, stratified_subset
from tumorcls.errors import DataError
from tumorcls.model.backbone import FROZEN_OUTPUT, build_backbone
from tumorcls.model.conformal import calibrate_sets
from tumorcls.model.pieces import Placed
from tumorcls.model.program import TrainingProgram
from tumorcls.model.saved_model import SavedModel
from tumorcls.noise.severity import corrupt
from tumorcls.training.checkpoint import Checkpoints
from tumorcls.training.features import Features
from tumorcls.training.linear_probe import fit_head, fit_linear_probe
from tumorcls.training.trainer import Fitted, Trainer, learning_rate_at
from tumorcls.training.validation import CORRUPTION_SEED, Validation


def scores_of(trainer, config, seed=0):
    epochs = []
    trainer.fit(config, seed, epochs.append)
    return [(epoch.number, epoch.loss, dict(epoch.scores)) for epoch in epochs]


def test_images_are_opened_by_settings_that_no_trial_may_change(noted, tmp_path):
    """One that a study could sample would be without effect, and nobody be told."""
    Trainer.open(noted, tmp_path)
    assert noted.read == {*_OPENED}
    assert noted.read <= {*SHARED}


def test_every_epoch_is_reported_and_the_same_seed_gives_the_same(trainer, make_config):
    first = scores_of(trainer, make_config(epochs=3), seed=4)
    assert [number for number, _, _ in first] == [0, 1, 2]
    assert scores_of(trainer, make_config(epochs=1), seed=5) != first[:1]
    assert scores_of(trainer, make_config(epochs=3), seed=4) == first
    for _, loss, scores in first:
        assert np.isfinite(loss)
        assert scores["robust_f1"] == pytest.approx((scores["clean_f1"] + scores["noisy_f1"]) / 2)
        noises = [scores[f"f1_{noise}"] for noise in ("gaussian", "salt_pepper", "speckle")]
        assert scores["noisy_f1"] == pytest.approx(np.mean(noises))
        assert scores["worst_f1"] == min(noises)


def test_what_a_callback_raises_ends_the_run(trainer, make_config):
    def stop(epoch):
        raise StopIteration(epoch.number)

    with pytest.raises(StopIteration, match="0"):
        trainer.fit(make_config(epochs=5), 0, stop)


@pytest.mark.slow  # what it builds stays in the process
def test_a_model_that_was_trained_predicts_what_the_program_does(trainer, make_config):
    config = make_config(epochs=2, views=0)
    fitted = trainer.fit(config, 0, lambda epoch: None)
    images = trainer.images("validation", config.image_size)
    logits = fitted.program.predict_logits(images.images)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(fitted.classifier()(images.images)), softmax, rtol=1e-3, atol=1e-5)
    cooler = np.exp(logits / 3) / np.exp(logits / 3).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(fitted.classifier(3.0)(images.images)), cooler, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("views", [0, 2])
def test_a_model_with_a_mirror_average_answers_as_its_run_was_measured(trainer, make_config, views):
    config = make_config(views=views, mirror_average=True)
    fitted = trainer.fit(config, 0, lambda epoch: None)
    calibration = trainer.calibrate(fitted)
    network = fitted.classifier(calibration.temperature)
    model = SavedModel(config.classes, config, {}, calibration, network=network)
    images = trainer.images("validation", config.image_size)
    predicted = model.predict(images.images[:])
    assert (predicted.argmax(axis=1) == images.labels).mean() == pytest.approx(fitted.scores["accuracy"])
    np.testing.assert_allclose(predicted, model.predict(images.images[:][:, :, ::-1]), atol=1e-6)
    np.testing.assert_allclose(calibrate_sets(predicted, images.labels).cutoff, calibration.sets.cutoff, atol=1e-3)
    alone = replace(model, config=config.model_copy(update={"mirror_average": False})).predict(images.images[:])
    assert np.abs(alone - predicted).max() > 0.001, "else it shows nothing"


def test_calibration_is_of_the_validation_images(trainer, make_config):
    fitted = trainer.fit(make_config(), 0, lambda epoch: None)
    found = trainer.calibrate(fitted, max_error=1.0)
    assert found.images == len(trainer.images("validation", 32).labels)
    assert (found.threshold, found.coverage) == (0.0, 1.0)
    assert found.error == pytest.approx(1 - fitted.scores["accuracy"])


def test_a_final_run_trains_on_validation_images_too_and_measures_nothing(trainer, make_config):
    epochs = []
    parts = {part: trainer.images(part, 32) for part in ("train", "validation", "development")}
    assert sorted(parts["development"].keys) == sorted(parts["train"].keys + parts["validation"].keys)
    trained = trainer.fit(make_config(), 0, lambda epoch: None).last.loss
    fitted = trainer.fit(make_config(), 0, epochs.append, final=True)
    assert [epoch.scores for epoch in epochs] == [{}, {}]
    assert fitted.last.loss != trained


class WholeNetwork:
    """The network from images to logits in one piece, as `Validation` asks a program."""

    takes_activations = False

    def __init__(self, backbone, head_weights):
        self.backbone = backbone
        self.head_weights = head_weights

    activations_key = "images"

    def place_parts(self, parts):
        return None

    def predict_logits(self, *parts):
        kernel, bias = self.head_weights
        return np.concatenate([self.backbone.predict_on_batch(np.asarray(part)) for part in parts]) @ kernel + bias


@pytest.fixture(scope="module")
def whole_network(trainer, make_config):
    """Returns the uncached network with a head (ridge regression) that is sure of itself, and wrong about some images.

    A head that hardly tells the classes apart would change its mind with the last digit of float16.
    """
    config = make_config()
    backbone = build_backbone(32, config.weights)
    images = trainer.images("validation", 32)
    noisy = [corrupt(images.images, noise, 3, CORRUPTION_SEED, images.keys) for noise in config.measured_noises]
    features = np.concatenate([backbone.predict_on_batch(np.asarray(batch)) for batch in (images.images, *noisy)])
    wrong = np.random.default_rng(0).random(len(features)) < 0.2
    targets = np.eye(4, dtype=np.float32)[(np.tile(images.labels, 4) + wrong) % 4]
    centred = features - features.mean(axis=0)
    gram = centred @ centred.T
    kernel = centred.T @ np.linalg.solve(gram + 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram)), targets)
    return WholeNetwork(backbone, [kernel, -features.mean(axis=0) @ kernel])


@pytest.fixture
def its_backbone(whole_network, monkeypatch):
    """Has programs be made of the whole network's backbone: none of them changes what it predicts."""
    monkeypatch.setattr("tumorcls.model.program.build_backbone", lambda *_: whole_network.backbone)


@pytest.mark.slow
@pytest.mark.usefixtures("its_backbone")
@pytest.mark.parametrize("start", FROZEN_OUTPUT)
def test_cached_activations_measure_as_the_whole_network_does(trainer, make_config, whole_network, start):
    config = make_config(trainable_from=start, noisy_images=24)
    program = TrainingProgram(config)
    program.reset(config, 3)
    program._head.set_weights(whole_network.head_weights)
    images = trainer.images("validation", 32)
    cache = ArrayCache(trainer.cache)
    activations = Features(program, cache).of_images(images.images, images.key)
    from_cache, uncached = (
        logits - logits.mean(axis=1, keepdims=True)
        for logits in (program.predict_logits(activations), whole_network.predict_logits(images.images))
    )
    np.testing.assert_allclose(from_cache, uncached, atol=2e-2 * np.abs(uncached).max())  # float16 keeps three digits
    validation = Validation(images, cache)
    scores = validation.measure(program, config, final=False).scores
    assert 0.4 < scores["worst_f1"] < 0.9, "the head is neither right nor wrong about all"
    assert scores == pytest.approx(validation.measure(whole_network, config, final=False).scores, abs=1e-3)


def test_views_differ_and_are_shared_by_all_trials(trainer, make_config):
    config = make_config(noise_intensity=1.0)
    images = trainer.images("train", config.image_size)
    features = Features(trainer.programs.get(config), ArrayCache(trainer.cache))
    first = np.array(features.training_view(config.view_recipe, images, 0))
    assert first.dtype == np.float16
    assert (first != features.training_view(config.view_recipe, images, 1)).any()
    assert (first != features.training_view(make_config(noise_intensity=0.0).view_recipe, images, 0)).any()
    trainer.fit(config, 77, lambda epoch: None)
    changed = make_config(noise_intensity=1.0, dropout=0.1, epochs=1, learning_rate=0.5)
    path = {p: p.stat().st_ino for p in (trainer.cache / "arrays").glob("*.npy")}
    np.testing.assert_array_equal(features.training_view(changed.view_recipe, images, 0), first)
    assert {p: p.stat().st_ino for p in (trainer.cache / "arrays").glob("*.npy")} == path, "nothing was made anew"


def test_activations_are_not_shared_by_backends_and_devices(trainer, make_config, monkeypatch):
    images = trainer.images("validation", 32)
    features = Features(trainer.programs.get(make_config()), ArrayCache(trainer.cache))
    paths = set()
    for on_jax, gpu in itertools.product((False, True), (None, "NVIDIA A100", "NVIDIA H200")):
        monkeypatch.setattr("tumorcls.training.features.keras_runs_on_jax", lambda on_jax=on_jax: on_jax)
        monkeypatch.setattr("tumorcls.training.features.gpu_name", lambda gpu=gpu: gpu)
        entry = features.of_images(images.images, images.key)
        assert isinstance(entry, Stored)
        paths.add(entry.path)
    assert len(paths) == 6


def test_the_learning_rate_falls_along_a_cosine(make_config):
    rates = [learning_rate_at(make_config(epochs=4, learning_rate=0.1), epoch) for epoch in range(4)]
    np.testing.assert_allclose(rates, [0.1, 0.0853553, 0.05, 0.0146447], rtol=1e-5)
    assert learning_rate_at(make_config(schedule="constant", learning_rate=0.1), 3) == 0.1


def test_parts_hold_what_the_split_says(trainer, make_config):
    train, validation = (trainer.images(part, 32) for part in ("train", "validation"))
    assert not set(train.keys) & set(validation.keys)
    assert not set(train.groups.tolist()) & set(validation.groups.tolist())
    assert sum(train.class_counts().values()) == len(train.images)
    np.testing.assert_allclose(train.targets(0.2).sum(axis=1), 1, rtol=1e-6)
    assert train.targets(0.2)[np.arange(len(train.labels)), train.labels] == pytest.approx(0.85)
    with pytest.raises(AssertionError):
        trainer.images("test", 32)


def test_a_class_without_images_is_one_line(make_config, images, tmp_path):
    for folder in (images / "Training").iterdir():
        if folder.name != "pituitary_tumor":
            (tmp_path / "Training" / folder.name).mkdir(parents=True)
            for path in list(folder.iterdir())[:8]:
                (tmp_path / "Training" / folder.name / path.name).write_bytes(path.read_bytes())
    config = make_config(data=[str(tmp_path)])
    with pytest.raises(DataError) as caught:
        Trainer.open(config, tmp_path / "cache").images("train", 32)
    assert "pituitary" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folds_divide_the_development_part_by_groups(trainer, make_config):
    development = trainer.images("development", 32)
    folds = trainer.folds(make_config(), 3)
    held_out = [np.setdiff1d(np.arange(len(development.labels)), fold.train) for fold in folds]
    assert sorted(np.concatenate(held_out).tolist()) == list(range(len(development.labels)))
    for fold, rows in zip(folds, held_out, strict=True):
        assert fold.validation.keys == tuple(development.keys[row] for row in rows)
        assert not set(development.groups[fold.train].tolist()) & set(fold.validation.groups.tolist())
        np.testing.assert_array_equal(fold.validation.images, development.images[rows])
        expected = np.bincount(development.labels) / 3
        np.testing.assert_allclose(list(fold.validation.class_counts().values()), expected, atol=0.25 * expected.max())
    assert len({fold.validation.key for fold in folds}) == 3


def test_a_subset_keeps_the_classes_shares_and_is_always_the_same():
    labels = np.repeat([0, 1, 2, 3], [40, 20, 20, 80])
    chosen = stratified_subset(labels, 16)
    np.testing.assert_array_equal(np.bincount(labels[chosen]), [4, 2, 2, 8])
    np.testing.assert_array_equal(stratified_subset(labels, 16), chosen)
    np.testing.assert_array_equal(stratified_subset(labels, 500), np.arange(160))


class Noting:
    """A program that notes what it is trained with; of an image it sees its grey value, and of a view which one it is."""

    takes_activations = True
    activations_key = frozen_sha256 = "frozen"
    frozen = SimpleNamespace(output=SimpleNamespace(shape=(None, 3)))

    def __init__(self, places):
        self.trained = []
        self._places = places

    def reset(self, config, seed):
        self.trained.clear()

    def is_compiled(self, batch_size):
        return True

    def weights(self):
        return []

    def state(self):
        return []

    def set_state(self, arrays):
        assert not arrays

    def set_learning_rate(self, rate):
        self._rate = rate

    def set_view_recipe(self, recipe):
        self._recipe = recipe

    def draw_view(self, rows, seed):
        return np.column_stack(
            [rows[:, 0, 0, 0], np.full(len(rows), self._recipe.noise_intensity), np.full(len(rows), seed >> 32)]
        )

    def frozen_activations(self, rows):
        return np.column_stack([rows[:, 0, 0, 0], np.zeros((len(rows), 2))]).astype(np.float32)

    def place(self, rows):
        return Placed(np.array(rows[:]), 1) if self._places else None

    def place_parts(self, parts):
        return None

    def predict_logits(self, *parts):
        return np.concatenate([np.eye(4)[np.zeros(len(part), int)] for part in parts])

    def train_epoch(self, inputs, targets, order, batch_size):
        rows = np.array(inputs.rows if isinstance(inputs, Placed) else inputs[:], np.float32)
        self.trained.append((rows, targets, order, batch_size, self._rate))
        return 0.5

    def set_head(self, kernel, bias):
        self.head = kernel, bias


def shades(labels, first):
    """Returns images of one grey value each, another for every image."""
    values = first + np.arange(len(labels), dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (len(labels), 32, 32, 3)).copy()
    return replace(image_set(labels, images=images), key=f"from {first}")


@pytest.fixture
def noting(tmp_path):
    """Returns a trainer of twelve and eight such images, and its program, which has the rows placed or not."""

    def make(places=True):
        program = Noting(places)
        parts = {
            ("train", 32): shades(np.arange(12) % 4, 1),
            ("validation", 32): shades(np.arange(8) % 4, 50),
            ("development", 32): shades(np.arange(20) % 4, 100),
        }
        return Trainer(None, tmp_path, SimpleNamespace(get=lambda config: program), _parts=parts), program

    return make


@pytest.mark.parametrize("places", [True, False])
def test_each_epoch_trains_on_its_own_view_whatever_another_trial_trained_on(noting, make_config, monkeypatch, places):
    monkeypatch.setattr("tumorcls.model.pieces.placed_bytes", lambda: 2**30)
    trainer, program = noting(places)
    fold = Fold(np.arange(0, 20, 2), shades(np.arange(10) % 4, 200))
    for changed in ({"noise_intensity": 0.5}, {"noise_intensity": 1.0}, {"noise_intensity": 0.5, "views": 3}):
        config = make_config(epochs=5, **changed)
        for how, first, rows in (({}, 1, range(12)), ({"final": True}, 100, range(20)), ({"fold": fold}, 100, range(0, 20, 2))):
            trainer.fit(config, 0, lambda epoch: None, **how)
            assert len(program.trained) == 5
            for number, (inputs, targets, order, batch_size, rate) in enumerate(program.trained):
                assert inputs[:, 0].tolist() == [first + row for row in range(len(targets))]
                assert set(inputs[:, 1]) == {config.noise_intensity}
                assert set(inputs[:, 2]) == {number % config.views}
                assert targets.argmax(axis=1).tolist() == [row % 4 for row in range(len(targets))]
                assert sorted(order.tolist()) == [*rows]
                assert (batch_size, rate) == (config.batch_size, learning_rate_at(config, number))


def test_the_seed_decides_the_order_and_no_two_epochs_have_the_same(noting, make_config):
    trainer, program = noting()

    def orders(seed):
        trainer.fit(make_config(epochs=3), seed, lambda epoch: None)
        return [tuple(order.tolist()) for _, _, order, *_ in program.trained]

    first = orders(4)
    assert orders(4) == first
    assert len({*first, *orders(5)}) == 6


def test_a_linear_probe_sees_every_image_and_view_with_its_label(noting, make_config):
    trainer, program = noting()
    fit_linear_probe(trainer, make_config(noise_intensity=0.5, views=3))
    labels, shade = np.arange(12) % 4, np.arange(1, 13)
    clean = np.column_stack([shade, np.zeros((12, 2))])
    seen = [clean, *(np.column_stack([shade, np.full(12, 0.5), np.full(12, view)]) for view in range(3))]
    kernel, bias = fit_head(np.concatenate(seen).astype(np.float16), np.concatenate([labels] * 4), copies=4)
    np.testing.assert_allclose(program.head[0], kernel, atol=1e-5)
    np.testing.assert_allclose(program.head[1], bias, atol=1e-5)


def test_a_run_goes_on_from_no_other_fold_s_and_from_no_other_images_checkpoint(noting, make_config, tmp_path):
    trainer, program = noting()
    folds = [Fold(np.arange(first, 20, 2), shades(np.arange(10) % 4, 200 + 20 * first)) for first in range(2)]

    def epochs_trained(**how):
        trainer.fit(make_config(epochs=2), 0, lambda epoch: None, checkpoints=Checkpoints(tmp_path), **how)
        return len(program.trained)

    for how in ({"fold": folds[0]}, {"fold": folds[1]}, {}, {"final": True}):
        assert epochs_trained(**how) == 2
        assert epochs_trained(**how) == 0, "it was done before"
    trainer._parts["train", 32] = shades(np.arange(12) % 4, 30)
    assert epochs_trained() == 2


def value_of(program):
    return np.array([program.value])


def test_a_run_of_several_members_answers_with_each_as_often_as_it_counts(make_config):
    program = SimpleNamespace(value=7.0)
    program.set_weights = lambda weights: setattr(program, "value", weights[0])
    alone = Fitted(program, make_config(), (), None, None)
    assert alone.logits(value_of).tolist() == [7]
    several = replace(alone, members=(([1.0], 1), ([4.0], 2)))
    assert several.logits(value_of).tolist() == [3]
