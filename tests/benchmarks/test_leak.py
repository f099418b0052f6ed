import cv2
import numpy as np
import pytest

from benchmarks.leak import correlation, scores


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
