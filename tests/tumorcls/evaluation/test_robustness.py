from dataclasses import replace

import numpy as np
import pytest

from tests.tumorcls.pictures import image_set
from tumorcls.errors import DataError
from tumorcls.evaluation.evaluate import Plan, Predictions, measure
from tumorcls.evaluation.record import Evaluation
from tumorcls.evaluation.robustness import check_reference, compare, not_compared

LABELS = np.arange(200) % 4
KEYS = [str(i) for i in range(200)]


def model(clean_errors, noisy_errors, name="model", seed=0, keys=KEYS, unseen_errors=()):
    """A model that is wrong on the first so many images of every class, clean and at each severity of each noise."""

    def predictions(errors):
        wrong = np.arange(200) // 4 < errors
        return np.eye(4)[np.where(wrong, (LABELS + 1) % 4, LABELS)]

    noisy, unseen = (
        {(noise, s + 1): predictions(e) for noise, errors in dict(kinds).items() for s, e in enumerate(errors)}
        for kinds in (noisy_errors, unseen_errors)
    )
    return measure(
        Predictions(predictions(clean_errors), noisy, unseen), image_set(LABELS, keys=keys), Plan(seed=seed), name=name
    )


def errors_of(evaluation):
    return {error.noise: (error.be.value, error.rbe.value) for error in evaluation.relative.errors}


def test_be_and_rbe_by_hand():
    ours = model(5, {"gaussian": (6, 10), "speckle": (5, 5)})
    reference = model(10, {"gaussian": (15, 25), "speckle": (20, 20)}, name="seed's recipe")
    found = compare(ours, reference)
    assert found.relative.reference == "seed's recipe"
    expected = {"gaussian": (16 / 40, (1 + 5) / (5 + 15)), "speckle": (10 / 40, 0.0)}
    for noise, values in expected.items():
        assert errors_of(found)[noise] == pytest.approx(values)
    assert errors_of(found)["mean"] == pytest.approx((np.mean([16 / 40, 10 / 40]), np.mean([0.3, 0.0])))


def test_differences_by_hand_are_paired():
    """The model errs on images that the reference errs on too, and on fewer: in each resample it is no worse."""
    ours = model(5, {"gaussian": (6, 10), "speckle": (5, 5)}, unseen_errors={"ghosting": (10,), "motion_blur": (20,)})
    reference = model(10, {"gaussian": (15, 25), "speckle": (20, 20)}, unseen_errors={"ghosting": (20,)})
    reference = replace(reference, unseen=(*reference.unseen, replace(ours.unseen[1], noise="motion_blur")))
    gain = compare(ours, reference).relative.differences
    # A class of 50 images gives as many away as it gets, so F1, precision and recall are all its share of right answers.
    by_hand = {"accuracy": 5 / 50, "macro_f1": 5 / 50, "noisy_f1": (9 + 15 + 15 + 15) / 4 / 50, "unseen_f1": 10 / 2 / 50}
    for name, value in by_hand.items():
        difference = getattr(gain, name)
        assert difference.value == pytest.approx(value), name
        assert 0 <= difference.low < value < difference.high, name
    apart = ours.clean.accuracy.high - reference.clean.accuracy.low  # what the two intervals by themselves would leave open
    assert gain.accuracy.high - gain.accuracy.low < apart
    assert gain.rows[0] == ("accuracy, clean", gain.accuracy.signed())
    assert gain.accuracy.signed().startswith("+0.100 (+0.0")
    back = compare(reference, ours).relative.differences.accuracy
    assert (back.value, back.low, back.high) == pytest.approx((-gain.accuracy.value, -gain.accuracy.high, -gain.accuracy.low))


def test_clean_images_alone_are_compared_too():
    gain = compare(model(5, {}), model(10, {"gaussian": (15,)})).relative
    assert (gain.errors, gain.unseen, gain.differences.noisy_f1, gain.differences.unseen_f1) == ((), (), None, None)
    assert gain.differences.macro_f1.value == pytest.approx(5 / 50)


def test_what_was_never_seen_has_its_own_mean():
    """The reference may have been trained under what the model has never seen."""
    ours = model(5, {"gaussian": (6, 10)}, unseen_errors={"ghosting": (10,), "motion_blur": (20,)})
    reference = model(10, {"gaussian": (15, 25), "ghosting": (20,)}, unseen_errors={"motion_blur": (40,)})
    found = compare(ours, reference)
    assert errors_of(found) == {noise: pytest.approx((16 / 40, 6 / 20)) for noise in ("gaussian", "mean")}
    unseen = {error.noise: (error.be.value, error.rbe.value) for error in found.relative.unseen}
    assert unseen["ghosting"] == pytest.approx((10 / 20, 5 / 10))
    assert unseen["motion_blur"] == pytest.approx((20 / 40, 15 / 30))
    assert unseen["mean"] == pytest.approx((0.5, 0.5))
    with pytest.raises(DataError, match="under every noise; got no motion_blur 1"):
        compare(ours, model(10, {"gaussian": (15, 25), "ghosting": (20,)}))


def test_a_reference_of_before_is_compared_on_what_both_have():
    """It had no `rician`; it must have what a model was trained under, and each severity of what it has."""
    kinds = {"motion_blur": (20,), "rician": (10,)}
    ours = model(5, {"gaussian": (6,)}, unseen_errors=kinds)
    before = model(10, {"gaussian": (15,)}, unseen_errors={"motion_blur": (40,)})
    check_reference(before, before.test_set_sha256, 0, [("gaussian", 1)], [("motion_blur", 1), ("rician", 1)])
    found = compare(ours, before)
    unseen = {error.noise: (error.be.value, error.rbe.value) for error in found.relative.unseen}
    assert unseen == {noise: pytest.approx((20 / 40, 15 / 30)) for noise in ("motion_blur", "mean")}
    assert not_compared(found) == ("rician",)
    assert not_compared(compare(ours, ours)) == not_compared(ours) == ()
    assert Evaluation.from_json(found.to_json()) == found
    with pytest.raises(DataError, match="got no rician 1"):
        compare(model(5, {"gaussian": (6,), "rician": (6,)}), before)
    with pytest.raises(DataError, match="got no rician 2"):
        compare(model(5, {"gaussian": (6,)}, unseen_errors={"rician": (7, 8)}), model(5, {"gaussian": (6,), "rician": (7,)}))


def test_the_reference_next_to_itself_is_1_with_no_width():
    reference = model(10, {"gaussian": (15, 25)})
    for error in compare(reference, reference).relative.errors:
        for value in (error.be, error.rbe):
            assert (value.value, value.low, value.high) == pytest.approx((1, 1, 1))


def answering(labels, clean, noisy, groups=None):
    """A model that answers so to clean images and under gaussian 1."""
    return measure(Predictions(np.eye(4)[clean], {("gaussian", 1): np.eye(4)[noisy]}), image_set(labels, groups=groups), Plan())


def test_each_class_counts_alike_however_few_images_it_has():
    labels, place = np.repeat([0, 1], (30, 10)), np.arange(40)
    ours = answering(labels, labels, np.where(place < 3, 1, labels))  # a tenth of class 0 is wrong
    reference = answering(labels, labels, np.where(place >= 35, 0, labels))  # half of class 1
    assert errors_of(compare(ours, reference))["gaussian"] == pytest.approx((0.1 / 0.5, 0.1 / 0.5))


def test_where_noise_changes_no_answer_the_error_does_not_rise_in_any_resample():
    wrong = np.where(np.arange(200) % 5 == 0, (LABELS + 1) % 4, LABELS)
    reference = answering(LABELS, LABELS, np.where(np.arange(200) < 100, (LABELS + 1) % 4, LABELS))
    rise = compare(answering(LABELS, wrong, wrong), reference).relative.errors[0].rbe
    assert (rise.value, rise.low, rise.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_intervals_are_by_group():
    def width(groups):
        tenths = np.arange(200) // 10  # of 20 images each, right or wrong together
        ours, theirs = (np.where(tenths % every == 0, (LABELS + 1) % 4, LABELS) for every in (5, 2))
        found = compare(answering(LABELS, LABELS, ours, groups), answering(LABELS, LABELS, theirs, groups))
        return found.relative.errors[0].be.high - found.relative.errors[0].be.low

    assert width(np.arange(200) // 10) > 2 * width(np.arange(200))


def test_a_reference_that_hardly_errs_is_not_divided_by():
    ours = model(5, {"gaussian": (6, 10)})
    for wrong, ratio in ((1, None), (3, pytest.approx(1))):  # of the 50 images of one of four classes: .005 and .015
        hardly = answering(LABELS, LABELS, np.where((LABELS == 0) & (np.arange(200) < 4 * wrong), 1, LABELS))
        assert errors_of(compare(hardly, hardly))["gaussian"][0] == ratio
    assert errors_of(compare(ours, model(0, {"gaussian": (0, 0)})))["gaussian"] == (None, None)
    be, rbe = errors_of(compare(ours, model(10, {"gaussian": (10, 10)})))["gaussian"]
    assert be == pytest.approx(16 / 20)
    assert rbe is None


def test_a_reference_that_noise_makes_better_is_not_divided_by():
    assert errors_of(compare(model(5, {"gaussian": (6,)}), model(10, {"gaussian": (5,)})))["gaussian"][1] is None


def test_severities_that_only_the_reference_has_do_not_count():
    ours = model(5, {"gaussian": (10,)})
    reference = model(5, {"gaussian": (20, 50), "speckle": (9,)})
    assert errors_of(compare(ours, reference))["gaussian"][0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (model(5, {"gaussian": (6,)}, seed=1), "same test images with the same noise seed"),
        (model(5, {"gaussian": (6,)}, keys=[f"other-{i}" for i in range(200)]), "same test images"),
        (model(5, {"speckle": (6,)}), "under every noise; got no gaussian 1"),
    ],
)
def test_a_reference_measured_otherwise_is_refused(reference, message):
    with pytest.raises(DataError, match=message):
        compare(model(5, {"gaussian": (6,)}), reference)
