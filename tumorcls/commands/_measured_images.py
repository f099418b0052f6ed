"""What a model is measured on: its own test part, or other data without what it may have seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tumorcls.data.dataset import ImageSet, load_part
from tumorcls.data.external import ExternalData, find_seen, other_data, own_data
from tumorcls.data.manifest import Manifest
from tumorcls.data.prepare import prepare
from tumorcls.errors import DataError, shown
from tumorcls.evaluation.evaluate import Plan, Predict, evaluate_model
from tumorcls.evaluation.external import External, WithSeen
from tumorcls.evaluation.record import Evaluation

if TYPE_CHECKING:
    from tumorcls.model.saved_model import SavedModel


@dataclass(frozen=True)
class MeasuredImages:
    """The images that a model is measured on.

    Attributes:
        images: What is measured.
        manifest: Of the data that they are from.
        split_sha256: Of that data; empty where it is other data, which is not split.
        external: Where it is other data, all of it.
    """

    images: ImageSet
    manifest: Manifest
    split_sha256: str = ""
    external: ExternalData | None = None

    def provenance(self) -> dict[str, str]:
        """Returns where they come from, for an evaluation."""
        return {
            "manifest_sha256": self.manifest.sha256,
            **({"split_sha256": self.split_sha256} if self.split_sha256 else {}),
            "sources": ", ".join(sorted({entry.source for entry in self.manifest.entries})),
            "patients": self.manifest.patients,
        }


def measured_images(model: "SavedModel", folders: Sequence[str], trained_on: Sequence[str], cache: Path) -> MeasuredImages:
    """Returns a model's own test part, or other data.

    Without `folders` the model's own data are read where they lay. Where `folders` are other data, `trained_on` says where its
    own lie now, if they were moved.

    Raises:
        DataError: The model's own data is not as it was, or other data has no image that is new to the model.
    """
    config, size = model.config, model.config.image_size
    trained = model.provenance.get("split_sha256", "none on record")
    if folders and (other := other_data(folders, model.provenance.get("manifest_sha256", ""), cache, config.slices)):
        own = own_data(trained_on or config.data, trained, config.split, cache, config.slices)
        external = find_seen(own, other, config.split, cache)
        return MeasuredImages(external.images(external.new, size, cache), other, external=external)
    places = folders or config.data
    prepared = prepare(places, config.split, cache, config.slices)
    if prepared.split_sha256 != trained:
        raise DataError(
            f"{', '.join(map(shown, places))}: the split must be the one of the training ({trained[:12]}); "
            f"got {prepared.split_sha256[:12]}. Restore the files, name their folders with --data, or train again."
        )
    return MeasuredImages(load_part(prepared, "test", size, cache), prepared.manifest, prepared.split_sha256)


def with_all(evaluation: Evaluation, external: ExternalData, predict: Predict, images: ImageSet) -> Evaluation:
    """Adds to an evaluation on other data what was left out, and the scores on clean images of all of it, `images`."""
    clean = evaluate_model(predict, images, Plan(seed=evaluation.noise_seed, resamples=evaluation.resamples)).clean
    usable = external.usable
    counts = (int(usable.sum()), int((usable & external.seen_picture).sum()), int((usable & external.seen_patient).sum()))
    return replace(evaluation, external=External(*counts, WithSeen(clean.accuracy, clean.balanced_accuracy, clean.macro_f1)))
