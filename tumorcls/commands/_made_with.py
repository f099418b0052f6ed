"""What a model was made with, for the commands that save one."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tumorcls.config.train_config import TrainConfig
    from tumorcls.data.dataset import Part
    from tumorcls.training.trainer import Trainer

PARTS: "tuple[Part, ...]" = ("train", "validation")
"""What a model is made with; none is a test image."""


def made_with(trainer: "Trainer", config: "TrainConfig") -> dict[str, Any]:
    """Returns which images, by class, which weights, device and versions of packages a model was made with."""
    from tumorcls.objective import package_versions
    from tumorcls.training.measured_with import computed_with

    return {
        **trainer.fingerprint(config),
        **computed_with(config),
        "manifest_sha256": trainer.prepared.manifest.sha256,
        "split_sha256": trainer.prepared.split_sha256,
        **{f"{part}_images": trainer.images(part, config.image_size).class_counts() for part in PARTS},
        **package_versions(),
    }
