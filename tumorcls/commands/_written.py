"""How commands write an evaluation: as JSON, and as a page."""

from pathlib import Path

from tumorcls.cache.arrays import Rows
from tumorcls.commands.streams import tell
from tumorcls.evaluation.record import Evaluation
from tumorcls.reports.evaluation_page import render_page
from tumorcls.reports.links import write_page


def write_evaluation(
    evaluation: Evaluation, images: Rows, output: Path | None, html: Path | None, against: Evaluation | None = None
) -> None:
    """Writes an evaluation where it was asked for, and says where.

    Args:
        evaluation: What was measured.
        images: That it was measured on; the page shows some.
        output: The JSON.
        html: The page.
        against: Of another model, with which the page compares it.

    Raises:
        DataError: A file cannot be written.
    """
    if output:
        evaluation.write(output)
        tell(f"Wrote {output}.")
    if html:
        write_page(html, render_page(evaluation, images, against))
        tell(f"Wrote {html}.")
