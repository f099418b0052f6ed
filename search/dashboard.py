"""Serves optuna-dashboard for a study, with the artifacts beside its storage."""

import errno
from collections.abc import Callable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard
from optuna.artifacts import FileSystemArtifactStore

from search.artifacts import artifact_folder
from search.dashboard_note import save_charts, save_note
from search.errors import DashboardError
from search.reference import Opened
from search.storage import storage_errors


def serve(opened: Opened, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serves the dashboard until ^C.

    Args:
        opened: The study that gets charts and, where it has a file, a note, and that the printed address leads to; all of the
            storage are shown.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        ready: Is called with the address once it answers.

    Raises:
        DashboardError: The address cannot be listened on.
        StorageError: The storage cannot be written.
    """
    study = opened.study
    artifacts = artifact_folder(opened.url)
    with storage_errors(opened.url):
        if opened.spec is not None:
            save_note(study, opened.spec)
        save_charts(study)
        artifacts.mkdir(exist_ok=True)  # a trial may leave its first one while the dashboard is open
        app = optuna_dashboard.wsgi(study._storage, artifact_store=FileSystemArtifactStore(artifacts))
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
