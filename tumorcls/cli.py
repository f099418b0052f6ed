"""The command `tumorcls`: loads each command when it is asked for, and prints an expected error as one line."""

import importlib
import logging
import os
import sys
import warnings

import click

from tumorcls import DISCLAIMER
from tumorcls.commands.streams import forgive_output, unwritten_output
from tumorcls.errors import TumorclsError, shown

COMMANDS = {
    "fetch": ("Get a public data set from Kaggle.", "tumorcls fetch sartaj"),
    "phantoms": (
        "Write generated brain-like images in the layout of the Kaggle sets.",
        "tumorcls phantoms phantoms --images 400",
    ),
    "audit": (
        "Show copies, leaks, label conflicts and confounding in data folders.",
        "tumorcls audit data/sartaj data/nickparvar --html audit.html",
    ),
    "prepare": (
        "Write the manifest of data folders, and a split that keeps copies together.",
        "tumorcls prepare data/sartaj -o prepared",
    ),
    "preview": (
        "Draw every noise at every severity, and what training sees.",
        "tumorcls preview slice.png -o noises.png",
    ),
    "train": ("Train a model from an exported config.", "tumorcls train --config best.toml"),
    "evaluate": (
        "Measure a model on the test part, clean and under noise.",
        "tumorcls evaluate model.keras -o test.json --html test.html",
    ),
    "baseline": (
        "Measure what a logistic regression on frozen features reaches, to compare a model with.",
        "tumorcls baseline --config best.toml -o baseline.json",
    ),
    "leave-one-source-out": (
        "Train without each source in turn, and measure on it.",
        "tumorcls leave-one-source-out --config best.toml -o sources",
    ),
    "card": (
        "Write a model card: what the model is, how it was found, how it did, and what it is not for.",
        "tumorcls card model.keras test.json -o card.md",
    ),
    "predict": ("Print a model's probabilities for images.", "tumorcls predict slice.png scans/ --model model.keras"),
    "serve": (
        "Open a page on which an image is dropped and answered, with noise to try.",
        "tumorcls serve --model model.keras",
    ),
    "export-model": (
        "Write a model as ONNX or TFLite, checked against the original.",
        "tumorcls export-model model.keras -o model.onnx",
    ),
}
"""Commands in the order of their use: help, then examples. Each is `tumorcls.commands.NAME.command`, with _ for -."""


def _was_interrupted(error: BaseException | None) -> bool:
    """Returns whether ^C became this error, which pydantic, where it builds a class, and Python before 3.12 make of it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error):
            return True
        error = error.__cause__
    return False


class _LazyCommands(click.Group):
    """Imports a command's module only when it runs, so that help does not wait for a backend; until then it knows the names."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns a command, or None where there is none of the name."""
        if cmd_name not in self.commands:
            return None
        command: click.Command = importlib.import_module(f"tumorcls.commands.{cmd_name.replace('-', '_')}").command
        command.epilog = "\b\nExamples:\n  " + "\n  ".join(COMMANDS[cmd_name][1:])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of the commands, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (help_, *_) in COMMANDS.items()])


@click.command(
    cls=_LazyCommands,
    commands=[click.Command(name) for name in COMMANDS],
    context_settings={"help_option_names": ["-h", "--help"]},
    help=f"Brain-tumour MRI classification that has to work on noisy scans.\n\n{DISCLAIMER}",
    invoke_without_command=True,
)
@click.version_option(package_name="tumorcls")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Entry of the group; the commands do the work."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Runs a command. Exit codes: 0 done, 1 the user's mistake in one line, 130 interrupted, a traceback for a bug."""
    # Pillow's warning about large images; our own error about them is one line.
    warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
    # So is our own error about a broken file, and what is read all the same needs none.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    forgive_output()
    code = _run()
    if code == 0 and (cut := unwritten_output()):
        click.echo(f"error: {cut}", err=True)
        code = 1
    sys.exit(code)


def _run() -> int:
    if sys.platform == "win32":
        click.echo("error: tumorcls: needs Linux or macOS; got Windows. Run it in WSL 2.", err=True)
        return 1
    try:
        cli.main(prog_name="tumorcls", standalone_mode=False)
    except SystemExit as end:  # a command that has said what there was to say
        return int(end.code or 0)
    except TumorclsError as error:
        click.echo(f"error: {_line(error)}", err=True)
        return 1
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "tumorcls"
        click.echo(f"error: {command}: {_line(error.format_message())} Try {command} --help.", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:
        if not _was_interrupted(error):
            raise
        return 130
    return 0


def _line(message: object) -> str:
    return shown(" ".join(str(message).split()))
