"""Whatever is read can be shown: what does not fit together is refused before a table or a chart meets it."""

from dataclasses import replace

import numpy as np
import pytest

import tumorcls
from tests.tumorcls.pictures import image_set
from tumorcls.errors import DataError
from tumorcls.evaluation.evaluate import Plan, Predictions, measure
from tumorcls.evaluation.record import Evaluation
from tumorcls.model.conformal import ClassSets

LABELS = np.arange(8) % 4


@pytest.fixture
def evaluation():
    """Of a model that is wrong on one image, under two noises and one corruption that it has not seen."""
    answers = np.eye(4)[np.where(np.arange(8) == 0, 3, LABELS)]
    noisy = {("gaussian", 1): answers, ("speckle", 2): answers}
    plan = Plan(sets=ClassSets(0.9, 0.5), resamples=20)
    return measure(Predictions(answers, noisy, {("gamma_up", 1): answers}), image_set(LABELS), plan)


def clean(change):
    return lambda whole: replace(whole, clean=change(whole.clean))


def mistake(**change):
    return lambda whole: replace(whole, mistakes=(replace(whole.mistakes[0], **change),))


CONTRADICTIONS = {
    "a label that is no class": (lambda whole: replace(whole, labels=(4, *whole.labels[1:])), "labels and groups"),
    "fewer groups than images": (lambda whole: replace(whole, groups=whole.groups[1:]), "labels and groups"),
    "two classes of one name": (lambda whole: replace(whole, classes=("a", "a", "b", "c")), "classes"),
    "no such noise": (lambda whole: replace(whole, noisy=(replace(whole.noisy[0], noise="rain"),)), "noisy"),
    "no such severity": (lambda whole: replace(whole, unseen=(replace(whole.unseen[0], severity=6),)), "unseen"),
    "a condition twice": (lambda whole: replace(whole, noisy=(whole.noisy[0], *whole.noisy)), "noisy"),
    "noise without a summary": (lambda whole: replace(whole, summary=None), "noisy"),
    "what is unseen without a summary": (lambda whole: replace(whole, unseen_summary=None), "unseen"),
    "a summary of no noise": (lambda whole: replace(whole, noisy=()), "noisy"),
    "no such worst noise": (lambda whole: replace(whole, summary=replace(whole.summary, worst_noise="rain")), "noisy"),
    "fewer recalls than classes": (clean(lambda scores: replace(scores, recall=scores.recall[1:])), "scores"),
    "a row less of the confusion": (clean(lambda scores: replace(scores, confusion=scores.confusion[1:])), "scores"),
    "fewer answers than images": (clean(lambda scores: replace(scores, predicted=scores.predicted[1:])), r"scores\.predicted"),
    "an answer that is no class": (clean(lambda scores: replace(scores, predicted=(4,) * 8)), r"scores\.predicted"),
    "more counted than images": (clean(lambda scores: replace(scores, confusion=((8,) * 4,) * 4)), r"scores\.confusion"),
    "less than none": (
        clean(lambda scores: replace(scores, confusion=((9, -1, 0, 0), *((0,) * 4,) * 3))),
        r"scores\.confusion",
    ),
    "a mistake on no image": (mistake(image=8), "mistakes"),
    "a mistake of no class": (mistake(predicted=4), "mistakes"),
    "a mistake of a severity without noise": (mistake(severity=1), "mistakes"),
    "a hundred and one mistakes": (lambda whole: replace(whole, mistakes=whole.mistakes * 101), "mistakes"),
    "sets of no noise": (
        lambda whole: replace(whole, sets=replace(whole.sets, rows=(replace(whole.sets.rows[0], noise="rain"),))),
        "sets",
    ),
}


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_what_does_not_fit_together_is_one_line(evaluation, kind):
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    change, where = CONTRADICTIONS[kind]
    with pytest.raises(
        DataError, match=rf"^old\.json: must be JSON written by `tumorcls evaluate`; {where}: .*Evaluate"
    ) as caught:
        Evaluation.from_json(change(evaluation).to_json(), "old.json")
    assert "\n" not in str(caught.value)


def test_one_of_a_later_version_is_said_to_be_so(evaluation):
    """What a later version may add to a file, and this one does not know, is no damage."""
    assert evaluation.provenance["tumorcls"] == tumorcls.__version__
    later = replace(evaluation, provenance={"tumorcls": "0.10.0"})
    assert Evaluation.from_json(later.to_json()) == later, "what can be read is read"
    text = later.to_json().replace('"gaussian"', '"rain"')
    with pytest.raises(DataError) as caught:
        Evaluation.from_json(text, where="test.json")
    rule = "test.json: must be an evaluation of tumorcls 0.1.0 or earlier; got one of 0.10.0. Install tumorcls 0.10.0 or later."
    assert str(caught.value) == rule
    for version in ("0.1.0", "0.0.9", "later", "9" * 5000, ""):
        with pytest.raises(DataError, match="Evaluate the model again"):
            Evaluation.from_json(text.replace("0.10.0", version))
