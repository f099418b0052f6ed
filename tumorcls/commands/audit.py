"""`tumorcls audit`: copies, leaks, conflicts and confounding of data folders, in the terminal and as a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tumorcls.commands._options import FILE
from tumorcls.commands._split_options import settings_of, split_options
from tumorcls.commands.streams import prepare_outputs, tell

if TYPE_CHECKING:
    from tumorcls.data.slices import Which


@click.command("audit", short_help="Report copies, leaks and label conflicts of data folders.")
@split_options
@click.option("--html", "page", type=FILE, help="Also write the report with pictures here.")
def command(folders: tuple[str, ...], cache_dir: Path, slices: "Which", page: Path | None, **options: Any) -> None:
    """Examine data folders: counts, copies, twins across the official split, label conflicts, confounding.

    DATA is a data set as it was downloaded, a folder of class folders, a table of images (CSV with the columns path and label,
    and where there are any patient, split, source, plane and slice), or phantoms:N[:SEED] for generated images.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tumorcls.data.audit import audit
    from tumorcls.data.prepare import prepare
    from tumorcls.reports.audit_page import write_audit

    prepare_outputs(page)
    settings = settings_of(options)
    data = prepare(folders, settings, cache_dir, slices)
    report = audit(data, settings)
    for note in data.manifest.notes():
        tell(note)
    console = Console()
    verdict, *tables = report.tables()
    for table in (*tables, verdict):  # the verdict last, or the rest would scroll it away
        console.print()
        console.print(Text(table.title, style="bold"))
        if table is not verdict:
            console.print(Text(table.note, style="dim"))
        if table.rows:
            view = Table(box=None, pad_edge=False, header_style="dim")
            for k, name in enumerate(table.header):
                view.add_column(Text(name), justify="right" if k else "left", overflow="fold")
            for row, kind in zip(table.rows, table.kinds, strict=True):
                view.add_row(*map(Text, row), style="bold" if kind == "sum" else "")
            console.print(view)
    console.print(Text(verdict.note, style="bold"))
    if page is not None:
        write_audit(report, data, page)
        click.echo()
        tell(f"Wrote {page}.")
