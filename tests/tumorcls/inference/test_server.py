import resource
import socket
import threading
import time

import pytest

from tests.serving import serving
from tumorcls.inference import server as limits
from tumorcls.inference.server import serve

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


def app(environ, start_response):
    body = b"%d bytes" % len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setattr(limits, "_PATIENCE", 1.0)
    monkeypatch.setattr(limits, "_MAX_BUFFERED", 1_000_000)
    with serving(serve(app, "127.0.0.1", 0)) as server:
        yield server.server_port


def talk(port, content, *, end=False):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(content)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 5\r\n\r\nhello", b"200 OK"),
        (b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"411 Length Required"),
        (b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 5000, b"411 Length Required"),
        (b"Transfer-Encoding: gzip\r\n\r\n", b"501 Not Implemented"),
        (b"Content-Length: -5\r\n\r\n", b"400 Bad Request"),
        (b"Content-Length: 5, 5\r\n\r\nhello", b"400 Bad Request"),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", b"400 Bad Request"),
        (b"Content-Length: five\r\n\r\n", b"400 Bad Request"),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", b"400 Bad Request"),
        (b"Content-Length: 99999999999\r\n\r\nhello", b"413 Request Entity Too Large"),
        (b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n", b"413 Request Entity Too Large"),
        (b"X: 1\r\n" * 10_000 + b"\r\n", b"431 Request Header Fields Too Large"),
        (b"Content-Length: 50\r\n\r\nhello", b"408 Request Timeout"),
        (b"X: half a header", b"408 Request Timeout"),
    ],
)
def test_what_headers_say_is_checked(port, head, status):
    answer = talk(port, HEAD + head)
    assert answer.split(b"\r\n")[0].endswith(status)
    assert b"X-Content-Type-Options: nosniff" in answer
    assert b"Connection: close" in answer
    if not status.startswith(b"200"):
        assert answer.endswith(b"\r\n\r\n" + status[4:] + b"\n")


def test_a_connection_carries_one_request_and_may_be_half_closed(port):
    one = HEAD + b"Content-Length: 5\r\n\r\nhello"
    answer = talk(port, one * 3, end=True)
    assert answer.count(b"HTTP/1.1 200 OK") == 1


def test_bodies_together_are_bounded_and_who_is_refused_hears_it(port):
    answers = []
    content = HEAD + b"Content-Length: 900000\r\n\r\n" + bytes(900_000)
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(content[:600_000])
        time.sleep(0.3)
        threads = [threading.Thread(target=lambda: answers.append(talk(port, content))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {answer.split(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 503 Service Unavailable"}
    assert all(b"Retry-After: " in answer for answer in answers)
    assert talk(port, content).startswith(b"HTTP/1.1 200 OK")


def test_slow_ones_do_not_stay(port):
    begun = time.monotonic()
    slow = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(50)]
    for number, connection in enumerate(slow):
        connection.sendall((HEAD + b"Content-Length: 5000\r\n\r\nabc")[: 10 * (number % 10)])
    assert talk(port, HEAD + b"Content-Length: 5\r\n\r\nhello").startswith(b"HTTP/1.1 200 OK")
    for connection in slow:
        with connection:
            while connection.recv(65536):
                pass
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(("files", "connections"), [(64, 48), (256, 192), (1024, 600), (resource.RLIM_INFINITY, 600)])
def test_there_are_fewer_connections_than_files_that_may_be_open(monkeypatch, files, connections):
    """A connection that cannot be accepted waits at the socket, which then wakes the server again and again."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    with serve(app, "127.0.0.1", 0) as server:
        assert server.adj.connection_limit == connections
