"""`tumorcls evaluate`: a model on the test part, clean and under noise."""

import shlex
from pathlib import Path

import click

from tumorcls import DISCLAIMER
from tumorcls.commands._options import FILE, UNSEEN
from tumorcls.commands._progress import telling_progress
from tumorcls.commands.streams import prepare_outputs, tell, tell_notes


@click.command("evaluate")
@click.argument("model_file", metavar="MODEL.keras", type=FILE, default=Path("model.keras"))
@click.option("-o", "--output", type=FILE, help="Write the evaluation as JSON.")
@click.option("--html", type=FILE, help="Write it as one page with plots that opens offline.")
@click.option("--reference", type=FILE, help="JSON of another model's evaluation; shows what is gained over it.")
@click.option(
    "--data",
    "folders",
    multiple=True,
    metavar="DATA",
    help="Where the model's data lies, if it was moved, or other data: folders or tables; repeatable.",
)
@click.option(
    "--trained-on", multiple=True, metavar="DATA", help="Where the model's data lies, if --data is other data; repeatable."
)
@click.option("--clean-only", is_flag=True, help="Leave noise and corruptions out.")
@UNSEEN
def command(
    model_file: Path,
    output: Path | None,
    html: Path | None,
    reference: Path | None,
    folders: tuple[str, ...],
    trained_on: tuple[str, ...],
    clean_only: bool,
    unseen: str,
) -> None:
    """Measure a model on the test part of its data, or on other data. For research and education only.

    Intervals are 95% bootstrap intervals over groups, not over images: of copies, and of all slices of a patient, where
    patients are named, or of a volume. The split must be the one of the training: if files were added or changed since, the
    command says so and stops. Where they lie and how they are called does not matter; name each folder of data that was moved
    with --data.

    Other data than the model's own in --data is measured whole, but for the images whose picture or patient the model may
    have seen: they are counted and left out, and the scores with them stand beside.

    The noises are those that chose the model. Apart from them stand corruptions that neither its training nor its
    search has seen: blur, motion, contrast, brightness, gamma, resolution, compression, MR's own noise, ghosts and uneven
    fields.
    """
    from tumorcls.model.backend import device_notes, select_backend

    select_backend()
    from tumorcls.commands._written import write_evaluation
    from tumorcls.evaluation.record import Evaluation
    from tumorcls.evaluation.robustness import not_compared
    from tumorcls.inference.measured import measure_model, measured_images, plan_of
    from tumorcls.model.saved_model import load_model
    from tumorcls.reports.evaluation_text import print_evaluation

    prepare_outputs(output, html)
    model = load_model(model_file)
    against = Evaluation.read(reference) if reference else None
    measured = measured_images(model, folders, trained_on)
    tell_notes(*measured.manifest.notes(), *device_notes())
    plan = plan_of(model, unseen, clean_only=clean_only)
    evaluation = measure_model(model, measured, plan, model_file.stem, against, telling_progress(plan))
    if against is not None and (kinds := not_compared(evaluation)):
        tell_notes(f"the reference was measured before {', '.join(kinds)} was: all that is compared is without it")
    print_evaluation(evaluation)
    write_evaluation(evaluation, measured.images.images, output, html, against)
    tell(f"Next: {_next_step(model_file, output, html, external=evaluation.external is not None)}")
    tell(DISCLAIMER)


def _next_step(model_file: Path, output: Path | None, html: Path | None, *, external: bool) -> str:
    """Returns what to look at, and what to type."""
    if output is None:
        page, why = ("", "") if html else (" --html test.html", ", and for a page with curves and the worst mistakes")
        return f"add -o test.json{page} to keep these figures{why}."
    page = f"look at recall by class and the worst mistakes in {html}, then " if html else ""
    model, kept = (shlex.quote(str(file)) for file in (model_file, output))
    return f"{page}tumorcls card {model} {'EVALUATION.json --external ' if external else ''}{kept}"
