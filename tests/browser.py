"""What Chromium makes of a page: how wide it is, which texts lie on one another or cannot be read, and what its console says.

Chromium is spoken to through a pipe, in its own protocol (https://chromedevtools.github.io/devtools-protocol), so that the
window has exactly the size that is asked for, and the page's Content-Security-Policy stays as it is.
"""

import base64
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WINDOWS = (1280, 400)
"""Widths in pixels at which pages must be readable: a screen, and a telephone."""

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe"),
)
PAPER = 718
"""Pixels of a line on A4, which Chromium gives margins of a centimetre."""

_PATIENCE_S = 180
_MEASURE = (Path(__file__).parent / "measure_page.js").read_text(encoding="utf-8")
_WIDTHS = "[...document.querySelectorAll('.main-svg')].map(chart => Math.round(chart.getBoundingClientRect().width))"
_CUT = """
[...document.querySelectorAll(".main-svg, table, pre, img, .card")].filter(one => {
  const right = one.getBoundingClientRect().right - 1;
  for (let up = one.parentElement; up; up = up.parentElement)
    if (getComputedStyle(up).overflowX !== "visible" && up.getBoundingClientRect().right < right) return true;
  return right > innerWidth;
}).map(one => `<${one.localName}> of ${Math.round(one.getBoundingClientRect().width)} pixels: ${one.textContent.slice(0, 40)}`)
"""


def problems(page: str, name: str, folder: Path) -> list[str]:
    """Returns all that is wrong with a page of ours, a line each, at each of `WINDOWS` and in both colour schemes.

    Where the variable PAGE_PICTURES names a folder, it gets a picture of each look, such as ``report-400-dark.png``.

    Args:
        page: HTML.
        name: Of the page.
        folder: Takes the page and Chromium's profile.
    """
    path = folder / f"{name}.html"
    path.write_text(page, encoding="utf-8")
    return problems_at(path.as_uri(), name, folder)


def problems_at(url: str, name: str, folder: Path, *, settle_s: float = 0.7) -> list[str]:
    """Returns the same of what an address answers; scripts get `settle_s` seconds to draw."""
    pictures = os.environ.get("PAGE_PICTURES")
    wrong = []
    with chromium(folder) as browser:
        for window in WINDOWS:
            for scheme in ("light", "dark"):
                found = browser.look(url, window, scheme, settle_s)
                wrong += [f"{window} pixels, {scheme}: {problem}" for problem in found]
                if pictures:
                    (Path(pictures) / f"{name}-{window}-{scheme}.png").write_bytes(browser.picture())
        browser.look(url, WINDOWS[0], "light", settle_s)
        wrong += [f"on paper: {problem}" for problem in browser.look_at_paper(WINDOWS[0])]
    return wrong


class Browser:
    """One tab, and the pipe to it."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._unread = write, read, b""
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def look(self, url: str, window: int, scheme: str, settle_s: float) -> list[str]:
        """Returns what is wrong with a page in a window of this width."""
        self._call("Emulation.setDeviceMetricsOverride", width=window, height=900, deviceScaleFactor=1, mobile=window < 600)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.open(url)
        time.sleep(settle_s)
        return [*self.evaluate(f"({_MEASURE})({window})"), *(f"console: {line}" for line in self._console())]

    def look_at_paper(self, window: int) -> list[str]:
        """Returns what is cut where a page in a window is printed: it hears of that before and after, not how wide that is."""
        self.evaluate("addEventListener('resize', event => event.stopImmediatePropagation(), true)")
        before = self.evaluate(_WIDTHS)
        self.evaluate("dispatchEvent(new Event('beforeprint'))")
        self._call("Emulation.setEmulatedMedia", media="print")
        self._call("Emulation.setDeviceMetricsOverride", width=PAPER, height=1000, deviceScaleFactor=1, mobile=False)
        cut = self.evaluate(_CUT)
        self._call("Emulation.setEmulatedMedia", media="")
        self._call("Emulation.setDeviceMetricsOverride", width=window, height=900, deviceScaleFactor=1, mobile=False)
        self.evaluate("dispatchEvent(new Event('afterprint'))")
        after = self.evaluate(_WIDTHS)
        return [*cut, *([f"charts of {before} pixels have {after} afterwards"] if after != before else [])]

    def open(self, url: str) -> None:
        """Opens a page, and waits until it is there."""
        self._events.clear()
        self._call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._next())

    def evaluate(self, expression: str) -> Any:
        """Returns what an expression of JavaScript gives in the page; of a promise what it comes to."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def choose(self, path: Path) -> None:
        """Chooses a file in the dialog of the page's first input that takes files."""
        found = self._call("Runtime.evaluate", expression="document.querySelector('input[type=file]')")
        self._call("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])

    def drop(self, path: Path) -> None:
        """Drops a file in the middle of the page's first label."""
        box = "document.querySelector('label').getBoundingClientRect()"
        x, y = self.evaluate(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({box})")
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def picture(self) -> bytes:
        """Returns the whole page as PNG."""
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        return base64.b64decode(shot["data"])

    def _console(self) -> Iterator[str]:
        for event in self._events:
            match event:
                case {"method": "Log.entryAdded", "params": {"entry": {"level": "error" | "warning", "text": text}}}:
                    yield text
                case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                    yield json.dumps(details)[:500]
                case {"method": "Runtime.consoleAPICalled", "params": {"type": "error" | "warning", "args": told}}:
                    yield json.dumps(told)[:500]

    def _call(self, method: str, **params: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("id") == self._number:
                assert "error" not in reply, reply
                return reply["result"]
            self._events.append(reply)

    def _next(self) -> dict[str, Any]:
        parts = [self._unread]
        while b"\0" not in parts[-1]:
            parts.append(os.read(self._read, 2**20))
            assert parts[-1], "Chromium has ended"
        message, _, self._unread = b"".join(parts).partition(b"\0")
        return json.loads(message)


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Yields a tab; its profile goes into the folder."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed")
    theirs_read, ours_write = os.pipe()
    ours_read, theirs_write = os.pipe()

    def place() -> None:  # the protocol's pipes are the descriptors 3 and 4
        read, write = os.dup(theirs_read), os.dup(theirs_write)
        os.dup2(read, 3)
        os.dup2(write, 4)

    command = [program, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    process = subprocess.Popen(command, preexec_fn=place, close_fds=False, stderr=subprocess.DEVNULL)
    os.close(theirs_read)
    os.close(theirs_write)
    watch = threading.Timer(_PATIENCE_S, process.kill)
    watch.start()
    try:
        yield Browser(ours_write, ours_read)
    finally:
        watch.cancel()
        process.kill()
        process.wait()
        os.close(ours_write)
        os.close(ours_read)
