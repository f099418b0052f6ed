import numpy as np
import pytest

from tumorcls.model.calibration import softmax
from tumorcls.model.conformal import ClassSets, calibrate_sets, range_of_shares


def drawn(count, seed, temperature=1.0):
    """Probabilities of a model, and labels that are drawn from them at another temperature: it is too sure or too unsure."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (count, 4))
    chances = softmax(logits, temperature).cumsum(axis=1)
    return softmax(logits), (generator.random((count, 1)) > chances).sum(axis=1).clip(max=3)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_sets_hold_the_true_class_as_often_as_was_asked_for(coverage, temperature):
    """On average over calibrations of 100 images: at least the coverage, and at most 1 / 101 more."""
    found = []
    for seed in range(200):
        probabilities, labels = drawn(300, seed, temperature)
        sets = calibrate_sets(probabilities[:100], labels[:100], coverage)
        inside = probabilities[100:] >= sets.cutoff
        found.append(inside[np.arange(200), labels[100:]].mean())
    error = np.std(found) / np.sqrt(len(found))
    assert coverage - 3 * error <= np.mean(found) <= coverage + 1 / 101 + 3 * error


@pytest.mark.parametrize(("coverage", "count"), [(0.9, 16), (0.9, 48), (0.8, 30), (0.95, 100)])
def test_the_range_holds_the_shares_of_nineteen_validation_parts_in_twenty(coverage, count):
    generator = np.random.default_rng(1)
    found = []
    for _ in range(4000):
        true = generator.random(count)
        cutoff = calibrate_sets(np.stack([true, 1 - true], axis=1), np.zeros(count, int), coverage).cutoff
        found.append(1 - cutoff)  # of new images, whose true class is as likely to be anywhere in [0, 1]
    low, high = range_of_shares(coverage, count)
    assert np.mean([low <= share <= high for share in found]) == pytest.approx(0.95, abs=0.015)
    assert coverage - 0.001 <= np.mean(found)


def test_fewer_images_than_must_reach_the_cutoff_promise_nothing():
    assert range_of_shares(0.9, 487) == pytest.approx((0.874, 0.926), abs=0.001)
    assert (range_of_shares(0.9, 8), range_of_shares(0.9, 9) is None) == (None, False)
    assert range_of_shares(0.99, 98) is None


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_no_set_is_empty_and_none_is_smaller_for_it(coverage):
    probabilities, labels = drawn(500, 3, 0.5)
    sets = calibrate_sets(probabilities, labels, coverage)
    inside = sets.contain(probabilities)
    reached = probabilities >= sets.cutoff
    assert not reached.any(axis=1).all(), "by the cutoff alone some would be empty"
    np.testing.assert_array_equal(inside[reached.any(axis=1)], reached[reached.any(axis=1)])
    assert (inside[~reached.any(axis=1)].argmax(axis=1) == probabilities[~reached.any(axis=1)].argmax(axis=1)).all()
    assert inside.sum(axis=1).min() == 1
    assert [row.tolist() for row in map(sets.contain, probabilities)] == inside.tolist(), "one image or many"


@pytest.mark.parametrize(("cutoff", "single"), [(0.0, False), (0.5, False), (0.501, True)])
def test_above_a_half_no_set_holds_two(cutoff, single):
    sets = ClassSets(0.9, cutoff)
    assert sets.single is single
    assert sets.contain([0.501, 0.499]).tolist() == [True, cutoff == 0]
    assert sets.contain([0.4, 0.3, 0.3]).tolist() == [True, cutoff == 0, cutoff == 0]


def test_the_cutoff_by_hand():
    probabilities = np.array([[p, 1 - p] for p in (0.9, 0.8, 0.7, 0.6)])
    labels = np.zeros(4, int)
    assert calibrate_sets(probabilities, labels, 0.8).cutoff == pytest.approx(0.6)  # 4 of 5
    assert calibrate_sets(probabilities, labels, 0.6).cutoff == pytest.approx(0.7)
    assert calibrate_sets(probabilities, labels, 0.9).cutoff == 0.0  # 5 of 5: four images cannot promise it
    assert (np.array([[1.0, 0.0]]) >= calibrate_sets(probabilities, labels, 0.9).cutoff).all(), "nothing is ruled out"
    inside = probabilities >= calibrate_sets(probabilities, labels, 0.6).cutoff
    assert inside.tolist() == [[True, False], [True, False], [True, False], [False, False]]


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_mapie_gives_the_same_sets(coverage):
    mapie = pytest.importorskip("mapie.classification")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """Takes probabilities for features."""

        def fit(self, x, y):
            self.classes_ = np.arange(4)
            return self

        def predict_proba(self, x):
            return x

        def predict(self, x):
            return x.argmax(axis=1)

    probabilities, labels = drawn(600, 0)
    theirs = mapie.SplitConformalClassifier(
        Given().fit(None, None), confidence_level=coverage, conformity_score="lac", prefit=True
    )
    theirs.conformalize(probabilities[:200], labels[:200])
    _, expected = theirs.predict_set(probabilities[200:])
    found = probabilities[200:] >= calibrate_sets(probabilities[:200], labels[:200], coverage).cutoff
    np.testing.assert_array_equal(found, expected[:, :, 0])
