"""What Chromium makes of a page."""

import re
import shutil
import subprocess

import pytest

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=10000", "--dump-dom"),
)
_PROBE = """<script>addEventListener("load", () => setTimeout(() =>
  parent.postMessage(document.documentElement.scrollWidth, "*"), 1000));</script>"""
_FRAME = """<iframe src="page.html" style="border: 0; width: {window}px; height: 900px"></iframe><output></output>
<script>addEventListener("message", event => {{ document.querySelector("output").textContent = event.data; }});</script>"""


def needed_width(html: str, folder, window: int) -> int:
    """Returns how many pixels a page takes in a window of so many: more means that it must be moved sideways to be read.

    The window is a frame, as Chromium's own has at least 500.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    unlocked = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    (folder / "page.html").write_text(unlocked.replace("</body>", f"{_PROBE}</body>"), encoding="utf-8")
    (folder / "frame.html").write_text(_FRAME.format(window=window), encoding="utf-8")
    command = [chromium, *_FLAGS, f"--user-data-dir={folder / 'profile'}", (folder / "frame.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=180).stdout
    return int(re.search(r"<output>(\d+)</output>", dom)[1])
