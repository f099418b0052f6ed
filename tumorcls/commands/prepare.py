"""`tumorcls prepare`: writes the manifest and the split of data folders and tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tumorcls.commands._options import FILE
from tumorcls.commands._split_options import settings_of, split_options
from tumorcls.commands.streams import tell

if TYPE_CHECKING:
    from tumorcls.data.slices import Which


@click.command("prepare", short_help="Write manifest and split of data folders.")
@split_options
@click.option(
    *("-o", "--output", "--out", "output"),  # scripts of before have --out
    type=FILE,
    default=Path("data"),
    show_default=True,
    help="Folder to write manifest and split to.",
)
def command(folders: tuple[str, ...], cache_dir: Path, slices: "Which", output: Path, **options: Any) -> None:
    """Scan, de-duplicate and split data, and write manifest.csv, split.csv, images.csv and summary.json.

    DATA is a data set as it was downloaded, a folder of class folders, a table of images (CSV with the columns path and label,
    and where there are any patient, split, source, plane and slice), or phantoms:N[:SEED] for generated images. Pictures are
    only read. images.csv is such a table itself: each image with its part of the split.
    """
    from tumorcls.data.prepare import prepare, write_split_files

    settings = settings_of(options)
    data = prepare(folders, settings, cache_dir, slices)
    write_split_files(data, settings, output)
    for part in ("train", "validation", "test", "left_out"):
        tell(f"{part:<11}{len(data.indices(part)):>7,} images")
    if data.moved_out:
        tell(f"{data.moved_out:,} of those left out have a copy, or their patient, in a part that is given")
    for note in data.manifest.notes():
        tell(note)
    tell(f"Wrote {output}/manifest.csv, split.csv, images.csv and summary.json.")
