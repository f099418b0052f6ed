"""A run becomes a model: with its calibration, its gate, and what it was made with on record."""

from collections.abc import Callable, Mapping
from typing import Any

from tumorcls.cache.folder import cache_folder
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.dataset import Part
from tumorcls.evaluation.record import BOTH_PARTS
from tumorcls.model.backend import package_versions
from tumorcls.model.calibration import Calibration
from tumorcls.model.saved_model import SavedModel
from tumorcls.training.fit_gate import fit_classifier_gate
from tumorcls.training.measured_with import computed_with
from tumorcls.training.trainer import Fitted, Trainer
from tumorcls.training.validation import Epoch

PARTS: tuple[Part, ...] = ("train", "validation")
"""What a model is made with; none is a test image."""


def train(
    config: TrainConfig, *, seed: int = 0, final: bool = False, on_epoch_end: Callable[[Epoch], None] = lambda epoch: None
) -> SavedModel:
    """Trains the model of `tumorcls train`: calibrated, with a gate, and ready to `save`.

    Args:
        config: What is done.
        seed: Of the run.
        final: Whether it trains once more, on training and validation images together.
        on_epoch_end: Called after each epoch with its `number` from 0, its mean training `loss` and its `scores` on validation
            images, by name and in [0, 1], as `clean_f1` and `noisy_f1`; of the second training of `final` too, whose numbers
            begin again and which has no scores. What it raises ends the run.

    Raises:
        TumorclsError: The data, the weights or the cache is not what it must be, or the training diverged.
    """
    trainer = Trainer.open(config, cache_folder())
    fitted = trainer.fit(config, seed, on_epoch_end)
    calibration, provenance = trainer.calibrate(fitted), made_with(trainer, config, fitted, seed, final=final)
    if final:
        fitted = trainer.fit(config, seed, on_epoch_end, final=True)
    return assemble(trainer, config, fitted, calibration, provenance)


def made_with(trainer: Trainer, config: TrainConfig, fitted: Fitted, seed: int, *, final: bool = False) -> dict[str, Any]:
    """Returns which images, by class, which weights, seed, device and versions of packages a model was made with.

    `fitted` is the run that was measured on validation images; a `final` one has trained on these too.
    """
    return {
        "seed": seed,
        **trainer.fingerprint(config),
        **computed_with(config),
        "manifest_sha256": trainer.prepared.manifest.sha256,
        "split_sha256": trainer.prepared.split_sha256,
        **{f"{part}_images": trainer.images(part, config.image_size).class_counts() for part in PARTS},
        **package_versions(),
        "validation": dict(fitted.scores),
        "trained_on": BOTH_PARTS if final else "training images",
    }


def assemble(
    trainer: Trainer,
    config: TrainConfig,
    fitted: Fitted,
    calibration: Calibration,
    provenance: Mapping[str, Any],
    *,
    written: Mapping[str, Any] | None = None,
    gate: bool = True,
) -> SavedModel:
    """Returns the model of a run. `written` is as of a `Card`; without a gate it takes every picture for a slice."""
    network, members = fitted.classifier(calibration.temperature), max(1, len(fitted.members))
    parts = (trainer.images(part, config.image_size) for part in PARTS)
    fitted_gate = fit_classifier_gate(network, config, *parts) if gate else None
    return SavedModel(config.classes, config, provenance, calibration, written or {}, fitted_gate, members, network=network)
