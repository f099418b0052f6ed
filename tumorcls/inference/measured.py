"""How a trained model is measured: on its own test part, or on other data without what it may have seen."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Literal, get_args

from tumorcls.cache.folder import cache_folder
from tumorcls.data.dataset import ImageSet, load_part
from tumorcls.data.external import ExternalData, find_seen, other_data, own_data
from tumorcls.data.manifest import Manifest
from tumorcls.data.prepare import prepare
from tumorcls.errors import DataError, shown
from tumorcls.evaluation.evaluate import Plan, evaluate_model, images_sha256
from tumorcls.evaluation.external import External, WithSeen
from tumorcls.evaluation.record import Evaluation
from tumorcls.evaluation.robustness import check_reference, compare
from tumorcls.model.program import predict
from tumorcls.noise.unseen import unseen_kinds
from tumorcls.training.fit_gate import gate_extractor
from tumorcls.training.validation import CORRUPTION_SEED

if TYPE_CHECKING:
    from tumorcls.model.saved_model import SavedModel

Unseen = Literal["all", "middle", "none"]
"""Severities of the corruptions that no training draws."""

_SEVERITIES: dict[str, tuple[int, ...]] = {"all": (1, 2, 3, 4, 5), "middle": (3,), "none": ()}


@dataclass(frozen=True)
class MeasuredImages:
    """The images that a model is measured on, and what the data are that they are from.

    Other data than the model's own are not split: `split_sha256` is empty, and all of them are in `external`.
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


def evaluation_images(
    model: "SavedModel", *data: str | os.PathLike[str], trained_on: Sequence[str | os.PathLike[str]] = ()
) -> ImageSet:
    """Returns the images that `evaluate` measures a model on, with their true classes.

    Args:
        model: From `tumorcls.load_model` or `tumorcls.train`.
        *data: As of `evaluate`.
        trained_on: As of `evaluate`.

    Returns:
        `images`, of which `images[:]` is uint8 (n, size, size, 3), RGB in [0, 255], of the model's own size; `labels`, int64
        (n,), indices into `classes`; and `groups`, int64 (n,), equal where images are copies or of one patient.

    Raises:
        DataError: As of `evaluate`.
    """
    return measured_images(model, data, trained_on).images


def evaluate(
    model: "SavedModel",
    *data: str | os.PathLike[str],
    trained_on: Sequence[str | os.PathLike[str]] = (),
    clean_only: bool = False,
    unseen: Unseen = "middle",
    reference: Evaluation | None = None,
    name: str = "model",
) -> Evaluation:
    """Measures a model as `tumorcls evaluate` does; the figures are the command's.

    Args:
        model: From `tumorcls.load_model` or `tumorcls.train`.
        *data: Nothing for the test part of the model's own data where they lay; where they lie now; or other data.
        trained_on: Where the model's own data lie now, if `data` are others.
        clean_only: Whether noise and corruptions are left out.
        unseen: Severities of the corruptions that no training draws: all five, the third, or none.
        reference: Another model's evaluation on the same images: `relative` then has what is gained over it.
        name: Of the model, for people.

    Returns:
        Scores in [0, 1], most with their 95% interval: `clean.accuracy`, `clean.macro_f1`, `clean.recall` of each class,
        `summary.noisy_f1` over all noises. It has a method `write` for what `tumorcls card` reads.

    Raises:
        DataError: The model's data are not as they were, other data have no image that is new to it, or the reference was
            measured otherwise.
        ValueError: `unseen` is no such word.
    """
    if unseen not in get_args(Unseen):
        raise ValueError(f"unseen: must be one of {', '.join(get_args(Unseen))}; got {unseen!r}")
    plan = plan_of(model, unseen, clean_only=clean_only)
    return measure_model(model, measured_images(model, data, trained_on), plan, name, reference)


def measure_model(
    model: "SavedModel",
    measured: MeasuredImages,
    plan: Plan,
    name: str,
    reference: Evaluation | None = None,
    on_condition: Callable[[str, int], None] | None = None,
    origin: Mapping[str, str] | None = None,
) -> Evaluation:
    """Measures a model on its images, and next to a reference; see `evaluate`, and `evaluate_model` for `on_condition`.

    `origin` says in the evaluation's provenance what neither the model nor its images do.

    Raises:
        DataError: An image cannot be read, or the reference was measured otherwise, which is said before anything is measured.
    """
    images, other = measured.images, measured.external
    if reference is not None:
        check_reference(reference, images_sha256(images), plan.seed, plan.conditions, plan.unseen_conditions)
    # What is wrong with one of them is told before hours.
    everything = None if other is None else other.images(other.usable, model.config.image_size, cache_folder())
    if model.gate is not None:
        plan = replace(plan, passed=tuple(model.gate.passes(predict(images.images, gate_extractor(model.network))).tolist()))
    provenance = {
        "model_sha256": model.sha256,
        **measured.provenance(),
        "trained_on": model.provenance.get("trained_on", "not on record"),
        "evaluated": date.today().isoformat(),
        **(origin or {}),
    }
    evaluation = evaluate_model(model.predict, images, plan, name=name, provenance=provenance, on_condition=on_condition)
    if other is not None and everything is not None:
        clean = evaluate_model(model.predict, everything, Plan(seed=plan.seed, resamples=plan.resamples)).clean
        seen, of_patients = (int((other.usable & some).sum()) for some in (other.seen_picture, other.seen_patient))
        with_seen = WithSeen(clean.accuracy, clean.balanced_accuracy, clean.macro_f1)
        evaluation = replace(evaluation, external=External(int(other.usable.sum()), seen, of_patients, with_seen))
    return evaluation if reference is None else compare(evaluation, reference)


def plan_of(model: "SavedModel", unseen: str, *, clean_only: bool = False) -> Plan:
    """Returns the noises that chose a model and, apart from them, what neither its training nor its search has seen."""
    config, calibration = model.config, model.calibration
    return Plan(
        noises=() if clean_only else config.measured_noises,
        seed=CORRUPTION_SEED,
        threshold=calibration.threshold,
        sets=calibration.sets,
        unseen=() if clean_only else unseen_kinds((*config.noises, *config.measured_noises)),
        unseen_severities=_SEVERITIES[unseen],
    )


def measured_images(
    model: "SavedModel", data: Sequence[str | os.PathLike[str]], trained_on: Sequence[str | os.PathLike[str]]
) -> MeasuredImages:
    """Returns a model's own test part, or other data.

    Without `data` the model's own are read where they lay. Where `data` are others, `trained_on` says where its own lie now,
    if they were moved.

    Raises:
        DataError: The model's own data is not as it was, or other data has no image that is new to the model.
    """
    config, size, cache = model.config, model.config.image_size, cache_folder()
    folders = [os.fspath(one) for one in data]
    trained = model.provenance.get("split_sha256", "none on record")
    if folders and (other := other_data(folders, model.provenance.get("manifest_sha256", ""), cache, config.slices)):
        own = own_data([os.fspath(one) for one in trained_on or config.data], trained, config.split, cache, config.slices)
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
