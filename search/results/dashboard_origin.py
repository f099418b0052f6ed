"""Lets only requests from the dashboard's own pages through, and limits what its answers may do in a browser.

A web page of anybody's may send requests to this machine from the browser of whoever looks at it, and under a name of its own
that it lets point here ("DNS rebinding"). Neither reaches the application: the name that is asked for must be one that is
served, and what the browser says of the page that asks must be that name too. There is no login: whoever reaches the port as
the dashboard's own page does may read and edit all studies.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from search.text import plain

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
_PAGE_POLICY = "frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
_FILE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"

# Pictures are shown on a trial's page, where nothing in them runs; an SVG that is opened by itself is a page. Text is no page.
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp")
_SHOWN = (*_PICTURES, "audio/", "video/", "text/plain", "application/json")


class SameOrigin:
    """An application whose requests come from its own pages alone, at the host that is listened on, or a further name."""

    def __init__(self, app: "WSGIApplication", host: str, names: Iterable[str] = ()) -> None:
        self._app = app
        self._any_address = host in ("", "0.0.0.0", "::")  # then by any address of this machine, and by its names
        own = (socket.gethostname(), socket.getfqdn()) if self._any_address else ()
        self._names = {name.lower().strip("[]") for name in (*_LOOPBACK, host, *own, *names)}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answers a request, or refuses it in one line."""
        refused = self._refusal(environ)
        if refused is not None:
            start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8"), *_HEADERS])
            return [f"{refused}\n".encode()]
        path = environ.get("PATH_INFO", "")

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
            return start_response(status, _safe(path, headers), *error)

        return self._app(environ, start)

    def _refusal(self, environ: "WSGIEnvironment") -> str | None:
        """Returns why a request is refused, or None."""
        asked = environ.get("HTTP_HOST", "")
        if not self._serves(_name_of(asked)):
            rule = "must be a name that is served"
            return f'Host: {rule}; got "{plain(asked)}". Add --allow-host, if it is a name of this machine.'
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and _site_of(origin) != asked.lower():
            return f'Origin: must be the page that is served; got "{plain(origin)}".'
        site = environ.get("HTTP_SEC_FETCH_SITE", "same-origin")
        if site not in ("same-origin", "none") and not _opens_a_page(environ):
            return f'Sec-Fetch-Site: must be the page that is served; got "{plain(site)}".'
        return None

    def _serves(self, name: str) -> bool:
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_address


def _site_of(origin: str) -> str:
    """Returns the host and port of an origin; empty for one that has none, such as ``null``."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name_of(host: str) -> str:
    """Returns the name in a ``Host`` header, without the port; empty where there is none."""
    match = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::[0-9]*)?", host.lower(), re.ASCII)
    return (match[1] or match[2]) if match else ""


def _opens_a_page(environ: "WSGIEnvironment") -> bool:
    """Whether somebody follows a link to the dashboard, which shows the page to them and nothing to where the link is."""
    navigates = (environ.get("HTTP_SEC_FETCH_MODE"), environ.get("HTTP_SEC_FETCH_DEST")) == ("navigate", "document")
    path = environ.get("PATH_INFO", "")
    return environ.get("REQUEST_METHOD") == "GET" and navigates and (path == "/" or path.startswith("/dashboard"))


def _safe(path: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns the headers of an answer with those that keep it to this origin; a file of a trial becomes no page of it."""
    given = {name.lower(): value for name, value in headers}
    kept = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
    if not path.startswith("/artifacts"):
        policies = [given["content-security-policy"]] if "content-security-policy" in given else []
        kept = [(name, value) for name, value in kept if name.lower() != "content-security-policy"]
        return [*kept, *_HEADERS, ("Content-Security-Policy", "; ".join([*policies, _PAGE_POLICY]))]
    shown = given.get("content-type", "").startswith(_SHOWN)
    attached = [] if shown else [("Content-Disposition", "attachment")]
    return [*kept, *_HEADERS, ("Content-Security-Policy", _FILE_POLICY), *attached]
