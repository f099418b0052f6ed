import multiprocessing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.tumorcls.pictures import image_set
from tumorcls.cache.arrays import ArrayCache
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.dataset import stratified_subset
from tumorcls.model.pieces import PlacedParts
from tumorcls.noise.severity import SEVERITY_LEVELS, corrupt
from tumorcls.training.validation import EPOCH_SEVERITIES, Validation, describe_scores

CONFIG = TrainConfig.parse({"data": "x", "noisy_images": 16}, where="test")


IMAGES = image_set(np.arange(16) % 4)


class FakeProgram:
    """Knows every clean image, and calls everything that is noisy class 0, as broken models do."""

    takes_activations = False
    activations_key = "images"

    def __init__(self):
        self.asked = []

    def place_parts(self, parts):
        return None

    def predict_logits(self, *parts):
        return np.concatenate([self._logits(images) for images in parts])

    def _logits(self, images):
        clean = bool((images[:] == 128).all())
        self.asked.append((clean, len(images)))
        return np.eye(4)[np.arange(len(images)) % 4 if clean else np.zeros(len(images), int)]


def corrupted_bytes(folder):
    seen = []
    program = SimpleNamespace(
        takes_activations=False,
        activations_key="images",
        place_parts=lambda parts: None,
        predict_logits=lambda *parts: (seen.extend(part[:].tobytes() for part in parts), np.zeros((16 + 3 * 8, 4)))[1],
    )
    Validation(IMAGES, ArrayCache(folder)).measure(program, CONFIG, final=False)
    return seen


@pytest.mark.parametrize("final", [False, True])
def test_scores_are_what_a_hand_count_gives(tmp_path, final):
    program = FakeProgram()
    measured = Validation(IMAGES, ArrayCache(tmp_path)).measure(program, CONFIG, final=final)
    scores = measured.final_scores if final else measured.scores
    # All noisy images are called class 0: precision 1/4 and recall 1 make its F1 .4, the others' are 0, the mean is .1.
    assert scores["accuracy"] == scores["clean_f1"] == 1.0
    for name in ("f1_gaussian", "f1_salt_pepper", "f1_speckle", "noisy_f1", "worst_f1"):
        assert scores[name] == pytest.approx(0.1)
    assert scores["robust_f1"] == pytest.approx(0.55)
    noisy = [rows for clean, rows in program.asked if not clean]
    assert noisy == ([16] * 15 if final else [8] * 3 * len(EPOCH_SEVERITIES))


def test_with_a_mirror_average_each_picture_is_answered_together_with_its_mirror_image(tmp_path):
    images = image_set(np.arange(16) % 4)
    half = images.images[:] * 0
    half[:, :, : half.shape[2] // 2] = 200
    images = replace(images, images=half, key="halves")

    class Left(FakeProgram):
        def _logits(self, images):
            """As many logits as the left half is bright, for class 0 alone."""
            return np.outer(images[:][:, :, : half.shape[2] // 2].mean(axis=(1, 2, 3)), np.float32([1, 0, 0, 0]))

    validation, mirrored = Validation(images, ArrayCache(tmp_path)), CONFIG.model_copy(update={"mirror_average": True})
    assert validation.clean_logits(Left(), CONFIG)[:, 0].tolist() == [200] * 16
    assert validation.clean_logits(Left(), mirrored)[:, 0].tolist() == [100] * 16, "the other half is black"
    assert validation.measure(Left(), mirrored, final=True).final_scores is not None


def halves(images, bright=200):
    """Returns the same images with a bright left half and a black right one."""
    half = images.images[:] * 0
    half[:, :, : half.shape[2] // 2] = bright
    return replace(images, images=half)


class FromFeatures:
    """Sees of a picture how bright its left half is: the logit of class 0."""

    takes_activations = True
    activations_key = frozen_sha256 = "left"
    frozen = SimpleNamespace(output=SimpleNamespace(shape=(None, 1)))

    def frozen_activations(self, images):
        return images[:, :, : images.shape[2] // 2].mean(axis=(1, 2, 3), dtype=np.float32)[:, None]

    def place_parts(self, parts):
        return None

    def predict_logits(self, *parts):
        return np.concatenate([np.outer(part[:], [1, 0, 0, 0]) for part in parts])


def test_features_of_a_picture_are_not_taken_for_those_of_its_mirror_image(tmp_path):
    validation, mirrored = Validation(halves(IMAGES), ArrayCache(tmp_path)), CONFIG.model_copy(update={"mirror_average": True})
    for _ in range(2):  # the second time from the cache
        assert validation.clean_logits(FromFeatures(), CONFIG)[:, 0].tolist() == [200] * 16
        assert validation.clean_logits(FromFeatures(), mirrored)[:, 0].tolist() == [100] * 16, "the other half is black"


def test_what_the_device_holds_is_not_taken_for_other_pictures(tmp_path, monkeypatch):
    class Brighter(FromFeatures):
        def __init__(self, gain):
            self.activations_key = self.frozen_sha256 = f"gain {gain}"
            self.gain = gain

        def frozen_activations(self, images):
            return self.gain * super().frozen_activations(images)

    class Placing(Brighter):
        def place_parts(self, parts):
            rows = np.concatenate([part[:] for part in parts])
            return PlacedParts([(rows, 1)], len(rows), 1)

        def predict_logits(self, placed):
            return super().predict_logits(*(rows for rows, _ in placed.pieces))

    monkeypatch.setattr("tumorcls.model.pieces.placed_bytes", lambda: 2**30)
    validation = Validation(halves(IMAGES), ArrayCache(tmp_path))
    cases = [
        (images, gain, CONFIG.model_copy(update=changed), final)
        for images in (halves(IMAGES), replace(halves(IMAGES, 100), key="darker"))
        for gain in (1, 2)
        for changed in ({}, {"mirror_average": True}, {"noisy_images": 8}, {"measured_noises": ("gaussian",)})
        for final in (False, True)
    ]
    for images, gain, config, final in cases:
        expected = Validation(images, validation.cache).logits(Brighter(gain), config, final=final)  # places nothing
        found = replace(validation, images=images).logits(Placing(gain), config, final=final)
        np.testing.assert_array_equal(found, expected)


def test_of_each_group_the_surest_mistake_is_kept(tmp_path):
    images = replace(IMAGES, groups=np.arange(16) // 4)
    logits = np.zeros((16, 4), np.float32)
    logits[np.arange(16), (images.labels + 1) % 4] = 1 + np.arange(16) % 4  # all are wrong, the last of each group surest
    clean = CONFIG.model_copy(update={"measured_noises": (), "score": ("clean_f1",)})
    validation = Validation(images, ArrayCache(tmp_path))
    assert sorted(one.image for one in validation.score_logits(logits, clean, final=True).mistakes) == [3, 7, 11, 15]
    assert validation.score_logits(logits, clean, final=False).mistakes == ()


def test_the_last_epoch_is_measured_as_those_before_it(tmp_path):
    def program(severities, rows):
        """Errs under severity 3 alone, on the images that epochs look at."""

        def predict(*parts):
            erring = np.where(np.isin(rows, half), 0, IMAGES.labels[rows])
            noisy = [
                erring if severity == 3 else IMAGES.labels[rows] for _ in CONFIG.measured_noises for severity in severities
            ]
            return np.eye(4)[np.concatenate([IMAGES.labels, *noisy])]

        return SimpleNamespace(
            takes_activations=False, activations_key="images", place_parts=lambda parts: None, predict_logits=predict
        )

    half, whole = stratified_subset(IMAGES.labels, 8), np.arange(16)
    validation = Validation(IMAGES, ArrayCache(tmp_path))
    before = validation.measure(program(EPOCH_SEVERITIES, half), CONFIG, final=False)
    last = validation.measure(program(SEVERITY_LEVELS, whole), CONFIG, final=True)
    assert last.scores == before.scores
    assert before.final_scores is None
    assert last.scores["noisy_f1"] < last.final_scores["noisy_f1"] < 1


def test_each_condition_is_measured_on_what_an_evaluation_would_draw(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3)).astype(np.uint8)
    images, config = image_set(IMAGES.labels, images=pictures), CONFIG.model_copy(update={"noisy_images": 8})
    seen = []
    program = SimpleNamespace(
        takes_activations=False,
        activations_key="images",
        place_parts=lambda parts: None,
        predict_logits=lambda *parts: (seen.extend(part[:] for part in parts), np.zeros((16 + 15 * 8, 4)))[1],
    )
    Validation(images, ArrayCache(tmp_path)).measure(program, config, final=True)
    chosen = stratified_subset(images.labels, 8)
    keys = [images.keys[i] for i in chosen]
    conditions = [(noise, severity) for noise in config.measured_noises for severity in SEVERITY_LEVELS]
    np.testing.assert_array_equal(seen[0], pictures)
    for shown, condition in zip(seen[1:], conditions, strict=True):
        np.testing.assert_array_equal(shown, corrupt(pictures[chosen], *condition, 0, keys), err_msg=str(condition))


def test_without_noises_only_clean_images_are_looked_at(tmp_path):
    program = FakeProgram()
    config = CONFIG.model_copy(update={"measured_noises": (), "score": ("clean_f1",)})
    scores = Validation(IMAGES, ArrayCache(tmp_path)).measure(program, config, final=True).scores
    assert scores == {"accuracy": 1.0, "clean_f1": 1.0}
    assert program.asked == [(True, 16)]
    assert describe_scores(scores) == "clean_f1 1.000  accuracy 1.000"


@pytest.mark.slow  # for the memory of another process with TensorFlow; test_severity.py has one without
def test_noise_is_the_same_in_another_process(tmp_path):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(corrupted_bytes, (tmp_path / "there",))
    here = corrupted_bytes(tmp_path / "here")
    assert here == there
    assert len(set(here)) == 4
