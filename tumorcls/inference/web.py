"""Serves a page in the browser that says what a model makes of an image, and how much noise changes its mind.

The page asks nothing of any other computer, and answers no page of another origin. Bottle routes, which optuna-dashboard brings
along; `tumorcls.inference.server` keeps the server up.
"""

import base64
import ipaddress
import re
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import bottle
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tumorcls import DISCLAIMER
from tumorcls.data.decoding import decode
from tumorcls.data.images import fit_square
from tumorcls.errors import TumorclsError
from tumorcls.inference.activation_map import overlay
from tumorcls.inference.predict import NO_SLICE, answer_images, promise_of
from tumorcls.noise.severity import SEVERITIES, SEVERITY_LEVELS, corrupt
from tumorcls.reports import limits
from tumorcls.reports.page import policy, render
from tumorcls.reports.png import encode_png

if TYPE_CHECKING:
    from tumorcls.model.saved_model import SavedModel

CONTENT_TYPE = "application/octet-stream"
"""What the page sends an image as. No form of another page can: a browser would ask this server first."""

_WAITING = 8  # requests at once, one of them at work; a minute of waiting at most
_SHOWN = 300  # pixels a side
_LONGEST_NAME = 200
_NUMBER = re.compile("[1-9][0-9]{0,5}", re.ASCII)


class Answering:
    """A model that answers one image at a time, clean and at every severity of a noise. A few more may wait."""

    def __init__(self, model: "SavedModel") -> None:
        """Makes it ready to explain, and answers once so that the first visitor does not wait.

        Raises:
            ModelError: Its answers are no probabilities.
        """
        self._model = model
        self._one_at_a_time = threading.Lock()
        self._places = threading.BoundedSemaphore(_WAITING)
        size = model.config.image_size
        answer_images(model, np.zeros((1 + len(SEVERITY_LEVELS), size, size, 3), np.uint8))

    def answer_file(self, file: BinaryIO, name: str, noise: str, number: int | None = None) -> dict[str, Any] | None:
        """Decodes a file and answers, in its turn: pictures of one request at a time are in memory.

        The name is for errors, the noise one of `tumorcls.noise.severity.SEVERITIES`; the number is that of a volume's slice,
        from 1, and None takes the middle one.

        Returns:
            ``levels`` (see `answer`), ``slice`` (the number; None where the file holds one picture), ``slices``, how many there
            are, and ``limits``, what a person must know of the answer, a sentence each. None where too many wait already.

        Raises:
            DataError: It is no image that can be read.
        """
        if not self._places.acquire(blocking=False):
            return None
        try:
            with self._one_at_a_time:
                read = decode(file, name, number)
                slices = [limits.one_slice(read.slice_number, read.count)] if read.count > 1 else []
                told = [*slices, limits.other_diseases(self._model.classes), *filter(None, [promise_of(self._model)])]
                levels = self.answer(read.pixels, noise)
                return {"slice": read.slice_number, "slices": read.count, "limits": told, "levels": levels}
        finally:
            self._places.release()

    def answer(self, image: NDArray[np.uint8], noise: str) -> list[dict[str, Any]]:
        """Returns an answer for an image, uint8 RGB (h, w, 3), as it is and one at each severity of a noise, as plain data."""
        square = fit_square(image, self._model.config.image_size)
        noisy = [corrupt(square[None], noise, severity, 0, ["served"])[0] for severity in SEVERITY_LEVELS]
        levels = []
        for one in answer_images(self._model, [square, *noisy]):
            assert one.image is not None
            assert one.activation is not None
            large = fit_square(one.image, _SHOWN)
            pictures = {"image": _data_url(large), "overlay": _data_url(overlay(large, one.activation))}
            grid = limits.map_grid(len(one.activation), len(square))
            said = {"answer": one.answer, "probabilities": one.probabilities, "set": one.class_set}
            levels.append({**said, **pictures, "grid": grid})
        return levels


def make_app(answering: Answering, host: str = "127.0.0.1") -> bottle.Bottle:
    """Returns the WSGI application that is served at the address `host`.

    A request that names another one is refused, and so is one from the page of another origin: no foreign page reaches it, not
    through a name of its own either (DNS rebinding).
    """
    app = bottle.Bottle()
    app.default_error_handler = _plain_error
    names = {"localhost", host.lower(), *({socket.gethostname().lower()} if host in ("0.0.0.0", "::") else ())}

    @app.hook("before_request")
    def check_origin() -> None:
        refusal = _refusal(bottle.request, names)
        if refusal:
            raise bottle.HTTPResponse(f"{refusal}\n", 403, content_type="text/plain; charset=utf-8")

    app.route("/", callback=_send_page)
    app.route("/answer", "POST", partial(_answer, answering))
    return app


def page() -> str:
    """Returns the page as HTML. It holds nothing that a stranger wrote."""
    return render("inference/web.html", noises=list(SEVERITIES), severities=len(SEVERITY_LEVELS), no_slice=NO_SLICE)


def _send_page() -> str:
    html = page()
    bottle.response.set_header("Content-Security-Policy", f"{policy([html], answers=True)}; frame-ancestors 'none'")
    return html


def _refusal(request: bottle.BaseRequest, names: set[str]) -> str:
    """Returns why a request may come from a foreign page; nothing where it may not.

    A name that is an address cannot be pointed here by a stranger, so every address is taken. Headers are read raw, as Bottle
    fails where the bytes of one are no UTF-8.
    """
    host = request.headers.raw("Host", "")
    if not _is_ours(host.lower(), names):
        return "another host: ask for the IP address of this server"
    origin = request.headers.raw("Origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return "another origin"
    followed = request.method == "GET" and request.headers.raw("Sec-Fetch-Mode") == "navigate"  # a link to the page
    if request.headers.raw("Sec-Fetch-Site", "none") not in ("none", "same-origin") and not followed:
        return "another site"
    return ""


def _is_ours(host: str, names: set[str]) -> bool:
    name, _, port = host.rpartition(":")
    if not port.isdecimal():
        name = host
    if name in names:
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _is_file(request: bottle.BaseRequest) -> bool:
    """Whether a request sends a file as the page does, or as a program does that names no type of its own."""
    kind = request.headers.raw("Content-Type", "").split(";")[0].strip().lower()
    if kind in ("", CONTENT_TYPE) or kind.startswith("image/"):
        return True
    browser = request.headers.raw("Origin") or request.headers.raw("Sec-Fetch-Site")
    return kind == "application/x-www-form-urlencoded" and not browser  # what curl and urllib say of any body


def _answer(answering: Answering) -> dict[str, Any]:
    """Returns what Bottle sends as JSON."""
    request = bottle.request
    if request.headers.raw("Content-Encoding", "identity") != "identity" or not _is_file(request):
        return _error(415, f"the request must send the file itself, as {CONTENT_TYPE}.")
    noise = request.query.getunicode("noise") or "gaussian"
    if noise not in SEVERITIES:
        return _error(422, f"noise: must be one of {', '.join(SEVERITIES)}; got another name. Choose one.")
    number = request.query.getunicode("slice") or ""
    if number and not _NUMBER.fullmatch(number):
        return _error(422, "slice: must be a whole number from 1; got another. Name one.")
    name = "".join(letter for letter in request.query.getunicode("name") or "" if letter.isprintable())
    try:
        file, where = request.environ["wsgi.input"], name[-_LONGEST_NAME:] or "the file"
        answers = answering.answer_file(file, where, noise, int(number) if number else None)
    except TumorclsError as error:
        return _error(422, str(error))
    if answers is None:
        bottle.response.set_header("Retry-After", "2")
        return _error(503, "The server is busy with other images. Try again in a few seconds.")
    return {"note": DISCLAIMER, **answers}


def _error(status: int, message: str) -> dict[str, Any]:
    bottle.response.status = status
    return {"error": message}


def _plain_error(error: bottle.HTTPError) -> str:
    bottle.response.content_type = "text/plain; charset=utf-8"
    return f"{error.status_line}\n"


def _data_url(picture: NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(Image.fromarray(picture))).decode()
