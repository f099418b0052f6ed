"""``search init``: write a commented study file, and an objective where there is none yet."""

import contextlib
import os
import shlex
from importlib import resources
from pathlib import Path

import click

TEMPLATES = ("quickstart", "brain-mri", "brain-mri-deep", "own", "own-keras", "own-torch")
_FOLDERS = {"brain-mri": "sartaj/", "brain-mri-deep": "sartaj/ and nickparvar/"}
"""What the folder must hold that TUMORCLS_DATA names."""


@click.command("init")
@click.argument("study", metavar="[STUDY.toml]", required=False, type=click.Path(path_type=Path))
@click.option("--template", type=click.Choice(TEMPLATES), default="brain-mri", show_default=True, help="What to begin with.")
def command(study: Path | None, template: str) -> None:
    """Write a commented study file, and an objective where there is none yet.

    \b
    quickstart      generated images, no data, minutes
    brain-mri       the classifier here, on images that TUMORCLS_DATA names
    brain-mri-deep  the same on both public sets, and how deep to train
    own             an objective of your own: objective.py beside the file
    own-keras       a Keras model of your own, with fit and a pruning callback
    own-torch       a PyTorch model of your own, which goes on from checkpoints

    What is written runs as it is. STUDY.toml is named after the template by default. Nothing is overwritten.
    """  # noqa: D301 - the mark by which Click keeps the lines as they are
    from search.errors import StudyFileError
    from search.files import write
    from search.text import show_path

    study = study or Path(f"{template}.toml")
    if study.suffix != ".toml":
        raise StudyFileError(f"{show_path(study)}: a study file must end in .toml; got another name. Write {study.stem}.toml.")
    folder = resources.files("search.commands") / "templates"
    text = (folder / f"{template}.toml").read_text(encoding="utf-8")
    text = text.replace(f"studies/{template}.toml", f"{template}.toml").replace(f"{template}.toml", study.name)
    texts = {study: text.replace(f'"{template}"', f'"{study.stem}"').replace(f"/{template}.db", f"/{study.stem}.db")}
    if (module := folder / f"{template}.py").is_file():
        texts[study.with_name("objective.py")] = module.read_text(encoding="utf-8").replace(f"{template}.toml", study.name)
    kept = {path for path, content in texts.items() if path.is_file() and path.read_bytes() == content.encode()}
    for path in texts:
        if path.exists() and path not in kept:
            other = "name" if path == study else "folder"
            raise StudyFileError(f"{show_path(path)}: must not be there yet; got a file. Give another {other}, or remove it.")
    with contextlib.ExitStack() as undo:  # a half would be refused, should the disk be full for the rest
        for path in (path for path in texts if path not in kept):
            write(texts[path], path)
            undo.callback(path.unlink, missing_ok=True)
        undo.pop_all()
    for path in texts:
        click.echo(f"{'Kept' if path in kept else 'Wrote'} {show_path(path)}.")
    if template in _FOLDERS and "TUMORCLS_DATA" not in os.environ:
        click.echo(f"Next:  export TUMORCLS_DATA=FOLDER   # the one that holds {_FOLDERS[template]}")
    there = "" if study.parent == Path() else f"cd {shlex.quote(show_path(study.parent))} && "
    click.echo(f"Next:  {there}search launch {shlex.quote(study.name)}")
    if "own" not in template:
        click.echo("Your own objective:  search init --template own")
