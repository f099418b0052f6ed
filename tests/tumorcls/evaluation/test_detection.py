from dataclasses import replace

import numpy as np
import pytest

from tumorcls.data.labels import BINARY_CLASSES, CLASSES
from tumorcls.evaluation.bootstrap import Estimate, draw_resamples
from tumorcls.evaluation.detection import Detection, Errors, measure

LABELS = np.array([0, 0, 1, 3, 3, 2, 2])
PREDICTED = np.array([0, 1, 2, 3, 2, 2, 0])  # one tumour of another type is no miss


def measured(labels=LABELS, predicted=PREDICTED, groups=None, classes=CLASSES):
    groups = np.arange(len(labels)) if groups is None else groups
    return measure(labels, predicted, classes, draw_resamples(groups, 200, 0))


def test_a_miss_is_a_tumour_that_is_called_none_whatever_its_type():
    found = measured()
    assert (found.missed.count, found.missed.images, found.missed.share.value) == (2, 5, pytest.approx(0.4))
    assert (found.false_alarms.count, found.false_alarms.images, found.false_alarms.share.value) == (1, 2, pytest.approx(0.5))
    assert found.missed.share.low < 0.4 < found.missed.share.high
    assert str(found.missed) == f"2 of 5: {found.missed.share}"
    two = measured(np.array([1, 1, 0]), np.array([0, 1, 0]), classes=BINARY_CLASSES)
    assert (two.missed.count, two.missed.images, two.false_alarms.count, two.false_alarms.images) == (1, 2, 0, 1)


def test_none_of_so_many_groups_has_an_interval():
    found = measured(np.array([0, 0, 0, 2]), np.array([0, 0, 0, 2]), groups=np.array([0, 0, 1, 2]))
    assert (found.missed.share.low, found.missed.share.high) == (0, pytest.approx(1 - 0.025 ** (1 / 2)))


def test_without_tumours_or_without_others_there_is_nothing_to_measure():
    for labels in (np.array([2, 2]), np.array([0, 3])):
        assert measured(labels, np.array([0, 2])) is None


def test_what_an_alarm_is_worth_where_tumours_are_rare():
    """By Bayes' rule: of 10,000 scans 100 show a tumour; missed 10% and 0%, false alarms 5% and 1% of the other 9,900."""
    missed, false_alarms = Errors(5, 100, Estimate(0.05, 0.0, 0.1)), Errors(1, 50, Estimate(0.02, 0.01, 0.05))
    found = Detection(missed, false_alarms)
    assert ". 67% of these images show a tumour: " in found.note
    assert found.note.endswith(" Were it 1 in 100, 15 to 50 of 100 alarms would be right at these rates.")  # 90/585, 100/199
    mute = replace(found, missed=Errors(9, 9, Estimate(1.0, 1.0, 1.0)), false_alarms=Errors(0, 9, Estimate(0.0, 0.0, 0.0)))
    assert mute.note.endswith("a clinic's may be another.")
