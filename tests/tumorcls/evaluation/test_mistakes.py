import numpy as np

from tumorcls.evaluation.mistakes import find_mistakes, most_confident

PROBABILITIES = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.95, 0.05], [0.6, 0.4]])
LABELS = np.array([1, 0, 0, 1, 1])
KEYS = tuple("abcde")


def test_every_wrong_answer_is_found_with_what_was_said():
    found = find_mistakes(PROBABILITIES, LABELS, KEYS, noise="gaussian", severity=2)
    assert [(one.image, one.key, one.label, one.predicted) for one in found] == [
        (0, "a", 1, 0),
        (2, "c", 0, 1),
        (3, "d", 1, 0),
        (4, "e", 1, 0),
    ]
    assert found[1].confidence == 0.7
    assert {(one.noise, one.severity) for one in found} == {("gaussian", 2)}


def test_only_some_images_may_count():
    among = np.array([True, True, False, False, True])
    assert [one.image for one in find_mistakes(PROBABILITIES, LABELS, KEYS, among=among)] == [0, 4]


def test_the_surest_come_first_and_one_of_each_group():
    found = find_mistakes(PROBABILITIES, LABELS, KEYS)
    assert [one.image for one in most_confident(found, np.array([7, 0, 1, 7, 2]))] == [3, 2, 4]
    assert [one.image for one in most_confident(found, np.arange(5), count=2)] == [3, 0]
