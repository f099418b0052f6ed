"""`tumorcls leave-one-source-out`: for each source of a config, a model that never saw it, measured on it."""

import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tumorcls import DISCLAIMER
from tumorcls.cache.folder import cache_folder
from tumorcls.commands._options import FILE, UNSEEN
from tumorcls.commands._progress import fit_telling, telling_progress
from tumorcls.commands.streams import prepare_outputs, tell, tell_notes
from tumorcls.errors import DataError, shown

if TYPE_CHECKING:
    from tumorcls.config.train_config import TrainConfig
    from tumorcls.data.dataset import ImageSet
    from tumorcls.data.external import ExternalData
    from tumorcls.data.manifest import Manifest
    from tumorcls.model.saved_model import SavedModel
    from tumorcls.training.trainer import Trainer

_LONGEST_NAME = 60  # letters, of which each may take four bytes


@click.command("leave-one-source-out")
@click.option("--config", "config_file", type=FILE, required=True, help="File from `search export`.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("sources"),
    show_default=True,
    help="Folder to write an evaluation of each source to, as JSON and as a page.",
)
@click.option("--seed", type=int, help="Seed of the runs. Default: that of the exported trial, else 0.")
@click.option("--clean-only", is_flag=True, help="Leave noise and corruptions out.")
@UNSEEN
def command(config_file: Path, output: Path, seed: int | None, clean_only: bool, unseen: str) -> None:
    """Train without each source in turn, and measure on the one left out. For research and education only.

    Sources are the data sets of the config, and what the rows of a table name. Images of the source that is left out whose
    picture or patient the model may have seen in the others are counted and left out; the scores with them stand beside.
    """
    from tumorcls.config.file import check_seed, read_config
    from tumorcls.data.manifest import scan
    from tumorcls.model.backend import device_notes, select_backend

    file = read_config(config_file)
    config = file.config
    chosen = check_seed(file.provenance.get("seed", 0) if seed is None else seed, "--seed")
    manifest = scan(config.data, cache_folder(), config.slices)
    sources = sorted({entry.source for entry in manifest.entries})
    if len(sources) < 2:
        raise DataError(f"{shown(config_file)}: data must have two sources or more; got {sources[0]} alone. Add another.")
    places = {source: (output / f"{name}.json", output / f"{name}.html") for source, name in file_names(sources).items()}
    prepare_outputs(*chain(*places.values()))
    select_backend()
    from tumorcls.commands._written import write_evaluation
    from tumorcls.inference.measured import MeasuredImages, measure_model, plan_of
    from tumorcls.model.program_cache import ProgramCache
    from tumorcls.training.measured_with import computed_with
    from tumorcls.training.trainer import Trainer

    tell_notes(*device_notes())
    programs = ProgramCache()
    divided = {source: _divide(manifest, source, config) for source in sources}  # what is wrong with one is told before hours
    for source, (record, page) in places.items():
        other, images = divided[source]
        model = _train(Trainer(other.training, cache_folder(), programs), config, chosen, source)
        plan = plan_of(model, unseen, clean_only=clean_only)
        measured = MeasuredImages(images, manifest, external=other)
        origin = {"recipe_sha256": config.recipe_sha256, "sources": source, "trained without": source, **computed_with(config)}
        progress = telling_progress(plan)
        evaluation = measure_model(model, measured, plan, f"without {source}", on_condition=progress, origin=origin)
        assert evaluation.external is not None
        write_evaluation(evaluation, images.images, record, page)
        tell(f"{source}: {evaluation.external.sentence()}")
        tell(
            f"  macro-F1 {evaluation.clean.macro_f1} on the other {len(evaluation.labels):,}, "
            f"{evaluation.external.with_seen.macro_f1} with them"
        )
    tell(DISCLAIMER)


def _train(trainer: "Trainer", config: "TrainConfig", seed: int, source: str) -> "SavedModel":
    from tumorcls.model.divergence import naming_run
    from tumorcls.training.assemble import assemble

    with naming_run(f"without {shown(source)}"):
        fitted = fit_telling(trainer, config, seed, of=f"without {shown(source)}: ")
    return assemble(trainer, config, fitted, trainer.calibrate(fitted), {"trained_on": "training images"}, gate=False)


def _divide(manifest: "Manifest", source: str, config: "TrainConfig") -> tuple["ExternalData", "ImageSet"]:
    """Returns the images of a source beside all others, and those that are new to a model of the others.

    Raises:
        DataError: None is, one cannot be read, or the others are not enough to train and validate with.
    """
    from tumorcls.data.dataset import load_part
    from tumorcls.data.external import leave_out
    from tumorcls.training.assemble import PARTS

    try:
        other = leave_out(manifest, source, config.split, cache_folder())
        for part in PARTS:
            load_part(other.training, part, config.image_size, cache_folder())
        other.images(other.usable, config.image_size, cache_folder())
        return other, other.images(other.new, config.image_size, cache_folder())
    except DataError as error:
        raise DataError(f"without {shown(source)}: {error}") from error


def file_names(sources: Sequence[str]) -> dict[str, str]:
    """Returns for each source a file's name that is its own: two must not write one file."""
    names: dict[str, str] = {}
    for source in sources:
        name = re.sub(r"[^\w.-]+", "-", source)[:_LONGEST_NAME]
        while name in names.values():
            name += "-"
        names[source] = name
    return names
