from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from benchmarks.leak import TESTED, blocks_of, correlation, draw_test, numbered, probe_scores, scores


def test_a_copy_correlates_as_it_is_and_mirrored_and_a_stranger_does_not(tmp_path):
    generator = np.random.default_rng(0)
    pictures = [cv2.GaussianBlur(generator.normal(128, 60, (96, 96)), (0, 0), 3) for _ in range(2)]
    images = {"one": pictures[0], "mirrored": pictures[0][:, ::-1], "stranger": pictures[1]}
    for name, image in images.items():
        stretched = np.interp(image, (image.min(), image.max()), (0, 255)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{name}.png"), stretched)
    one = tmp_path / "one.png"
    assert correlation(one, one) == pytest.approx(1)
    assert correlation(one, tmp_path / "mirrored.png") == pytest.approx(1, abs=1e-3)
    assert correlation(one, tmp_path / "stranger.png") < 0.5


def test_scores_are_of_the_images_that_are_given(capsys):
    labels = np.arange(40) % 4
    predicted = np.where(np.arange(40) < 30, labels, (labels + 1) % 4)
    scores("the rest", predicted, labels, np.arange(40))
    assert capsys.readouterr().out.startswith("the rest: 40 images, accuracy 0.750 (0.")


def test_numbered_files_of_the_training_folder_are_in_blocks_of_their_series():
    names = ["Training/glioma_tumor/gg (7).jpg", "Training/no_tumor/image(19).jpg", "Testing/no_tumor/image(1).jpg"]
    names += ["Training/no_tumor/image.jpg", "Training/glioma_tumor/gg (39).jpg", "Training/no_tumor/image(1).jpg"]
    manifest = SimpleNamespace(entries=[SimpleNamespace(name=name) for name in names])
    rows, series, numbers = numbered(SimpleNamespace(manifest=manifest, parts=["train", "test", *["train"] * 3, "left_out"]))
    assert rows.tolist() == [0, 1, 4]
    assert (series, numbers.tolist()) == (["glioma_tumor/gg", "no_tumor/image", "glioma_tumor/gg"], [7, 19, 39])
    units = blocks_of(["a"] * 100 + ["b"] * 100, np.tile(np.arange(100), 2), 20, np.random.default_rng(0)).tolist()
    assert len(set(units[:100])) in (5, 6)
    assert not set(units[:100]) & set(units[100:])
    assert [units.count(unit) for unit in set(units[20:80])].count(20) >= 3


def test_whole_units_of_each_class_are_tested():
    labels, units = np.arange(400) % 4, np.arange(400) // 16
    test = draw_test(units, labels, np.random.default_rng(0))
    for label in range(4):
        assert TESTED <= test[labels == label].mean() <= TESTED + 0.04
        assert all(len(set(test[(units == unit) & (labels == label)])) == 1 for unit in range(25))


def test_the_probe_and_the_nearest_neighbour_are_scored():
    generator = np.random.default_rng(0)
    labels = np.arange(80) % 4
    inputs = (10 * np.eye(4)[labels] + generator.normal(0, 0.1, (80, 4))).astype(np.float32)
    assert list(probe_scores(inputs[:40], labels[:40], inputs[40:], labels[40:])) == [1, 1]
    assert max(probe_scores(inputs[:40], labels[:40], inputs[40:], (labels[40:] + 1) % 4)) == 0
