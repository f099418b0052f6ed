"""Serves optuna-dashboard for a study, with the artifacts beside its storage."""

import errno
from collections.abc import Callable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard
from optuna.artifacts import FileSystemArtifactStore

from search.errors import DashboardError
from search.storage import folder, open_study, storage_errors


def serve(url: str, name: str, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serves the dashboard until ^C.

    Args:
        url: The storage.
        name: The study that the printed address leads to; the dashboard shows all studies of the storage.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        ready: Is called with the address once it answers.

    Raises:
        DashboardError: The address cannot be listened on.
        SearchError: The study cannot be opened.
    """
    study = open_study(url, name)
    artifacts = folder(url) / f"{name}.artifacts"
    store = FileSystemArtifactStore(artifacts) if artifacts.is_dir() else None
    with storage_errors(url):
        app = optuna_dashboard.wsgi(study._storage, artifact_store=store)
    try:
        server = make_server(host, port, app, server_class=_Server, handler_class=_QuietHandler)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        remedy = "Add --port with another one (0 takes any)" if taken else "Check --host and --port"
        raise DashboardError(f"{host}:{port}: must be free to listen on; got: {error.strerror}. {remedy}.") from None
    with server:
        ready(f"http://{host}:{server.server_port}/dashboard/studies/{study._study_id}")
        server.serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    """Answers several requests at a time: a page asks for many, and keeps polling."""

    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a line for each poll of the page would bury what matters."""
