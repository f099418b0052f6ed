import numpy as np
import pytest

from tumorcls.errors import ModelError
from tumorcls.model.calibration import calibrate, check_probabilities, choose_threshold, fit_temperature, softmax


def test_a_model_that_is_wrong_and_very_sure_is_made_as_unsure_as_can_be():
    assert fit_temperature(np.array([[4000.0, 0.0], [2.0, 0.0]]), np.array([1, 0])) == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_distorted_the_logits_is_found(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 4))
    labels = np.array([rng.choice(4, p=p) for p in softmax(logits)])
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_a_temperature_never_changes_the_class():
    logits = np.random.default_rng(1).normal(0, 3, (200, 4))
    assert (softmax(logits, 5.0).argmax(axis=1) == logits.argmax(axis=1)).all()
    assert softmax(logits, 5.0).max() < softmax(logits).max()


def answers(confidences, right):
    """Probabilities of two classes; label 0 where the answer, class 0, is right."""
    confidences = np.asarray(confidences)
    return np.column_stack([confidences, 1 - confidences]), np.where(right, 0, 1)


def test_the_threshold_gives_as_many_answers_as_the_error_allows():
    probabilities, labels = answers([0.99, 0.9, 0.8, 0.7, 0.6], [True, True, False, True, False])
    assert choose_threshold(probabilities, labels, 0.0) == (0.9, 0.4, 0.0)
    assert choose_threshold(probabilities, labels, 0.25) == (0.7, 0.8, 0.25)
    assert choose_threshold(probabilities, labels, 0.4) == (0.0, 1.0, 0.4)


def test_equal_confidences_are_answered_together():
    probabilities, labels = answers([0.9, 0.8, 0.8, 0.8], [True, True, True, False])
    assert choose_threshold(probabilities, labels, 0.0) == (0.9, 0.25, 0.0)


def test_where_no_threshold_is_good_enough_the_best_is_taken():
    probabilities, labels = answers([0.9, 0.8, 0.7], [False, True, False])
    assert choose_threshold(probabilities, labels, 0.1) == (0.8, pytest.approx(2 / 3), 0.5)
    probabilities, labels = answers([0.9, 0.8, 0.7, 0.6, 0.5], [False, True, False, True, False])
    assert choose_threshold(probabilities, labels, 0.1) == (0.6, 0.8, 0.5), "of two that are as good, the one that answers more"


def test_calibrate_says_what_it_chose():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 3, (500, 4))
    labels = np.array([rng.choice(4, p=p) for p in softmax(logits, 2.0)])
    found = calibrate(logits, labels, max_error=0.1)
    shares = softmax(logits, found.temperature)
    answered = shares.max(axis=1) >= found.threshold
    assert found.images == 500
    assert answered.mean() == pytest.approx(found.coverage)
    assert (shares.argmax(axis=1) != labels)[answered].mean() == pytest.approx(found.error)
    assert found.error <= 0.1
    for coverage in (0.5, 0.99):
        sets = calibrate(logits, labels, coverage=coverage).sets
        assert sets.coverage == coverage
        assert (shares[np.arange(500), labels] >= sets.cutoff).mean() == pytest.approx(coverage, abs=0.01)


@pytest.mark.parametrize("row", [[0.6, 0.5], [0.5, 0.49], [1.2, -0.2], [np.nan, 1.0], [np.inf, 0.0]])
def test_an_answer_that_is_no_probabilities_is_refused(row):
    whole = np.array([[0.25, 0.75]], np.float32)
    assert check_probabilities(whole) is whole
    with pytest.raises(ModelError, match=r"must answer with probabilities that add up to 1; got .*\. Train it again\."):
        check_probabilities(np.concatenate([whole, np.array([row], np.float32)]))
