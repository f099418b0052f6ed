import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tumorcls.cache.arrays import ArrayCache
from tumorcls.config.train_config import TrainConfig
from tumorcls.model.calibration import softmax
from tumorcls.training.features import Features
from tumorcls.training.linear_probe import INVERSE_PENALTY, fit_head, fit_linear_probe, head_config


@pytest.mark.parametrize("classes", [2, 4])
def test_the_head_is_the_regression(classes):
    generator = np.random.default_rng(0)
    labels = np.arange(80) % classes
    features = generator.normal(3, [0.01, 1, 1, 1, 20, 20], size=(80, 6)) + np.eye(6)[labels]
    features[:, 1] = 5.0  # a feature that says nothing
    kernel, bias = fit_head(features, labels)
    assert (kernel.shape, bias.shape) == ((6, classes), (classes,))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY)).fit(features, labels)
    np.testing.assert_allclose(softmax(features @ kernel + bias), pipeline.predict_proba(features), atol=1e-3)
    if classes > 2:
        np.testing.assert_allclose(features @ kernel + bias, pipeline.decision_function(features), atol=1e-3)


def test_the_head_is_the_same_however_many_views_of_an_image_there_are():
    generator = np.random.default_rng(0)
    labels = np.arange(80) % 4
    features = generator.normal(size=(80, 6)) + np.eye(6)[labels]
    once, five_times = fit_head(features, labels), fit_head(np.tile(features, (5, 1)), np.tile(labels, 5), copies=5)
    for one, other in zip(once, five_times, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    assert np.abs(fit_head(np.tile(features, (5, 1)), np.tile(labels, 5))[0] - once[0]).max() > 0.05, "else it shows nothing"


@pytest.mark.keras
def test_it_is_measured_as_a_trial_s_end_is(trainer, make_config):
    config = make_config(score=["robust_f1", "clean_f1"], trainable_from="head")
    probe = fit_linear_probe(trainer, config)
    scores = probe.scores
    assert scores["robust_f1"] == pytest.approx((scores["clean_f1"] + scores["noisy_f1"]) / 2)
    again = fit_linear_probe(trainer, config).scores
    assert again == scores
    validation = trainer.images("validation", config.image_size)
    rows = Features(probe.program, ArrayCache(trainer.cache)).of_images(validation.images, validation.key)
    predicted = probe.program.predict_logits(rows).argmax(axis=1)
    assert scores["accuracy"] == pytest.approx((predicted == validation.labels).mean())
    assert scores["accuracy"] > 0.3  # four classes; the features know something


def test_a_config_that_keeps_no_views_gets_some(make_config):
    assert head_config(make_config(trainable_from="all", views=0)).cached_views == 4
    assert head_config(make_config(views=2)).cached_views == 2


def test_the_config_of_the_head_is_one_that_a_model_can_have(make_config):
    config = head_config(make_config(weights="none", batch_norm="train"))
    assert TrainConfig.parse(config.model_dump(), where="test") == config
