"""All that is wrong in a study file at once: what the file's own rules say, and what its objective does."""

import os
from collections.abc import Iterator
from pathlib import Path

from search.errors import StudyFileError
from search.study_file.env import AsWritten
from search.study_file.load import MOST_LINES, StudySpec, load, sound_parts, study_file_error
from search.study_file.targets import local_module
from search.workers.consult import ask_misfits


def load_whole(path: Path) -> StudySpec:
    """Reads and checks a study file; one that breaks a rule is shown to its objective too.

    Raises:
        StudyFileError: As of `load`, with a line for each thing that the objective cannot run.
    """
    try:
        return load(path)
    except StudyFileError as error:
        if len(error.lines) > MOST_LINES:
            raise
        lines = [line.removeprefix(f"{path}: ") for line in error.lines]
        raise study_file_error(path, [*lines, *_misfits(path)]) from None


def _misfits(path: Path) -> Iterator[str]:
    if (parts := sound_parts(path)) is None:
        return
    target, space, settings = parts
    if local_module(target, Path.cwd()) is not None:
        return  # the code of the folder, which may be somebody else's, runs in no launch that has not said so
    try:
        as_written = AsWritten.of(settings, os.environ, f"{path}: objective")
    except StudyFileError:  # a variable is not set: said already, and what it stands in is left out below
        as_written = AsWritten(settings, settings)
    lines = map(as_written.text, ask_misfits(target, space, as_written.expanded))
    yield from (line for line in lines if "${" not in line)
