from dataclasses import replace

import numpy as np
import pytest

from tests.tumorcls.pictures import image_set
from tumorcls.errors import DataError
from tumorcls.evaluation.evaluate import Plan, Predictions, measure
from tumorcls.evaluation.external import External, WithSeen, score_rows
from tumorcls.evaluation.record import Evaluation

LABELS = np.repeat([0, 1, 2, 3], (4, 2, 2, 2))


def scores(wrong):
    """Of a model that takes the first so many images for the last class."""
    return measure(Predictions(np.eye(4)[np.where(np.arange(10) < wrong, 3, LABELS)], {}), image_set(LABELS), Plan())


@pytest.fixture
def evaluation():
    """Of ten images that are new, and six that the model may have seen, two of them for their patients."""
    with_seen = scores(1).clean
    found = External(16, 4, 2, WithSeen(with_seen.accuracy, with_seen.balanced_accuracy, with_seen.macro_f1))
    return replace(scores(3), external=found)


def test_each_score_stands_under_its_name_without_what_was_seen_first(evaluation):
    new, seen = evaluation.clean, evaluation.external.with_seen
    assert score_rows(evaluation) == [
        ("accuracy", new.accuracy, seen.accuracy),
        ("balanced accuracy", new.balanced_accuracy, seen.balanced_accuracy),
        ("macro-F1", new.macro_f1, seen.macro_f1),
    ]
    values = [(round(one.value, 3), round(other.value, 3)) for _, one, other in score_rows(evaluation)]
    assert values == [(0.7, 0.9), (0.812, 0.938), (0.743, 0.914)]


def test_pictures_and_patients_are_left_out(evaluation):
    assert evaluation.external.left_out == 6
    assert evaluation.external.sentence() == (
        "Of 16 images the model may have seen 4, or copies of them, in its training, and 2 more of patients that it has: "
        "6 are left out."
    )
    assert "patients" not in replace(evaluation.external, seen_patients=0).sentence()


def test_what_was_measured_and_what_was_left_out_are_all_images(evaluation):
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    for wrong in (replace(evaluation.external, images=15), replace(evaluation.external, seen_patients=0)):
        with pytest.raises(DataError, match="external: must count the images that were measured and those that were left out"):
            Evaluation.from_json(replace(evaluation, external=wrong).to_json())
