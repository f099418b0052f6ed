"""What a run costs nothing: a logistic regression on the frozen network's features, seconds where these are in the cache.

It sees what a training of the head alone would see: every training image as it is, and its augmented and noisy views. What
does not beat it has learned nothing that the first weights did not know.
"""

from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from tumorcls import activity
from tumorcls.cache.arrays import ArrayCache
from tumorcls.config.train_config import TrainConfig
from tumorcls.training.features import Features
from tumorcls.training.trainer import Fitted, Seconds, Trainer
from tumorcls.training.validation import Epoch, Validation

INVERSE_PENALTY = 0.01
"""scikit-learn's C of features of variance 1 with each image once, fixed: chosen on no image that it is measured on."""

_STEPS = 300  # of L-BFGS at most; it converges in fewer at this penalty
_VIEWS = 4  # where the config itself keeps none


def head_config(config: TrainConfig) -> TrainConfig:
    """Returns a config whose features are the frozen network's, with the same data, images and views."""
    batch_norm = "train" if config.weights == "none" else "freeze"  # the head has none, but the config must be one
    fixed = {"trainable_from": "head", "batch_norm": batch_norm, "optimizer": "adam", "schedule": "cosine", "epochs": 1}
    return config.model_copy(update={**fixed, "dropout": 0.0, "views": config.views or _VIEWS})


def fit_linear_probe(trainer: Trainer, config: TrainConfig) -> Fitted:
    """Fits it on the training part and measures it on the validation part, as a trial's end is measured.

    What it returns is like a training run of the head alone, see `head_config`; its only epoch has no loss.

    Raises:
        DataError: An image or the cache cannot be read.
        WeightsError: The weights cannot be had.
    """
    begun = perf_counter()
    config = head_config(config)
    train, validation = (trainer.images(part, config.image_size) for part in ("train", "validation"))
    program = trainer.programs.get(config)
    program.reset(config, 0)
    features = Features(program, ArrayCache(trainer.cache))
    recipe, views = config.view_recipe, range(config.views)
    seen = [features.of_images(train.images, train.key)]
    seen += [features.training_view(recipe, train, view, config.views) for view in views]
    activity.tell("fitting the logistic regression")
    program.set_head(*fit_head(np.concatenate([rows[:] for rows in seen]), np.tile(train.labels, len(seen)), len(seen)))
    fitted = perf_counter()
    measured = Validation(validation, ArrayCache(trainer.cache)).measure(program, config, final=True)
    seconds = Seconds(fitted - begun, perf_counter() - fitted, perf_counter() - begun)
    return Fitted(program, config, (Epoch(0, 0.0, measured),), seconds, validation)


def fit_head(
    features: NDArray[np.floating], labels: NDArray[np.int64], copies: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns kernel (d, k) and bias (k,) of a multinomial logistic regression on features (n, d) with labels 0 to k - 1.

    It is fitted on standardised features, and takes them as they are: the layer holds both. Of the rows, one for each image and
    view, `copies` are of the same image: C weighs a sum over rows, and an image counts once however many it has.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(copy=False)  # a constant feature has the scale 1
    rows = scaler.fit_transform(features.astype(np.float32))
    regression = LogisticRegression(C=INVERSE_PENALTY / copies, max_iter=_STEPS).fit(rows, labels)
    kernel = regression.coef_.T / scaler.scale_[:, None]
    bias = regression.intercept_ - scaler.mean_ @ kernel
    if kernel.shape[1] == 1:  # of two classes scikit-learn keeps the second one's
        kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.concatenate([-bias / 2, bias / 2])
    return kernel.astype(np.float32), bias.astype(np.float32)
