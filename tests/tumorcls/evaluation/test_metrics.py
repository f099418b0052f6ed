import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tumorcls.evaluation import metrics


@pytest.fixture
def predictions():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 300)
    logits = generator.normal(size=(300, 4)) + 1.5 * np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities


def test_agrees_with_scikit_learn(predictions):
    labels, probabilities = predictions
    predicted = probabilities.argmax(axis=1)
    confusion = metrics.confusion_matrix(labels, predicted, 4)
    np.testing.assert_array_equal(confusion, sklearn_metrics.confusion_matrix(labels, predicted))
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(labels, predicted)
    np.testing.assert_allclose(metrics.precision(confusion), precision)
    np.testing.assert_allclose(metrics.recall(confusion), recall)
    np.testing.assert_allclose(metrics.f1(confusion), f1)
    assert metrics.accuracy(confusion) == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert metrics.macro_f1(confusion) == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="macro"))
    assert metrics.balanced_accuracy(confusion) == pytest.approx(sklearn_metrics.balanced_accuracy_score(labels, predicted))
    one_vs_rest = sklearn_metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average=None)
    np.testing.assert_allclose(metrics.roc_auc(labels, probabilities), one_vs_rest)


def test_by_hand():
    confusion = metrics.confusion_matrix(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2)
    assert confusion.tolist() == [[2, 1], [0, 1]]
    assert metrics.recall(confusion).tolist() == pytest.approx([2 / 3, 1])
    assert metrics.precision(confusion).tolist() == pytest.approx([1, 1 / 2])
    assert metrics.macro_f1(confusion) == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_many_matrices_at_once_are_the_same_as_one_at_a_time():
    confusions = np.random.default_rng(0).integers(0, 9, (5, 4, 4))
    for measure in (metrics.accuracy, metrics.recall, metrics.f1, metrics.macro_f1, metrics.balanced_accuracy):
        np.testing.assert_allclose(measure(confusions), [measure(confusion) for confusion in confusions])


def test_a_class_that_is_missing_is_not_defined_and_does_not_count():
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    confusion = metrics.confusion_matrix(labels, predicted, 4)
    assert np.isnan(metrics.recall(confusion)).tolist() == [False, False, True, True]
    assert np.isnan(metrics.precision(confusion)).tolist() == [False, False, True, True]
    assert metrics.macro_f1(confusion) == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="macro"))
    assert metrics.balanced_accuracy(confusion) == pytest.approx(sklearn_metrics.balanced_accuracy_score(labels, predicted))
    probabilities = np.eye(4)[predicted]
    assert metrics.roc_auc(labels, probabilities)[2:] == [None, None]


def test_a_class_that_is_only_predicted_has_an_f1_of_0_and_does_not_count():
    labels, predicted = np.array([0, 0, 1]), np.array([0, 2, 1])
    confusion = metrics.confusion_matrix(labels, predicted, 4)
    assert metrics.f1(confusion)[2] == 0
    assert metrics.macro_f1(confusion) == pytest.approx((2 / 3 + 1) / 2)
    assert metrics.guessing_f1(np.array([0, 0, 1, 1]), 4) == pytest.approx(1 / 3)  # recall 1/4, precision 1/2


@pytest.mark.parametrize("present", [(0, 1, 2, 3), (0, 1, 3), (2,)])
def test_macro_f1_is_scikit_learns_over_the_classes_in_the_data(present):
    generator = np.random.default_rng(len(present))
    for _ in range(50):
        labels = np.r_[present, generator.choice(present, generator.integers(1, 40))]
        predicted = np.where(generator.random(len(labels)) < 0.7, labels, generator.integers(0, 4, len(labels)))
        expected = sklearn_metrics.f1_score(labels, predicted, labels=np.unique(labels), average="macro")
        assert metrics.macro_f1(metrics.confusion_matrix(labels, predicted, 4)) == pytest.approx(expected)


def test_which_wrong_class_an_answer_names_hardly_counts_where_the_data_lacks_that():
    labels = np.repeat([0, 1, 3], 100)
    predicted = labels.copy()
    predicted[::20] = np.where(labels[::20] == 0, 1, 0)
    before = metrics.macro_f1(metrics.confusion_matrix(labels, predicted, 4))
    for wrong in np.flatnonzero(predicted != labels):
        for other in {0, 1, 2, 3} - {labels[wrong]}:
            changed = predicted.copy()
            changed[wrong] = other
            after = metrics.macro_f1(metrics.confusion_matrix(labels, changed, 4))
            assert after == pytest.approx(before, abs=2 / len(labels))


@pytest.mark.parametrize("digits", [1, 2, 12])
def test_risk_and_coverage_are_scikit_learn_s_counts_at_each_threshold(digits):
    generator = np.random.default_rng(digits)
    for _ in range(50):
        images = int(generator.integers(2, 300))
        confidence, wrong = generator.random(images).round(digits), generator.random(images) < 0.3
        _, false, _, right, thresholds = sklearn_metrics.confusion_matrix_at_thresholds(~wrong, confidence, pos_label=True)
        found = metrics.risk_coverage(confidence, wrong)
        np.testing.assert_array_equal(found[0], thresholds)
        np.testing.assert_allclose(found[1], (right + false) / images)
        np.testing.assert_allclose(found[2], false / (right + false))


def test_the_brier_score_is_scikit_learn_s():
    generator = np.random.default_rng(0)
    labels, probabilities = generator.integers(0, 3, 40), generator.dirichlet(np.ones(4), 40)
    expected = sklearn_metrics.brier_score_loss(labels, probabilities, labels=range(4), scale_by_half=False)
    assert metrics.brier(labels, probabilities).mean() == pytest.approx(expected)
    assert metrics.brier(np.array([1]), np.array([[1.0, 0.0]])).tolist() == [2.0]


def test_calibration_error_by_hand():
    # Three predictions in (13/15, 14/15], two of them right; one in (7/15, 8/15], wrong.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.5, 0.5]])
    sums = metrics.calibration_sums(np.array([0, 0, 1, 1]), probabilities).sum(axis=0)
    assert metrics.calibration_error(sums) == pytest.approx(3 / 4 * abs(0.9 - 2 / 3) + 1 / 4 * 0.5)
    assert metrics.calibration_bins(sums) == [
        metrics.Bin(1, pytest.approx(0.5), 0.0),
        metrics.Bin(3, pytest.approx(0.9), pytest.approx(2 / 3)),
    ]


def test_being_too_sure_here_does_not_make_up_for_being_too_unsure_there():
    # Two of confidence .9, one of them right, and two of .6, both right: .4 too sure, and .4 too unsure.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    sums = metrics.calibration_sums(np.array([0, 1, 0, 0]), probabilities).sum(axis=0)
    assert metrics.calibration_error(sums) == pytest.approx(0.4)


def test_a_bin_is_closed_above():
    confidences = np.array([0.6, 0.8])  # 9/15 and 12/15
    sums = metrics.calibration_sums(np.zeros(2, int), np.stack([confidences, 1 - confidences], axis=1)).sum(axis=0)
    assert np.flatnonzero(sums[:, 0]).tolist() == [8, 11]


def test_sure_and_right_is_calibrated_and_certainty_falls_in_the_last_bin():
    probabilities = np.eye(4)
    sums = metrics.calibration_sums(np.arange(4), probabilities).sum(axis=0)
    assert metrics.calibration_error(sums) == 0
    assert sums[-1, 0] == 4


def test_guesses_that_are_as_sure_as_they_are_right_have_a_small_error():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4), 20000)
    labels = (generator.random((20000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=3)
    sums = metrics.calibration_sums(labels, probabilities).sum(axis=0)
    assert metrics.calibration_error(sums) < 0.02


def test_f1_under_noise_in_short_by_hand_with_resamples_and_without():
    curves = {"gaussian": (0.8, 0.4), "speckle": (0.5, 0.5), "rician": (0.9, 0.9)}
    short = metrics.noisy_f1(0.9, curves)
    assert short.by_noise == pytest.approx({"gaussian": 0.6, "speckle": 0.5, "rician": 0.9})
    assert (short.noisy, short.robust, short.worst) == pytest.approx((2 / 3, (0.9 + 2 / 3) / 2, 0.5))
    assert short.worst_noise == "speckle"
    resampled = metrics.noisy_f1(np.array([0.9, 0.7]), {"gaussian": [np.array([0.6, 0.1])], "speckle": [np.array([0.5, 0.3])]})
    np.testing.assert_allclose(resampled.worst, [0.5, 0.3])  # the measured value decides which it is, not the resample's
    np.testing.assert_allclose(resampled.robust, [(0.9 + 0.55) / 2, (0.7 + 0.2) / 2])


def test_guessing_is_what_many_guesses_reach():
    labels = np.repeat(np.arange(3), (9000, 6000, 1500))
    guessed = np.random.default_rng(0).integers(0, 3, len(labels))
    expected = sklearn_metrics.f1_score(labels, guessed, average="macro")
    assert metrics.guessing_f1(labels, 3) == pytest.approx(expected, abs=0.01)
    assert metrics.guessing_f1(np.arange(8) % 4, 4) == pytest.approx(0.25)
