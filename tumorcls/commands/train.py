"""`tumorcls train`: a model from an exported config."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tumorcls import DISCLAIMER
from tumorcls.commands._options import FILE, Share
from tumorcls.commands._progress import fit_telling
from tumorcls.commands.streams import prepare_outputs, tell, tell_notes
from tumorcls.data.labels import exact_percent, probability
from tumorcls.errors import ConfigError

if TYPE_CHECKING:
    from tumorcls.config.file import ConfigFile
    from tumorcls.model.calibration import Calibration
    from tumorcls.training.ensemble import Ensemble
    from tumorcls.training.trainer import Fitted, Trainer


@click.command("train")
@click.option("--config", "config_file", type=FILE, required=True, help="File from `search export`.")
@click.option("-o", "--output", type=FILE, default=Path("model.keras"), show_default=True)
@click.option("--final", is_flag=True, help="Train once more on training and validation images together, and save that model.")
@click.option("--keep-members", is_flag=True, help="Save all members, to answer together, rather than one average of them.")
@click.option(
    "--max-error",
    type=Share(0, 1),
    default=0.05,
    show_default=True,
    help="Share of wrong answers accepted on the validation images; on new ones it may be higher or lower. Less sure answers "
    'become "uncertain".',
)
@click.option(
    "--coverage",
    type=Share(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="Share of the sets of classes, which predict and serve show, that are to hold the true class.",
)
@click.option("--seed", type=int, help="Seed of the run. Default: that of the exported trial, else 0.")
def command(
    config_file: Path, output: Path, final: bool, keep_members: bool, max_error: float, coverage: float, seed: int | None
) -> None:
    """Train a model from exactly what a config file says, and save it with its label order inside.

    With the trial's own seed this is the trial over again; its scores, if the file names them, should come back. Its validation
    images then choose the temperature of its probabilities, the confidence below which it answers "uncertain", and the
    probability from which a class is in its set; with --final the second model, which has trained on these images, takes them
    over. They also choose how unlike the training images a picture may be before the answer is "no brain MRI slice".

    A file with members, from `search export --ensemble`, is trained member by member. Then the weights of those are averaged
    that make the average better on validation images. With --keep-members the model holds those whose answers are better
    together, and answers with the mean of their logits: slower by what they do not share.
    """
    from tumorcls.cache.folder import cache_folder
    from tumorcls.config.file import read_config
    from tumorcls.model.backend import device_notes, select_backend

    prepare_outputs(output)
    file = read_config(config_file)
    config = file.config
    chosen_seed = _check_seed(file, seed, config_file)
    if keep_members and not file.members:
        raise ConfigError(f"{config_file}: --keep-members: needs members; got none. Export with `search export --ensemble`.")
    select_backend()
    from tumorcls.config.variables import written_parts
    from tumorcls.model.model_file import check_exported
    from tumorcls.model.saved_model import check_target
    from tumorcls.training.assemble import assemble, made_with
    from tumorcls.training.ensemble import fit_final
    from tumorcls.training.trainer import Trainer

    check_exported(file.provenance, str(config_file))
    check_target(output)
    trainer = Trainer.open(config, cache_folder())
    tell_notes(*config.notes, *trainer.prepared.manifest.notes(), *device_notes())
    _tell_change(trainer, file)
    ensemble = _fit_ensemble(trainer, file, keep_members) if file.members else None
    fitted = _fit_trial(trainer, file, chosen_seed) if ensemble is None else ensemble.fitted
    calibration = trainer.calibrate(fitted, max_error, coverage)
    for line in _describe(calibration):
        tell(line)
    provenance = {
        "exported": file.provenance,
        **made_with(trainer, config, fitted, chosen_seed, final=final),
        **(ensemble.provenance if ensemble is not None else {}),
    }
    if final:
        tell("Once more, on training and validation images.")
        fitted = fit_telling(trainer, config, chosen_seed, final=True) if ensemble is None else fit_final(trainer, ensemble)
    assemble(trainer, config, fitted, calibration, provenance, written=written_parts(file.written)).save(output)
    tell(f"Wrote {output}. Next: tumorcls evaluate {shlex.quote(str(output))}")
    tell(DISCLAIMER)


def _check_seed(file: "ConfigFile", seed: int | None, path: Path) -> int:
    """Returns the seed of the run: what --seed says, else that of the exported trial, else 0."""
    from tumorcls.config.file import check_seed

    if seed is None:
        return check_seed(file.provenance.get("seed", 0), f"{path}: provenance.seed")
    checked = check_seed(seed, "--seed")
    if file.members:
        raise ConfigError(f"--seed: a file with members has the seed of each; got {seed}. Leave it out.")
    return checked


def _tell_change(trainer: "Trainer", file: "ConfigFile") -> None:
    """Tells how this differs from what the exported trial was measured with; what its file does not say counts as the same."""
    from tumorcls.training.measured_with import computed_with, describe_change

    now = {**trainer.fingerprint(file.config), **computed_with(file.config)}
    before = {name: str(file.recorded.get(name, value)) for name, value in now.items()}
    if change := describe_change(before, now, trainer.prepared, trainer.cache):
        tell_notes(f"not what the exported trial was measured with, so its scores need not come back: {change}")


def _fit_trial(trainer: "Trainer", file: "ConfigFile", seed: int) -> "Fitted":
    """Trains, and tells the scores; those of the exported trial too, where this is its only run over again."""
    fitted = fit_telling(trainer, file.config, seed)
    again = seed == file.provenance.get("seed") and not {"repeats", "folds"} & file.recorded.keys()
    for name in file.config.score:
        had = file.provenance.get(name) if again else None
        beside = f"; the exported trial had {had:.6f}" if isinstance(had, float) else ""
        tell(f"{name} {fitted.scores[name]:.6f} on validation images{beside}")
    return fitted


def _fit_ensemble(trainer: "Trainer", file: "ConfigFile", keep_members: bool) -> "Ensemble":
    from tumorcls.training.ensemble import check_keeps, choose, fit_members

    config = file.config
    keeps = keep_members and config.trainable_from != "head"
    if keeps:
        check_keeps(trainer.programs.get(config).backbone, config.trainable_from, len(file.members))
    elif keep_members:
        tell("Where the head alone is trained, the average of the members' weights answers as all of them together.")
    ensemble = choose(trainer, fit_members(trainer, config, file.members, tell), keep=keeps)
    tell(ensemble.describe())
    return ensemble


def _describe(calibration: "Calibration") -> list[str]:
    """Returns in a line each what validation images chose, and what it means for an answer of `predict`."""
    sets, answered, error = calibration.sets, calibration.answered, calibration.error
    assert sets is not None
    kept = f"; {calibration.promise}" if calibration.promise else ""
    missed = f" No confidence has at most {exact_percent(calibration.max_error)} wrong, as was asked for."
    lines = [
        f"Calibrated on {calibration.images} validation images (temperature {calibration.temperature:.2f}).",
        f'predict says "uncertain" below a confidence of {probability(calibration.threshold)}: that is '
        f"{calibration.images - answered} of these images ({1 - calibration.coverage:.1%}); of the other {answered} it gets "
        f"{calibration.wrong} wrong ({error:.1%})."
        f"{missed if error > calibration.max_error else ''}",
        f'predict lists as "not ruled out" each class with a probability of {probability(sets.cutoff)} or more, and the '
        f"likeliest: {exact_percent(sets.coverage)} of such lists should hold the true class{kept}.",
    ]
    if sets.single:
        more = f"{1 - (1 - sets.coverage) / 10:.6g}"
        lines.append(f"Above .5 no set has more than one class; for larger ones train with a higher --coverage, as {more}.")
    return lines
