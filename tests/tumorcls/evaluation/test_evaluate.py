import json
import os
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

import tumorcls
from tests.tumorcls.pictures import image_set
from tumorcls import DISCLAIMER
from tumorcls.errors import DataError
from tumorcls.evaluation.evaluate import Plan, Predictions, evaluate_model, images_sha256, measure
from tumorcls.evaluation.record import Evaluation
from tumorcls.evaluation.robustness import compare
from tumorcls.model.conformal import ClassSets
from tumorcls.noise.severity import corrupt

NOISES = ("gaussian", "salt_pepper")
SIDE = 16


def probabilities_for(classes, confidence=0.91):
    rest = (1 - confidence) / 3
    return np.full((len(classes), 4), rest) + (confidence - rest) * np.eye(4)[classes]


@pytest.fixture
def test_set():
    """40 images whose grey value is their class, in groups of two."""
    labels = np.arange(40) // 2 % 4
    images = np.broadcast_to((40 + 50 * labels)[:, None, None, None], (40, SIDE, SIDE, 3)).astype(np.uint8)
    return image_set(labels, images=images, groups=np.arange(40) // 2)


def by_brightness(images):
    """Right on every clean image; noise that clips or replaces pixels does not mislead it much."""
    return probabilities_for(np.rint((images.mean(axis=(1, 2, 3)) - 40) / 50).astype(int).clip(0, 3))


def by_roughness(images):
    """Calls whatever is rough "no tumour", as real networks do."""
    rough = images.std(axis=(1, 2, 3)) > 20
    return np.where(rough[:, None], probabilities_for(np.full(len(images), 2)), by_brightness(images))


def test_a_perfect_model_is_perfect_where_it_is_not_misled(test_set):
    found = evaluate_model(by_roughness, test_set, Plan(NOISES))
    assert found.clean.accuracy.value == found.clean.macro_f1.value == 1.0
    assert found.clean.roc_auc == (1.0,) * 4
    assert found.clean.confusion == tuple(tuple(10 * (i == j) for j in range(4)) for i in range(4))
    assert found.clean.calibration_error.value == pytest.approx(0.09)
    assert [(c.noise, c.severity) for c in found.noisy] == [(noise, s) for noise in NOISES for s in range(1, 6)]
    hardest = found.under("gaussian")[-1].scores
    assert hardest.accuracy.value == 0.25
    assert [r.value for r in hardest.recall] == [0, 0, 1, 0]
    assert hardest.precision == (None, None, 0.25, None)
    assert found.summary.worst_noise == "gaussian"
    means = [np.mean([c.scores.macro_f1.value for c in found.under(noise)]) for noise in NOISES]
    assert found.summary.noisy_f1.value == pytest.approx(np.mean(means))
    assert found.summary.robust_f1.value == pytest.approx((1 + np.mean(means)) / 2)
    assert found.summary.worst_f1.value == pytest.approx(min(means))


def test_the_model_sees_the_corrupted_images_and_never_writes_to_ours(test_set):
    seen = []

    def predict(images):
        seen.append(images.copy())
        return by_brightness(images)

    evaluate_model(predict, test_set, Plan(("speckle",), (2, 4), seed=3))
    assert len(seen) == 3
    np.testing.assert_array_equal(seen[0], test_set.images)
    for shown, severity in zip(seen[1:], (2, 4), strict=True):
        np.testing.assert_array_equal(shown, corrupt(test_set.images, "speckle", severity, 3, test_set.keys))


def test_in_pieces_too_each_image_gets_the_noise_of_its_own_key(test_set, monkeypatch):
    monkeypatch.setattr("tumorcls.evaluation.evaluate._CHUNK", 16)
    seen = []

    def predict(images):
        seen.append(images.copy())
        return by_brightness(images)

    evaluate_model(predict, test_set, Plan(("speckle",), (3,)))
    assert [len(images) for images in seen] == [16, 16, 8] * 2
    np.testing.assert_array_equal(np.concatenate(seen[3:]), corrupt(test_set.images, "speckle", 3, 0, test_set.keys))


def test_each_condition_is_measured_once_the_mildest_first():
    plan = Plan(("speckle", "gaussian", "speckle"), (3, 1, 3), unseen=("gamma_up", "gamma_up"), unseen_severities=(2, 2))
    assert plan.conditions == [("speckle", 1), ("speckle", 3), ("gaussian", 1), ("gaussian", 3)]
    assert plan.unseen_conditions == [("gamma_up", 2)]


def test_mistakes_are_the_surest_ones_first_and_one_per_group(test_set):
    def predict(images):
        result = by_roughness(images)
        if images.std(axis=(1, 2, 3)).max() == 0:
            result[3] = probabilities_for(np.array([3]), 0.6)[0]
            result[4:6] = probabilities_for(np.array([1, 1]), 0.7)
            result[5] = probabilities_for(np.array([1]), 0.8)[0]
        return result

    found = evaluate_model(predict, test_set, Plan(("gaussian",)))
    clean = [m for m in found.mistakes if m.noise is None]
    assert [(m.image, m.label, m.predicted) for m in clean] == [(5, 2, 1), (3, 1, 3)]
    assert clean[0].confidence == pytest.approx(0.8)
    noisy = [m.image for m in found.mistakes if m.noise == "gaussian"]
    assert len(noisy) == len({image // 2 for image in noisy}) == 12
    assert not {3, 4, 5} & set(noisy)


def test_a_mistake_under_noise_is_one_of_an_image_that_was_right_without():
    clean, noisy = probabilities_for([1, 0, 0]), probabilities_for([1, 1, 0])
    found = measure(Predictions(clean, {("gaussian", 2): noisy}), image_set(np.zeros(3, int)), Plan())
    assert [(one.image, one.noise, one.severity) for one in found.mistakes] == [(0, None, 0), (1, "gaussian", 2)]


def test_what_is_measured_can_be_read_again_whatever_its_names_are(test_set):
    names = tuple(os.fsdecode(b"\xe9" + b"x" * 1200 + f"{number}.png".encode()) for number in range(40))
    provenance = {"sources": ", ".join(names)}
    found = evaluate_model(by_roughness, replace(test_set, names=names), Plan(NOISES), name=names[0], provenance=provenance)
    again = Evaluation.from_json(found.to_json())
    assert again == found
    assert again.name.startswith(r"\xe9x")
    assert {re.sub(r"x+…x+", "", mistake.file) for mistake in again.mistakes} <= {rf"\xe9{number}.png" for number in range(40)}


def test_patients_of_what_is_measured_are_counted_where_they_are_named(test_set):
    """Those of the images that are measured, and not of all data; rows of a set keep theirs."""
    named = replace(test_set, patients=(*("A", "B") * 19, None, "C"))
    version = {"tumorcls": tumorcls.__version__}
    assert evaluate_model(by_roughness, named, Plan()).provenance == {**version, "patients_measured": "3"}
    assert evaluate_model(by_roughness, named.rows(np.arange(30)), Plan()).provenance == {**version, "patients_measured": "2"}
    for nobody in (test_set, replace(test_set, patients=(None,) * 40)):
        assert "patients_measured" not in evaluate_model(by_roughness, nobody, Plan()).provenance


def test_json_round_trip(test_set, tmp_path):
    model = evaluate_model(by_roughness, test_set, Plan(NOISES), provenance={"commit": "abc"})
    found = compare(model, evaluate_model(by_brightness, test_set, Plan(NOISES)))
    found.write(tmp_path / "new" / "evaluation.json")
    text = (tmp_path / "new" / "evaluation.json").read_text()
    assert "NaN" not in text
    assert Evaluation.from_json(text) == found
    note, *rest = json.loads(text).items()
    assert note == ("note", DISCLAIMER), "it holds predictions"
    assert Evaluation.from_json(json.dumps(dict(rest))) == found, "as one of before is"
    before = json.loads(text)
    for scores in (before["clean"], *(condition["scores"] for condition in before["noisy"])):
        del scores["brier"]
    read = Evaluation.from_json(json.dumps(before))
    assert (read.clean.brier, read.clean.accuracy) == (None, found.clean.accuracy)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"name": 3}'])
def test_other_json_is_refused_in_one_line(text):
    with pytest.raises(DataError, match=r"^old\.json: must be JSON written by") as caught:
        Evaluation.from_json(text, "old.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("classes", [(0,), (1, 3)])
def test_a_test_set_without_some_classes_is_measured_on_those_it_has(test_set, classes):
    kept = np.flatnonzero(np.isin(test_set.labels, classes))
    found = evaluate_model(by_roughness, test_set.rows(kept), Plan(NOISES))
    assert found.clean.macro_f1.value == 1.0
    assert [r.value is not None for r in found.clean.recall] == [i in classes for i in range(4)]
    assert compare(found, found).relative is not None
    assert Evaluation.from_json(found.to_json()) == found


def test_one_image_is_enough(test_set):
    one = evaluate_model(by_brightness, test_set.rows(np.arange(1)), Plan(("gaussian",), (1,)))
    assert one.clean.accuracy.low == pytest.approx(0.025)
    assert one.clean.accuracy.value == one.clean.accuracy.high == 1.0


def test_without_noise_there_is_no_summary(test_set):
    found = evaluate_model(by_brightness, test_set, Plan())
    assert found.summary is None
    assert found.noisy == ()


def test_what_was_never_seen_is_summed_up_apart(test_set):
    plan = Plan(NOISES, (1,), unseen=("defocus_blur", "brightness_down", "ghosting"), unseen_severities=(1, 3))
    seen = []
    found = evaluate_model(by_brightness, test_set, plan, on_condition=lambda *condition: seen.append(condition))
    assert seen[len(NOISES) :] == [(kind, severity) for kind in plan.unseen for severity in (1, 3)]
    assert found.unseen_kinds == plan.unseen
    assert found.noises == NOISES
    assert found.unseen_summary.worst_noise == "brightness_down"  # it goes by the brightness; flat images do not blur
    assert found.unseen_summary.worst_f1.value < 1
    assert found.under("defocus_blur")[-1].scores.macro_f1.value == 1
    means = [np.mean([c.scores.macro_f1.value for c in found.under(kind)]) for kind in plan.unseen]
    assert found.unseen_summary.noisy_f1.value == pytest.approx(np.mean(means))
    assert found.unseen_summary.robust_f1.value == pytest.approx((1 + np.mean(means)) / 2)
    alone = evaluate_model(by_brightness, test_set, Plan(NOISES, (1,)))
    assert replace(found, unseen=(), unseen_summary=None) == alone
    assert alone.unseen_summary is None


def test_sets_and_gate_are_measured(test_set):
    plan = Plan(("gaussian",), sets=ClassSets(0.9, 0.5), unseen=("brightness_down",), passed=(*[True] * 39, False))
    found = evaluate_model(by_roughness, test_set, plan)
    clean, noisy, unseen = found.set_rows
    assert (clean.noise, noisy.noise, unseen.noise) == (None, "gaussian", "brightness_down")
    assert (clean.coverage.value, clean.size.value) == (1.0, 1.0)
    means = [np.mean([c.scores.accuracy.value for c in found.under(kind)]) for kind in ("gaussian", "brightness_down")]
    assert [noisy.coverage.value, unseen.coverage.value] == pytest.approx(means)  # sets of one class
    assert found.gate_passes.value == pytest.approx(39 / 40)
    assert Evaluation.from_json(found.to_json()) == found
    everything = evaluate_model(by_roughness, test_set, Plan(sets=ClassSets(0.9, 0.0))).set_rows[0]
    assert (everything.coverage.value, everything.size.value) == (1.0, 4.0)
    assert evaluate_model(by_roughness, test_set, Plan()).set_rows == ()


def test_a_kind_is_seen_or_not(test_set):
    found = evaluate_model(by_brightness, test_set, Plan(("ghosting",), (1,), unseen=("ghosting",)))
    with pytest.raises(DataError, match="noisy and unseen: must name different kinds"):
        Evaluation.from_json(found.to_json())
    known = evaluate_model(by_brightness, test_set, Plan((), unseen=("jpeg_compression",)))
    with pytest.raises(DataError, match="noisy: must name noises"):
        Evaluation.from_json(replace(known, noisy=known.unseen, summary=known.unseen_summary, unseen=()).to_json())


def test_intervals_are_by_group(test_set):
    wrong = np.arange(40) // 2 % 5 == 0
    predicted = np.where(wrong, (test_set.labels + 1) % 4, test_set.labels)
    predictions = Predictions(probabilities_for(predicted), {})
    grouped = measure(predictions, test_set, Plan()).clean.accuracy
    single = measure(predictions, replace(test_set, groups=np.arange(40)), Plan()).clean.accuracy
    assert grouped.value == single.value == 0.8
    assert grouped.high - grouped.low > 1.2 * (single.high - single.low)


def test_where_nothing_is_wrong_a_mean_over_classes_rests_on_the_groups_of_the_smallest():
    labels = np.repeat([0, 1], (6, 2))
    right = probabilities_for(labels)
    found = measure(Predictions(right, {("gaussian", 1): right}), image_set(labels), Plan(passed=(True,) * 8))

    def low_of(groups):
        return pytest.approx(0.025 ** (1 / groups))

    assert (found.clean.accuracy.low, found.gate_passes.low) == (low_of(8), low_of(8))
    assert [recall.low for recall in found.clean.recall[:2]] == [low_of(6), low_of(2)]
    summary = found.summary
    for mean in (found.clean.balanced_accuracy, found.clean.macro_f1, summary.noisy_f1, summary.robust_f1, summary.worst_f1):
        assert mean.low == low_of(4)


def test_the_calibration_errors_interval_is_shifted_by_what_resamples_add_to_it():
    """Of a model that is as sure as it is right, resamples show an error that it does not have."""
    labels = np.zeros(200, int)
    predicted = (np.arange(200) % 10 == 0).astype(int)  # .9 of confidence, and nine of ten right
    found = measure(Predictions(probabilities_for(predicted, 0.9), {}), image_set(labels), Plan())
    assert found.clean.calibration_error.value == pytest.approx(0, abs=1e-9)
    assert found.clean.calibration_error.high < 0.04


def test_the_brier_score_is_measured_in_each_condition_with_the_groups_of_all_else():
    generator = np.random.default_rng(0)
    labels, groups = np.arange(200) % 4, np.arange(200) // 8
    of_group = generator.random(25) < 0.3  # right or wrong together
    answers = probabilities_for(np.where(of_group[groups], (labels + 1) % 4, labels), 0.8)
    noisy = probabilities_for((labels + 1) % 4, 0.8)
    by_group, by_image = (
        measure(Predictions(answers, {("gaussian", 1): noisy}), image_set(labels, groups=each), Plan())
        for each in (groups, np.arange(200))
    )
    found = by_group.clean.brier
    assert found.value == pytest.approx(brier_score_loss(labels, answers, labels=range(4), scale_by_half=False))
    assert by_group.noisy[0].scores.brier.value == pytest.approx(
        brier_score_loss(labels, noisy, labels=range(4), scale_by_half=False)
    )
    assert found.low < found.value < found.high
    sure = measure(Predictions(np.eye(4)[labels], {}), image_set(labels, groups=groups), Plan()).clean.brier
    assert (sure.value, sure.low) == (0, 0)
    assert sure.high == pytest.approx(2 * (1 - 0.025 ** (1 / 25))), "as if 25 answers had been right"
    assert found.high - found.low > 2 * (by_image.clean.brier.high - by_image.clean.brier.low)


def test_the_seed_decides_the_resamples(test_set):
    predictions = Predictions(probabilities_for(np.where(np.arange(40) < 8, 3, test_set.labels)), {})
    once, again, other = (measure(predictions, test_set, Plan(seed=seed, resamples=50)).clean.macro_f1 for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_a_test_set_is_its_keys_labels_and_groups_in_their_order(test_set):
    others = [
        replace(test_set, labels=(test_set.labels + 1) % 4),
        replace(test_set, groups=np.arange(40)),
        replace(test_set, keys=tuple(f"other {key}" for key in test_set.keys)),
        test_set.rows(np.arange(40)[::-1]),
    ]
    assert images_sha256(replace(test_set, images=test_set.images // 2, key="elsewhere")) == images_sha256(test_set)
    assert len({images_sha256(one) for one in (test_set, *others)}) == 5


def test_progress_names_each_condition(test_set):
    seen = []
    evaluate_model(by_brightness, test_set, Plan(NOISES, (1, 3)), on_condition=lambda *condition: seen.append(condition))
    assert seen == [(noise, severity) for noise in NOISES for severity in (1, 3)]


def test_all_but_the_model_takes_a_few_seconds_for_400_images():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (400, 150, 150, 3)).astype(np.uint8)
    labels = np.arange(400) % 4
    predictions = generator.dirichlet(np.ones(4), 400)
    start = time.process_time()
    evaluate_model(
        lambda chunk: predictions[: len(chunk)],
        image_set(labels, images=images, groups=np.arange(400) // 2),
        Plan(("gaussian", "salt_pepper", "speckle")),
    )
    assert time.process_time() - start < 60  # five minutes are allowed with the model; this takes 5 s


def test_a_model_may_have_other_classes():
    labels = np.array([0, 1, 1, 0])
    found = measure(Predictions(np.eye(2)[labels], {}), image_set(labels, classes=("tumour", "none")), Plan())
    assert found.classes == ("tumour", "none")
    assert found.clean.confusion == ((2, 0), (0, 2))
