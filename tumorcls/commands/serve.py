"""`tumorcls serve`: a model in the browser."""

from pathlib import Path

import click

from tumorcls import DISCLAIMER
from tumorcls.commands._options import FILE


@click.command("serve")
@click.option("-m", "--model", "model_file", type=FILE, default=Path("model.keras"), show_default=True)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen at. The default is this computer's own."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="0 takes a free one.")
def command(model_file: Path, host: str, port: int) -> None:
    """Open a page to drop an image on: it shows the probabilities, what supports them, and what noise does to the answer.

    For research and education only, never for diagnosis. Files stay on this computer; there are no accounts, so think before
    you give another --host. ^C stops it.
    """
    from tumorcls.model.backend import select_backend

    select_backend()
    from tumorcls.inference.server import serve
    from tumorcls.inference.web import Answering, make_app
    from tumorcls.model.saved_model import load_model

    app = make_app(Answering(load_model(model_file)), host)
    with serve(app, host, port) as server:
        place = f"[{host}]" if ":" in host else host
        click.echo(f"{DISCLAIMER}\nOpen http://{place}:{server.server_port}/ in a browser; ^C stops it.")
        server.serve_forever()
