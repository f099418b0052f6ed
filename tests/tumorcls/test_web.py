import json
import shutil
import subprocess
import threading
import urllib.error
import urllib.request

import keras
import pytest

from tests.tumorcls.pictures import blob, png_header, write
from tumorcls import DISCLAIMER
from tumorcls.calibration import Calibration
from tumorcls.errors import DataError
from tumorcls.labels import CLASSES
from tumorcls.model import build_backbone, build_classifier
from tumorcls.saved_model import SavedModel
from tumorcls.web import Answering, make_app, page, serve

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--virtual-time-budget=15000", "--window-size=1000,1100"),
)


@pytest.fixture(scope="module")
def app(make_config):
    keras.utils.set_random_seed(0)
    head = keras.layers.Dense(4)
    head.build((None, 1280))
    network = build_classifier(build_backbone(32, "none"), head, 0.3)
    model = SavedModel(network, CLASSES, make_config(), {}, Calibration(1.0, 0.99, 0.05, 1.0, 0.0, 1))
    return make_app(Answering(model))


@pytest.fixture(scope="module")
def address(app):
    with serve(app, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return write(tmp_path_factory.mktemp("scan") / "scan.png", blob(1)).read_bytes()


def post(address, body, query="", **headers):
    request = urllib.request.Request(f"{address}/answer?{query}", body, headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode()
        return error.code, json.loads(text) if text.startswith("{") else text


def test_an_image_is_answered_clean_and_at_every_severity(address, scan):
    status, told = post(address, scan, "noise=salt_pepper")
    assert (status, len(told["levels"])) == (200, 6)
    for level in told["levels"]:
        assert set(level["probabilities"]) == set(CLASSES)
        assert sum(level["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert (level["answer"] == "uncertain") == (max(level["probabilities"].values()) < 0.99)
        assert level["image"].startswith("data:image/png")
        assert level["overlay"].startswith("data:image/png")
    assert told["levels"][0]["image"] != told["levels"][5]["image"]
    assert post(address, scan, "noise=gaussian")[1]["levels"][0] == told["levels"][0]


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n cut"])
def test_a_file_that_is_no_image_gets_a_message(address, content):
    status, told = post(address, content, "name=a%3Cb%3E.png")
    assert status == 422
    assert told["error"].startswith("a<b>.png: ")


def test_what_is_too_large_or_unknown_gets_a_message(address, tmp_path, scan):
    assert "at most 16,777,216 pixels" in post(address, png_header(tmp_path, 20_000).read_bytes())[1]["error"]
    assert "noise: must be one of" in post(address, scan, "noise=loud")[1]["error"]


def test_a_page_of_another_name_cannot_ask(address, scan):
    assert post(address, scan, Host="evil.example:80")[0] == 403


def test_the_page_names_no_other_computer(address):
    with urllib.request.urlopen(address) as response:
        html, policy = response.read().decode(), response.headers["Content-Security-Policy"]
    assert html == page()
    assert DISCLAIMER in html
    assert "://" not in html
    assert policy.startswith("default-src 'none'")


def test_a_taken_port_is_one_line(app, address):
    with pytest.raises(DataError, match="must be free to listen at"):
        serve(app, "127.0.0.1", int(address.rsplit(":", 1)[1]))


@pytest.mark.slow
def test_in_a_browser_a_dropped_file_is_answered_and_the_slider_adds_noise(app, address, scan, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    numbers = ",".join(map(str, scan))
    script = f"""<script>
      const given = new DataTransfer();
      given.items.add(new File([new Uint8Array([{numbers}])], "scan.png"));
      at("file").files = given.files;
      at("file").dispatchEvent(new Event("change"));
      const wait = setInterval(() => {{
        if (!levels) return;
        clearInterval(wait);
        at("severity").value = 4;
        at("severity").dispatchEvent(new Event("input"));
      }}, 50);
    </script>"""
    app.route("/test", callback=lambda: page().replace("</body>", script + "</body>"))
    command = [chromium, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"{address}/test"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert DISCLAIMER in dom
    assert 'id="result" hidden' not in dom
    assert ">4 of 5</output>" in dom
    assert dom.count('class="bar"') == len(CLASSES)
    assert dom.count('src="data:image/png') == 2
