"""What does a model say of an image, and how much noise changes its mind? A page in the browser, for people who look.

The page asks nothing of any other computer. Bottle serves it, which optuna-dashboard brings along.
"""

import base64
import json
import threading
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import bottle
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tumorcls import DISCLAIMER
from tumorcls.activation_map import Explainer, overlay
from tumorcls.errors import DataError, TumorclsError
from tumorcls.images import decode, fit_square
from tumorcls.prediction import UNCERTAIN
from tumorcls.preview import encode_png
from tumorcls.severity import SEVERITIES, SEVERITY_LEVELS, corrupt

if TYPE_CHECKING:
    from tumorcls.saved_model import SavedModel

MAX_BYTES = 64 * 2**20
"""Of an uploaded file."""

_SHOWN = 300  # pixels a side
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Answering:
    """A model that answers one image at a time, clean and at every severity of a noise."""

    def __init__(self, model: "SavedModel") -> None:
        """Makes it ready to explain, and answers once so that the first visitor does not wait."""
        self._model = model
        self._explainer = Explainer(model.network)
        self._one_at_a_time = threading.Lock()
        size = model.config.image_size
        self._explainer.explain(np.zeros((1 + len(SEVERITY_LEVELS), size, size, 3), np.uint8))

    def answer(self, image: NDArray[np.uint8], noise: str) -> list[dict[str, Any]]:
        """Returns an answer for the image as it is and for each severity, as plain data.

        Args:
            image: uint8 (h, w, 3), RGB.
            noise: A name from `tumorcls.severity.SEVERITIES`.
        """
        square = fit_square(image, self._model.config.image_size)
        noisy = [corrupt(square[None], noise, severity, 0, ["served"])[0] for severity in SEVERITY_LEVELS]
        seen = np.stack([square, *noisy])
        with self._one_at_a_time:
            explained = self._explainer.explain(seen)
        return [
            {
                "answer": self._model.classes[int(shares.argmax())]
                if shares.max() >= self._model.calibration.threshold
                else UNCERTAIN,
                "probabilities": dict(zip(self._model.classes, shares.tolist(), strict=True)),
                "image": _data_url(fit_square(picture, _SHOWN)),
                "overlay": _data_url(overlay(fit_square(picture, _SHOWN), activation)),
            }
            for picture, shares, activation in zip(seen, explained.probabilities, explained.maps, strict=True)
        ]


def make_app(answering: Answering, host: str = "127.0.0.1") -> bottle.Bottle:
    """Returns the WSGI application.

    Args:
        answering: The model.
        host: The address that it is served at. A request that names another host is refused, so that no foreign page reaches
            it through a name of its own (DNS rebinding).
    """
    app = bottle.Bottle()
    allowed = {"127.0.0.1", "localhost", "[::1]", host}

    @app.hook("before_request")
    def check_host() -> None:
        name = (bottle.request.get_header("Host") or "").rsplit(":", 1)[0]
        if host not in ("0.0.0.0", "::") and name not in allowed:
            raise bottle.HTTPResponse("another host", 403)

    @app.hook("after_request")
    def add_headers() -> None:
        bottle.response.headers.update(_HEADERS)

    app.route("/", callback=page)
    app.route("/answer", "POST", partial(_answer, answering))
    return app


def page() -> str:
    """Returns the page as HTML."""
    template = files("tumorcls").joinpath("web.html").read_text(encoding="utf-8")
    options = "".join(f'<option value="{name}">{name.replace("_", " ")}</option>' for name in SEVERITIES)
    return template.replace("@DISCLAIMER@", DISCLAIMER).replace("@NOISES@", options)


def serve(app: bottle.Bottle, host: str, port: int) -> WSGIServer:
    """Returns a server that listens; `serve_forever` begins to answer. Port 0 takes a free one.

    Raises:
        DataError: The address is taken or not of this machine.
    """
    try:
        return make_server(host, port, app, server_class=_ThreadingServer, handler_class=_SilentHandler)
    except OSError as error:
        raise DataError(
            f"{host}:{port}: must be free to listen at; {error.strerror or error}. Choose another --port."
        ) from None


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a browser keeps connections open that it does not use


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: file names of patients belong in no log."""


def _answer(answering: Answering) -> str:
    query: Mapping[str, str] = bottle.request.query
    bottle.response.content_type = "application/json"
    try:
        if not 0 <= bottle.request.content_length <= MAX_BYTES:
            raise DataError(f"the file must have at most {MAX_BYTES // 2**20} MiB; got more. Choose a smaller one.")
        noise = query.get("noise", "gaussian")
        if noise not in SEVERITIES:
            raise DataError(f"noise: must be one of {', '.join(SEVERITIES)}; got another name. Choose one.")
        image = decode(bottle.request.body, query.get("name") or "the file").pixels
        return json.dumps({"levels": answering.answer(image, noise)})
    except TumorclsError as error:
        bottle.response.status = 422
        return json.dumps({"error": str(error)})


def _data_url(picture: NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(Image.fromarray(picture))).decode()
