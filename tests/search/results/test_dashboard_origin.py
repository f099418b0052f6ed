from wsgiref.util import setup_testing_defaults

import pytest

from search.results.dashboard_origin import SameOrigin

HERE = "localhost:8080"


def app(environ, start_response):
    kind = {"/artifacts/1/2/ab": environ.get("KIND", "text/html")}.get(environ["PATH_INFO"], "application/json")
    headers = [("Content-Type", kind), ("Access-Control-Allow-Origin", "*")]
    if environ["PATH_INFO"] == "/dashboard":
        headers.append(("Content-Security-Policy", "default-src 'self'"))
    start_response("200 OK", headers)
    return [b"answered"]


def ask(path="/api/studies", method="GET", host=HERE, served="127.0.0.1", names=(), **more):
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": host, **more}
    setup_testing_defaults(environ)
    answer = {}

    def start(status, headers, error=None):
        answer.update(status=int(status[:3]), headers=dict(headers), lines=len(headers))

    body = b"".join(SameOrigin(app, served, names)(environ, start))
    assert (answer["status"] == 200) == (body == b"answered")
    assert len(body.splitlines()) == 1
    assert answer["headers"]["X-Content-Type-Options"] == "nosniff"
    return answer


@pytest.mark.parametrize("host", [HERE, "localhost", "127.0.0.1:9999", "[::1]:8080", "LOCALHOST:8080"])
def test_the_addresses_of_this_machine_are_served(host):
    assert ask(host=host)["status"] == 200


FOREIGN = [
    "evil.example",
    "evil.example:8080",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "1.2.3.4",
    "",
    "a,b",
    "[::1",
    "x@y",
]


@pytest.mark.parametrize("host", [*FOREIGN, "[::1", "x@y", "localhost:8080,evil.example", "[::2]:8080", "evil.example\n"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_another_host_is_refused(host, method):
    assert ask(host=host, method=method)["status"] == 403


def test_what_is_listened_on_and_what_is_named_is_served():
    assert ask(host="lab.example:80", served="lab.example")["status"] == 200
    assert ask(host="proxy.example", names=("proxy.example",))["status"] == 200
    assert ask(host="10.0.0.7:8080", served="0.0.0.0")["status"] == 200
    assert ask(host="evil.example:8080", served="0.0.0.0")["status"] == 403
    assert ask(host="[fe80::1]:8080", served="::")["status"] == 200


@pytest.mark.parametrize("path", ["/api/studies", "/api/studies/1", "/artifacts/1/2/ab", "/csv/1", "/dashboard"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "more",
    [
        {"HTTP_ORIGIN": "http://evil.example"},
        {"HTTP_ORIGIN": "null"},
        {"HTTP_ORIGIN": "http://localhost:9999"},
        {"HTTP_ORIGIN": "http://[::1"},
        {"HTTP_SEC_FETCH_SITE": "cross-site"},
        {"HTTP_SEC_FETCH_SITE": "same-site"},
        {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_MODE": "no-cors", "HTTP_SEC_FETCH_DEST": "image"},
        {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_DEST": "iframe"},
    ],
)
def test_a_page_of_another_origin_gets_nothing(path, method, more):
    assert ask(path, method, **more)["status"] == 403


def test_its_own_page_and_a_program_get_what_they_ask_for():
    own = {"HTTP_ORIGIN": "http://localhost:8080", "HTTP_SEC_FETCH_SITE": "same-origin"}
    assert ask(method="DELETE", **own)["status"] == 200
    assert ask(method="POST")["status"] == 200, "curl says of no page"
    link = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_DEST": "document"}
    assert ask("/dashboard/studies/1", **link)["status"] == 200, "a link may lead here"
    assert ask("/artifacts/1/2/ab", **link)["status"] == 403
    assert ask("/dashboard", "POST", **link)["status"] == 403


@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/pdf", "IMAGE/SVG+XML"]
)
def test_a_file_of_a_trial_is_no_page_of_this_origin(kind):
    headers = ask("/artifacts/1/2/ab", KIND=kind)["headers"]
    assert headers["Content-Disposition"] == "attachment"
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert "Access-Control-Allow-Origin" not in headers


def test_pictures_are_shown_and_the_page_keeps_its_policy():
    for kind in ("image/png", "application/json", "text/plain"):
        assert "Content-Disposition" not in ask("/artifacts/1/2/ab", KIND=kind)["headers"]
    page = ask("/dashboard")
    assert page["headers"]["Content-Security-Policy"].startswith("default-src 'self'; frame-ancestors 'self'")
    assert page["headers"]["X-Frame-Options"] == "SAMEORIGIN"
