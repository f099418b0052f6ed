"""How commands write an evaluation: as JSON, and as a page."""

from pathlib import Path

from tumorcls.cache.arrays import Rows
from tumorcls.commands.streams import tell
from tumorcls.evaluation.record import Evaluation
from tumorcls.files import write_whole
from tumorcls.reports.evaluation_page import render_page


def write_evaluation(
    evaluation: Evaluation, images: Rows, output: Path | None, html: Path | None, against: Evaluation | None = None
) -> None:
    """Writes an evaluation where it was asked for, and says where; the page shows some `images`, and compares with `against`.

    Raises:
        DataError: A file cannot be written.
    """
    if output:
        evaluation.write(output)
        tell(f"Wrote {output}.")
    if html:
        write_whole(html, render_page(evaluation, images, against))
        tell(f"Wrote {html}.")
