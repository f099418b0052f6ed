"""A small server that stays up whoever asks: Waitress, with limits on what is read, for how long, and by how many.

A connection carries one request. What is read of all requests together is bounded, so is the time that a request may take to
arrive; who comes when there is no room is told so ("503 Service Unavailable") and not cut off. No body is ever written to disk.
"""

import errno
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher
from waitress.utilities import BadRequest, Error

from tumorcls.errors import DataError, reason

MAX_BODY = 64 * 2**20
"""Bytes of one request's body."""

_MAX_HEADER = 16 * 2**10
_MAX_BUFFERED = 192 * 2**20  # bytes of all bodies that are being read or wait for their answer
_PATIENCE = 15.0  # seconds for a request to arrive, and for its answer to be taken
_RATE = 128 * 2**10  # bytes that give it another second
_MAX_DISCARDED = MAX_BODY  # of a request that was refused before it was read
_CONNECTIONS = 600
_THREADS = 16
_OF_THE_PORT = (errno.EADDRINUSE, errno.EACCES, errno.EPERM)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer, errors too, unless the application sets another value."""


class _Refused(Error):
    def __init__(self, status: HTTPStatus) -> None:
        super().__init__("")
        self.code, self.reason = status.value, status.phrase


class _Parser(HTTPRequestParser):
    """Takes a body only of a length that is given beforehand: Waitress reads the heads of chunks however long they are."""

    path = ""  # where Waitress looks for it before it is known

    def received(self, data: bytes) -> int:
        try:
            consumed: int = super().received(data)
        except ValueError:  # a number of 5,000 digits, half an IPv6 address
            self.error, self.completed, consumed = BadRequest(""), True, len(data)
        if self.headers_finished and self.error is None and (self.chunked or "TRANSFER_ENCODING" in self.headers):
            self.error, self.completed = _Refused(HTTPStatus.LENGTH_REQUIRED), True
        if self.error is not None:
            self.expect_continue = False
        self.headers["CONNECTION"] = "close"
        return consumed


class _ErrorTask(ErrorTask):
    """Says what is wrong in one line of plain text, with nothing of the request in it."""

    def execute(self) -> None:
        error = self.request.error
        body = f"{error.reason}\n".encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend([("Content-Type", "text/plain; charset=utf-8"), *HEADERS.items()])
        if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
            self.response_headers.append(("Retry-After", "2"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):
    """One connection. All of it runs in the server's main thread, but for `service`."""

    parser_class = _Parser
    error_task_class = _ErrorTask
    request: Any
    requests: list[Any]
    will_close: bool

    def __init__(self, server: "Server", *args: Any, **kwargs: Any) -> None:
        self.begun = time.monotonic()
        self.moved = self.held = 0  # bytes read or to be written since then, and those of the body in memory
        self.asked = self.answered = self.discarding = False
        super().__init__(server, *args, **kwargs)

    @property
    def close_when_flushed(self) -> bool:
        """Never for Waitress, which would close at once; see `handle_write`."""
        return False

    @close_when_flushed.setter
    def close_when_flushed(self, value: bool) -> None:
        self.answered = value

    def readable(self) -> bool:
        return self.discarding or bool(not self.answered and super().readable())

    def writable(self) -> bool:
        return bool(super().writable() or (self.answered and not self.discarding))

    def received(self, data: bytes) -> bool:
        """Passes on what comes until the request is whole. What comes after it, or after a refusal, is read and forgotten."""
        self.moved += len(data)
        if self.asked:
            self.will_close = self.will_close or self.moved > _MAX_DISCARDED
            return False
        super().received(data)
        if self.request is None:
            self.asked = bool(self.requests)
        else:
            self._hold(self.request.body_bytes_received)
            if self.server.held > _MAX_BUFFERED:
                self._refuse(_Refused(HTTPStatus.SERVICE_UNAVAILABLE))
        return True

    def handle_write(self) -> None:
        """Sends, and at the end waits for the other side to close: to close while it sends would lose it the answer."""
        super().handle_write()
        if self.answered and self.connected and not self.discarding and not self.total_outbufs_len:
            self.discarding, self.begun, self.moved = True, time.monotonic(), 0
            self._hold(0)
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def service(self) -> None:
        try:
            super().service()
        finally:
            self.answered, self.requests = True, []
            self.begun, self.moved = time.monotonic(), self.total_outbufs_len

    def expire(self, now: float) -> None:
        """Ends a connection that takes too long, with a word where a request has begun to come."""
        if now - self.begun <= _PATIENCE + self.moved / _RATE or self.requests:
            return
        if self.request is not None and not self.asked:
            self._refuse(_Refused(HTTPStatus.REQUEST_TIMEOUT))
        else:
            self.will_close = True

    def del_channel(self, map: Any = None) -> None:
        self._hold(0)
        super().del_channel(map)

    def _hold(self, count: int) -> None:
        self.server.held += count - self.held
        self.held = count

    def _refuse(self, error: Error) -> None:
        with self.requests_lock:
            request, self.request = self.request, None
            request.close()
            request.error, request.body_rcv, request.completed = error, None, True
            self.requests.append(request)
        self.asked = True
        self._hold(0)
        self.server.add_task(self)


class Server(TcpWSGIServer):
    """A server that listens; `serve_forever` answers until `shutdown`."""

    channel_class = _Channel
    held = 0  # bytes of bodies in memory

    def maintenance(self, now: float) -> None:
        """Ends connections that take too long."""
        for channel in list(self.active_channels.values()):
            channel.expire(time.monotonic())

    @property
    def server_port(self) -> int:
        """The port that it listens at."""
        return int(self.effective_port)

    def serve_forever(self) -> None:
        """Answers until `shutdown` is called in another thread, or ^C."""
        wasyncore.loop(timeout=1, map=self._map, use_poll=True)

    def shutdown(self) -> None:
        """Ends `serve_forever`."""
        self.trigger.pull_trigger(self._close_all)

    def _close_all(self) -> None:
        self.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._map)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        wasyncore.close_all(self._map)


def serve(app: Callable[..., Any], host: str, port: int) -> Server:
    """Returns a server that listens; port 0 takes a free one.

    Raises:
        DataError: The address is taken or not of this machine.
    """
    logging.getLogger("waitress").setLevel(logging.CRITICAL)  # it would tell of every bad request, with a traceback
    opened: dict[int, Any] = {}
    threads = ThreadedTaskDispatcher()
    try:
        settings = Adjustments(
            host=host,
            port=port,
            connection_limit=_most_connections(),
            cleanup_interval=1,
            max_request_header_size=_MAX_HEADER,
            max_request_body_size=MAX_BODY + 1,
            inbuf_overflow=MAX_BODY + 1,
            outbuf_overflow=2**24,
            recv_bytes=2**16,
            ident=None,
            log_socket_errors=False,
        )
        server = Server(_with_headers(app), map=opened, dispatcher=threads, adj=settings)
    except (OSError, ValueError) as error:
        wasyncore.close_all(opened)
        found = reason(error) if isinstance(error, OSError) else "no address of this machine"
        remedy = "Choose another --port" if getattr(error, "errno", None) in _OF_THE_PORT else "Choose another --host"
        raise DataError(f"{host}:{port}: must be free to listen on; got: {found}. {remedy}.") from None
    threads.set_thread_count(_THREADS)
    return server


def _most_connections() -> int:
    """Returns how many connections leave room for other files: macOS lets a process open 256, and one too many takes a core."""
    import resource  # not up there: what only reads can be imported where there is none

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _CONNECTIONS if files == resource.RLIM_INFINITY else min(_CONNECTIONS, files * 3 // 4)


def _with_headers(app: Callable[..., Any]) -> Callable[..., Any]:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            given = {name.lower() for name, _ in headers}
            added = [(name, value) for name, value in HEADERS.items() if name.lower() not in given]
            return start_response(status, [*headers, *added], *error)

        return app(environ, start)

    return answer
