"""What the commands share: their common arguments, and how they open a study and say something."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.errors import SearchError
from search.text import show_path

if TYPE_CHECKING:
    from search.storage.reference import Opened
    from search.study_file.load import StudySpec

STUDY = click.argument("study", metavar="STUDY.toml", type=click.Path(path_type=Path))
ANY_STUDY = click.argument("study", metavar="STUDY.toml[#NAME]|URL#NAME")
STORAGE = click.option("--storage", metavar="URL", help="Storage instead of the study file's, such as sqlite:///other.db.")
LAUNCHED_AS = click.option("--as", "name", metavar="NAME", help="The study's name, where it was launched with --as.")
INTERRUPTED = 130  # what a shell reports for a command ended by ^C


def print_written(output: Path) -> None:
    """Says that a file was written, on stdout unless that is the file."""
    from search.files import open_file_of

    click.echo(f"Wrote {show_path(output)}.", err=open_file_of(output) == 1)


def say(line: str) -> None:
    """Prints a line to stderr."""
    click.echo(line, err=True)


def load_study(path: Path, name: str | None, *, imports: bool = True) -> "StudySpec":
    """Returns what a study file says, under another name where one is given; `imports` as in `search.study_file.load.load`."""
    from search.study_file.load import load, renamed

    quiet_optuna()
    spec = load(path, imports=imports)
    return spec if name is None else renamed(spec, name, "--as")


@contextlib.contextmanager
def open_any(study: str, storage: str | None) -> "Iterator[Opened]":
    """Opens what a person calls a study, a file or a storage's URL with a name, until the block ends."""
    from search.storage.errors import storage_errors
    from search.storage.open import close
    from search.storage.reference import open_reference

    quiet_optuna()
    opened = open_reference(study, storage)
    with storage_errors(opened.url):
        yield opened
    close(opened.study)


def track(spec: "StudySpec", url: str, storage: str | None, *, quiet: bool) -> "contextlib.AbstractContextManager[None]":
    """Sends a study to the trackers of its file, where it names some, while it is driven in the block below.

    `storage` is what the command line gave for its `url`; with `quiet` only warnings are printed.
    """
    if spec.track is None:
        return contextlib.nullcontext()
    from search.driver.views import print_warning
    from search.results.tracking.launched import followed
    from search.storage.reference import as_typed

    reference = as_typed(f"{spec.path}#{spec.name}", storage=storage)
    return followed(spec, url, reference, (lambda _: None) if quiet else say, print_warning)


def quiet_optuna() -> None:
    """Silences Optuna's own lines."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # its lines for each trial would tear the live view
    # Whoever made a study with lists as choices has read this.
    warnings.filterwarnings("ignore", "Choices for a categorical distribution should be", UserWarning)


def seconds(text: str, option: str = "--timeout") -> float:
    """Returns an option's time in seconds."""
    from pydantic_core import PydanticCustomError

    from search.study_file.rule_errors import format_error
    from search.study_file.units import parse_duration

    try:
        return float(parse_duration(text))
    except PydanticCustomError as error:
        raise SearchError(format_error(error, option)) from None
