import numpy as np
import pytest

from tests.tumorcls.pictures import image_set
from tumorcls.errors import DataError
from tumorcls.evaluation.evaluate import Plan, Predictions, measure
from tumorcls.evaluation.robustness import compare

LABELS = np.arange(200) % 4
KEYS = [str(i) for i in range(200)]


def model(clean_errors, noisy_errors, name="model", seed=0, keys=KEYS):
    """A model that is wrong on the first so many images of every class, clean and at each severity of each noise."""

    def predictions(errors):
        wrong = np.arange(200) // 4 < errors
        return np.eye(4)[np.where(wrong, (LABELS + 1) % 4, LABELS)]

    noisy = {(noise, s + 1): predictions(e) for noise, errors in noisy_errors.items() for s, e in enumerate(errors)}
    return measure(Predictions(predictions(clean_errors), noisy), image_set(LABELS, keys=keys), Plan(seed=seed), name=name)


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


def test_the_reference_next_to_itself_is_1_with_no_width():
    reference = model(10, {"gaussian": (15, 25)})
    for error in compare(reference, reference).relative.errors:
        for value in (error.be, error.rbe):
            assert (value.value, value.low, value.high) == pytest.approx((1, 1, 1))


def test_a_reference_that_hardly_errs_is_not_divided_by():
    ours = model(5, {"gaussian": (6, 10)})
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
