"""The command ``search``: loads each of its commands when it is asked for, and prints an expected error as one line."""

import importlib
import logging
import sys

import click

from search.commands.shared import INTERRUPTED, say
from search.errors import SearchError
from search.streams import forgive_output, unwritten_output
from search.text import error_line

COMMANDS = {
    "init": (
        "Write a commented study file, and an objective where there is none yet.",
        "search init",
        "search init digits.toml --template own-keras",
    ),
    "launch": (
        "Create or resume a study and run its trials.",
        "search launch studies/brain-mri.toml",
        "search launch studies/brain-mri.toml --workers 2 --timeout 8h",
    ),
    "status": (
        "Print a study as a table.",
        "search status studies/brain-mri.toml --watch",
        "search status studies/brain-mri.toml --format csv",
        "search status 'sqlite:///other.db#name' --all",
    ),
    "dashboard": ("Serve optuna-dashboard for a study until ^C.", "search dashboard studies/brain-mri.toml --port 8081"),
    "report": ("Write a study as one HTML page that needs no network.", "search report studies/brain-mri.toml -o report.html"),
    "compare": (
        "Compare what studies found, and how soon.",
        "search compare tpe=a.toml,b.toml,c.toml random=d.toml,e.toml,f.toml -o compare.html",
    ),
    "finalists": (
        "Train the best configs and the baseline again with several seeds, and rank them.",
        "search finalists studies/brain-mri.toml --top 5 --seeds 3",
    ),
    "references": (
        "Measure what is reached without a search, for report and finalists to show beside it.",
        "search references studies/brain-mri.toml",
    ),
    "export": (
        "Write the best trial as a TOML config with its provenance: the winner of the finalists, where there is one.",
        "search export studies/brain-mri.toml -o best.toml",
    ),
    "track": (
        "Send a study to MLflow or TensorBoard: what is missing there, and nothing twice.",
        "search track studies/brain-mri.toml --mlflow sqlite:///mlflow.db",
        "search track 'sqlite:///other.db#name' --tensorboard runs",
    ),
    "worker": (
        "Join a study on PostgreSQL or MySQL, and run trials of it here until none is left to start.",
        "search worker study.toml --storage postgresql://lab@server/studies",
    ),
    "submit": (
        "Send tasks of `search worker` to Slurm as a job array (extra submitit), and return at once.",
        "search submit study.toml --jobs 16 --time 8h",
    ),
    "import-keras-tuner": (
        "Import a KerasTuner project as a study.",
        "search import-keras-tuner my_dir/project --storage sqlite:///project.db",
    ),
    "space-from-keras-tuner": (
        "Print the [space] of a HyperModel, or of a project, for a study file.",
        "search space-from-keras-tuner my_model:build",
    ),
}
"""Commands in the order of their use: help, then examples. Each is `search.commands.NAME.command`, with _ for -."""


def main() -> None:
    """Runs the command line: exit code 0 done, 1 the user's mistake in one line, 130 interrupted, a traceback for a bug."""
    # SQLAlchemy's traceback of a connection that ^C broke into the closing of; who asks for its log gets it all the same.
    logging.getLogger("sqlalchemy.pool").addHandler(logging.NullHandler())
    forgive_output()
    code = _run()
    if not code and (cut := unwritten_output()):
        say(f"error: {cut}")
        code = 1
    sys.exit(code)


def _run() -> int | None:
    if sys.platform == "win32":
        say("error: search: needs Linux or macOS; got Windows. Run it in WSL 2.")
        return 1
    try:
        code: int | None = cli.main(prog_name="search", standalone_mode=False)
        return code
    except SearchError as error:
        for line in error.lines:
            say(f"error: {error_line(line)}")
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "search"
        say(f"error: {command}: {error_line(error.format_message())} Try {command} --help.")
    except click.ClickException as error:
        say(f"error: {error_line(error.format_message())}")
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        if not _was_interrupted(error):
            raise
        return INTERRUPTED
    return 1


def _was_interrupted(error: BaseException | None) -> bool:
    """Returns whether ^C became this error, which pydantic, where it builds a class, and Python before 3.12 make of it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error):
            return True
        error = error.__cause__
    return False


class _LazyCommands(click.Group):
    """Imports a command's module only when it runs, so that help answers at once; until then it knows the names."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns a command, or None where there is none of the name."""
        if cmd_name not in self.commands:
            return None
        command: click.Command = importlib.import_module(f"search.commands.{cmd_name.replace('-', '_')}").command
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
    invoke_without_command=True,
)
@click.version_option(package_name="tumorcls")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Search hyperparameters: launch a study, look at it, export its best config.

    status, export, report, compare and dashboard take a study file, or the URL of a storage and the name of any Optuna study
    in it: sqlite:///other.db#name. They only read, but for the dashboard: it keeps a note and charts in the study.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
