"""`tumorcls baseline`: what a logistic regression reaches, as a model's evaluation."""

from pathlib import Path

import click

from tumorcls import DISCLAIMER
from tumorcls.commands._options import FILE, UNSEEN
from tumorcls.commands._progress import telling_progress
from tumorcls.commands.streams import prepare_outputs, tell, tell_notes


@click.command("baseline")
@click.option("--config", "config_file", type=FILE, required=True, help="File from `search export`.")
@click.option("-o", "--output", type=FILE, default=Path("baseline.json"), show_default=True, help="Evaluation to write.")
@click.option("--model", "model_file", type=FILE, help="Write it as a model too, to evaluate and predict with.")
@click.option("--html", type=FILE, help="Write the evaluation as a page too.")
@UNSEEN
def command(config_file: Path, output: Path, model_file: Path | None, html: Path | None, unseen: str) -> None:
    """Fit a logistic regression on the frozen network's features, and measure it on the test part as a model is measured.

    It sees the training images of a config, as they are and in its noisy views, and takes seconds where these are in the cache.
    `tumorcls evaluate model.keras --reference baseline.json` shows it beside a model.
    """
    from tumorcls.cache.folder import cache_folder
    from tumorcls.config.file import read_config
    from tumorcls.model.backend import device_notes, select_backend

    prepare_outputs(output, model_file, html)
    file = read_config(config_file)
    select_backend()
    from tumorcls.commands._written import write_evaluation
    from tumorcls.config.variables import written_parts
    from tumorcls.data.dataset import load_part
    from tumorcls.inference.measured import MeasuredImages, measure_model, plan_of
    from tumorcls.model.saved_model import check_target
    from tumorcls.training.assemble import assemble, made_with
    from tumorcls.training.linear_probe import INVERSE_PENALTY, fit_linear_probe
    from tumorcls.training.trainer import Trainer

    if model_file:
        check_target(model_file)
    tell_notes(*device_notes())
    trainer = Trainer.open(file.config, cache_folder())
    test = load_part(trainer.prepared, "test", file.config.image_size, cache_folder())
    fitted = fit_linear_probe(trainer, file.config)
    config, calibration = fitted.config, trainer.calibrate(fitted)
    method = f"logistic regression on standardised frozen features, C = {INVERSE_PENALTY}"
    provenance = {**made_with(trainer, config, fitted, 0), "method": method}
    model = assemble(trainer, config, fitted, calibration, provenance, written=written_parts(file.written), gate=False)
    plan = plan_of(model, unseen)
    measured = MeasuredImages(test, trainer.prepared.manifest, trainer.prepared.split_sha256)
    evaluation = measure_model(model, measured, plan, "logistic regression", on_condition=telling_progress(plan))
    validation = ", ".join(f"{name} {fitted.scores[name]:.3f}" for name in model.config.score)
    tell(f"Validation: {validation}. Test: macro-F1 clean {evaluation.clean.macro_f1}.")
    write_evaluation(evaluation, test.images, output, html)
    if model_file:
        model.save(model_file)
        tell(f"Wrote {model_file}.")
    tell(DISCLAIMER)
