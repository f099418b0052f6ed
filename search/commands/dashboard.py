"""``search dashboard``: serve optuna-dashboard for a study until ^C."""

import click

from search.commands.shared import ANY_STUDY, STORAGE, quiet_optuna, say
from search.text import error_line


@click.command("dashboard")
@ANY_STUDY
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 takes a free one.")
@click.option("--allow-host", "names", metavar="NAME", multiple=True, help="Another host name to answer to, such as a proxy's.")
@STORAGE
def command(study: str, host: str, port: int, storage: str | None, names: tuple[str, ...]) -> None:
    """Serve optuna-dashboard for a study until ^C.

    A note and charts are added to the study, and it can be edited; in a file only while no driver is at work.

    There is no login: whoever reaches the port can read and change the studies.
    """
    from search.results.dashboard import open_for, serve

    quiet_optuna()
    if host not in ("127.0.0.1", "localhost", "::1"):
        say(f"Careful: there is no login, so that whoever reaches {error_line(host)} can read and change the studies.")
    serve(open_for(study, storage, say), host, port, lambda address: click.echo(f"{address}  (^C ends it)"), names)
