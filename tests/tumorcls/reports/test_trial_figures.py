import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tumorcls.data.dataset import ImageSet
from tumorcls.data.labels import CLASSES
from tumorcls.evaluation.mistakes import Mistake
from tumorcls.reports.trial_figures import pictures
from tumorcls.training.validation import Epoch, ValidationScores

CONFUSION = np.array([[8, 2, 0, 0], [1, 9, 0, 0], [0, 0, 0, 0], [3, 0, 0, 7]])


GREYS = (10, 90, 170, 250)
IMAGES = ImageSet(
    np.stack([np.full((32, 32, 3), grey, np.uint8) for grey in GREYS]), np.arange(4), np.arange(4), CLASSES, tuple("abcd"), "k"
)


def epochs(count=3, noisy=True, mistakes=()):
    curves = {"gaussian": (0.8, 0.7, 0.6, 0.5, 0.4), "salt_pepper": (0.9,) * 5} if noisy else {}
    scores = {"clean_f1": 0.8, **({"noisy_f1": 0.6} if noisy else {})}
    return [Epoch(at, 1.5 - 0.5 * at, ValidationScores(scores, CONFUSION, curves, mistakes)) for at in range(count)]


def texts(picture):
    return [element.text for element in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]


def lines(picture):
    found = re.findall(r'points="(.*?)"', picture.decode())
    return [[tuple(map(float, point.split(","))) for point in line.split()] for line in found]


def test_they_are_small_pictures_that_say_what_they_show():
    drawn = pictures(epochs(), IMAGES)
    assert set(drawn) == {"training-curve.svg", "confusion-matrix.svg", "robustness-curve.svg"}
    assert sum(map(len, drawn.values())) < 30_000
    assert {"epoch", "clean f1", "noisy f1", "training loss"} <= set(texts(drawn["training-curve.svg"]))
    assert {"severity (0 is clean)", "gaussian", "salt pepper"} <= set(texts(drawn["robustness-curve.svg"]))


def test_no_line_is_told_from_another_by_its_colour_alone():
    """Each name has a piece of its line before it."""
    drawn = ElementTree.fromstring(pictures(epochs(), IMAGES)["robustness-curve.svg"])
    curves, pieces = (
        [one.get("stroke-dasharray") for one in drawn.iter(f"{{http://www.w3.org/2000/svg}}{kind}")]
        for kind in ("polyline", "line")
    )
    assert len(set(curves)) == 2
    assert [piece for piece in pieces if piece is not None] == curves


def test_the_confusion_matrix_has_every_count_and_share():
    shown = texts(pictures(epochs(), IMAGES)["confusion-matrix.svg"])
    cells = [text for text in shown if re.fullmatch(r"\d+", text)]
    assert cells == [str(count) for count in CONFUSION.ravel()]
    assert "80%" in shown
    assert "no tumor" in shown


def test_curves_fall_where_values_fall():
    gaussian, salt = lines(pictures(epochs(), IMAGES)["robustness-curve.svg"])
    assert len(gaussian) == 6, "clean and five severities"
    heights = [y for _, y in gaussian]
    assert heights[1:] == sorted(heights[1:]), "down is larger in a picture"
    assert heights[0] == heights[1], "clean and the mildest noise have the same F1 here"
    assert len({y for _, y in salt[1:]}) == 1
    loss = lines(pictures(epochs(), IMAGES)["training-curve.svg"])[2]
    assert loss[0][1] == 240 + 40, "the largest loss touches the top"


@pytest.mark.parametrize(("count", "noisy"), [(1, True), (3, False)])
def test_a_single_epoch_and_no_noise(count, noisy):
    drawn = pictures(epochs(count, noisy), IMAGES)
    assert ("robustness-curve.svg" in drawn) == noisy
    assert "NaN" not in str(drawn)


def test_the_worst_mistakes_are_on_a_sheet_in_their_order():
    mistakes = tuple(Mistake(image, "", image, 0, 0.9) for image in (3, 1, 2) + (3,) * 5)
    content = pictures(epochs(mistakes=mistakes), IMAGES)["worst-mistakes.png"]
    sheet = np.asarray(Image.open(io.BytesIO(content)))
    assert sheet.ndim == 2
    flat = [GREYS[i] for i in (3, 1, 2, 3, 3, 3)]
    assert [sheet[46 + 60, 10 + 60 + column * 130] for column in range(6)] == flat
    assert [sheet[46 + 166 + 60, 10 + 60 + column * 130] for column in range(3)] == [250, 250, 255], "two in the second row"
