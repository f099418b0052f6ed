"""Serves optuna-dashboard for a study, with the artifacts beside its storage."""

import errno
import os
import socket
from collections.abc import Callable, Sequence
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard
from optuna.artifacts import FileSystemArtifactStore

from search.driver.compatibility import living_driver
from search.errors import DashboardError
from search.optuna_internals import storage_of, study_id_of
from search.results.dashboard_note import save_charts, save_note
from search.results.same_origin import SameOrigin
from search.storage.errors import storage_errors
from search.storage.folders import artifact_folder
from search.storage.open import close
from search.storage.reference import Opened, open_reference
from search.storage.url import hide_password, storage_file


def open_for(text: str, url: str | None, say: Callable[[str], None]) -> Opened:
    """Opens a study for the dashboard: for reading alone where a driver has its file, or where nobody may write to that.

    Args:
        text: The study, as `open_reference` takes it.
        url: The storage instead of the study file's.
        say: Is told, in one line, why notes and names cannot be edited.

    Raises:
        SearchError: The file, the storage or the study is not there or not what it must be.
    """
    opened = open_reference(text, url)
    path = storage_file(opened.url)
    with storage_errors(opened.url):
        driver = living_driver(opened.study) if path is not None else None  # a server has any number of writers
    if driver is not None:
        why = f"process {driver.pid} on {driver.host} drives a study in it"
    elif path is not None and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        why = "you may not write to it"
    else:
        close(opened.study)
        return open_reference(text, url, writable=True)
    say(f"{hide_password(opened.url)} is open for reading alone, as {why}: notes and names cannot be edited here.")
    return opened


def serve(opened: Opened, host: str, port: int, ready: Callable[[str], None], names: Sequence[str] = ()) -> None:
    """Serves the dashboard until ^C.

    Args:
        opened: The study that the printed address leads to; all of the storage are shown. Where it may be written to, it gets
            charts and, where it has a file, a note.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        ready: Is called with the address once it answers.
        names: Further names that it is reached by, such as a proxy's.

    Raises:
        DashboardError: The address cannot be listened on.
        StorageError: The storage cannot be written.
    """
    study = opened.study
    artifacts = artifact_folder(opened.url)
    with storage_errors(opened.url):
        if opened.writable:
            if opened.spec is not None:
                save_note(study, opened.spec)
            save_charts(study)
            artifacts.mkdir(exist_ok=True)  # a trial may leave its first one while the dashboard is open
        app = optuna_dashboard.wsgi(storage_of(study), artifact_store=FileSystemArtifactStore(artifacts))
    try:
        server_class = _ServerV6 if ":" in host else _Server
        server = make_server(host, port, SameOrigin(app, host, names), server_class=server_class, handler_class=_QuietHandler)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        remedy = "Add --port with another one (0 takes any)" if taken else "Check --host and --port"
        raise DashboardError(f"{host}:{port}: must be free to listen on; got: {error.strerror}. {remedy}.") from None
    with server:
        ready(f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}/dashboard/studies/{study_id_of(study)}")
        server.serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    """Answers several requests at a time: a page asks for many, and keeps polling."""

    daemon_threads = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    timeout = 60  # seconds that a connection may say nothing

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a line for each poll of the page would bury what matters."""
