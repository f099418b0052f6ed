import errno
import io
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace

import bottle
import pytest

from tests.browser import chromium, problems
from tests.patience import PATIENCE_S
from tests.serving import serving
from tests.tumorcls.pictures import blob, png_header, write
from tests.tumorcls.volume_files import DEPTH, SECRETS, head, write_nifti
from tumorcls import DISCLAIMER
from tumorcls.data.labels import CLASSES
from tumorcls.errors import DataError
from tumorcls.inference.server import serve
from tumorcls.inference.web import Answering, _is_ours, make_app, page
from tumorcls.model.calibration import Calibration
from tumorcls.reports.limits import map_grid, one_slice, other_diseases, sets_of_classes
from tumorcls.reports.page import policy

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--virtual-time-budget=15000", "--window-size=1000,1100"),
)


@pytest.fixture(scope="module")
def app(untrained):
    return make_app(Answering(replace(untrained, calibration=Calibration(1.0, 0.99, 0.05, 1.0, 0.0, 1))))


@pytest.fixture(scope="module")
def address(app):
    with serving(serve(app, "127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


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
        assert level["set"] is None  # the model has no sets
        assert sum(level["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert (level["answer"] == "uncertain") == (max(level["probabilities"].values()) < 0.99)
        assert level["image"].startswith("data:image/png")
        assert level["overlay"].startswith("data:image/png")
        assert level["grid"].startswith("The map has ")
    assert told["levels"][0]["image"] != told["levels"][5]["image"]
    assert told["limits"] == [other_diseases(CLASSES)]
    assert post(address, scan, "noise=gaussian")[1]["levels"][0] == told["levels"][0]


def test_of_a_volume_the_slice_that_is_asked_for_is_answered(address, tmp_path):
    pytest.importorskip("nibabel")
    write_nifti(tmp_path / "head.nii.gz", head(0))
    content = (tmp_path / "head.nii.gz").read_bytes()
    middle, third, fifth = (post(address, content, f"name=head.nii.gz&slice={number}")[1] for number in ("", "3", "5"))
    assert (middle["slice"], middle["slices"]) == (3, DEPTH)
    assert middle == third
    assert middle["limits"][0] == f"Of a volume one slice was read (3 of {DEPTH}): a tumour may lie in another."
    assert fifth["slice"] == 5
    assert fifth["levels"][0]["image"] != third["levels"][0]["image"]
    status, told = post(address, content, "name=head.nii.gz&slice=6")
    assert (status, told["error"]) == (422, "head.nii.gz: slice must be from 1 to 5; got 6. Name another.")
    for wrong in ("0", "-1", "two", "9" * 5000):
        assert post(address, content, f"slice={wrong}")[1] == {
            "error": "slice: must be a whole number from 1; got another. Name one."
        }
    assert not any(secret in json.dumps(one) for one in (middle, told) for secret in SECRETS)


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


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        *(({name: "\xff"}, 403) for name in ("Host", "Origin", "Sec-Fetch-Site")),  # sent as one byte, which is no UTF-8
        *(({name: "\xff"}, 415) for name in ("Content-Type", "Content-Encoding")),
        ({"Sec-Fetch-Site": "same-origin", "Content-Type": "application/octet-stream"}, 200),
        ({"Content-Type": "image/png"}, 200),
    ],
)
def test_only_the_page_itself_and_programs_may_ask(address, scan, headers, status):
    assert post(address, scan, **headers)[0] == status


def test_the_page_of_this_origin_may_ask(address, scan):
    assert post(address, scan, Origin=address, **{"Content-Type": "application/octet-stream"})[0] == 200


@pytest.mark.parametrize(
    ("host", "names", "ours"),
    [
        ("127.0.0.1:8090", set(), True),
        ("[::1]:8090", set(), True),
        ("[::1]", set(), True),
        ("localhost", {"localhost"}, True),
        ("evil.example:8090", {"localhost"}, False),
        ("localhost.evil.example", {"localhost"}, False),
        ("127.0.0.1.evil.example", {"localhost"}, False),
        ("localhost, evil.example", {"localhost"}, False),
        ("", {"localhost"}, False),
    ],
)
def test_a_host_is_an_address_or_a_name_of_ours(host, names, ours):
    assert _is_ours(host, names) == ours


def test_too_many_at_once_are_told_so(scan):
    answering = Answering.__new__(Answering)
    answering._one_at_a_time, answering._places = threading.Lock(), threading.BoundedSemaphore(1)
    answering._places.acquire()
    assert answering.answer_file(io.BytesIO(scan), "scan.png", "gaussian") is None
    with serving(serve(make_app(answering), "127.0.0.1", 0)) as server:
        status, told = post(f"http://127.0.0.1:{server.server_port}", scan)
    assert status == 503
    assert "busy" in told["error"]


@pytest.mark.parametrize("path", ["/", "/nothing", "/answer", "/../../etc/passwd", "/%ff"])
def test_every_answer_has_safe_headers_and_errors_are_a_line(address, path):
    request = urllib.request.Request(f"{address}{path}")
    try:
        with urllib.request.urlopen(request) as response:
            headers, text = response.headers, DISCLAIMER
    except urllib.error.HTTPError as error:
        with error:
            headers, text = error.headers, error.read().decode()
        assert text.count("\n") == 1
        assert headers["Content-Type"].startswith("text/plain")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]


def test_the_page_names_no_other_computer(address):
    with urllib.request.urlopen(address) as response:
        html, policy = response.read().decode(), response.headers["Content-Security-Policy"]
    assert html == page()
    assert DISCLAIMER in html
    assert "://" not in html
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("host", "got"),
    [
        ("127.0.0.1", f"{os.strerror(errno.EADDRINUSE)}. Choose another --port."),
        ("192.0.2.1", f"{os.strerror(errno.EADDRNOTAVAIL)}. Choose another --host."),
        ("", "no address of this machine. Choose another --host."),
    ],
)
def test_where_it_cannot_listen_is_one_line(app, address, host, got):
    port = int(address.rsplit(":", 1)[1])
    with pytest.raises(DataError) as refused:
        serve(app, host, port)
    assert str(refused.value) == f"{host}:{port}: must be free to listen on; got: {got}"


@pytest.mark.slow
def test_in_a_browser_a_dropped_file_is_answered_and_the_slider_adds_noise(app, address, scan, tmp_path):
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
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
        take([file, file]);
      }}, 50);
    </script>"""
    html = page().replace("</body>", script + "</body>")
    rules = {"Content-Security-Policy": policy([html], answers=True)}
    app.route("/test", callback=lambda: bottle.HTTPResponse(html, headers=rules))
    command = [program, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"{address}/test"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S).stdout
    assert DISCLAIMER in dom
    assert 'id="result" hidden' not in dom
    assert 'id="slices" hidden' in dom  # a file of one picture has no other slice to choose
    assert ">4 of 5</output>" in dom
    assert "One file at a time; tumorcls predict takes the folder of a series.</p>" in dom
    assert dom.count('class="bar"') == len(CLASSES)
    assert f'id="limits">{other_diseases(CLASSES)}</p>' in dom
    assert ">The map has " in dom
    assert dom.count('src="data:image/png') == 2


GONE = "The file cannot be read any more; choose it again."
SILENT = "The server does not answer; is tumorcls serve still running?"


@pytest.fixture
def tab(address, tmp_path):
    with chromium(tmp_path) as browser:
        browser.open(address)
        yield browser


def told(tab):
    """Returns the file that the answer is said to be of, or the message that stands there instead, and the picture."""
    deadline = time.monotonic() + PATIENCE_S
    while tab.evaluate("at('status').textContent"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    name, message, picture, hidden = tab.evaluate(
        "[at('name').textContent, at('message').textContent, at('image').src, at('result').hidden]"
    )
    assert hidden == bool(message)
    return (message, "") if hidden else (name, picture)


def seen(address, path):
    return post(address, path.read_bytes())[1]["levels"][0]["image"]


@pytest.mark.slow
def test_in_a_browser_the_answer_is_that_of_the_file_given_last(tab, address, tmp_path):
    first, second = (write(tmp_path / f"<i>{seed}.png", blob(seed)) for seed in (1, 2))
    chosen, dropped = ([(give, path) for path in (first, second)] for give in (tab.choose, tab.drop))
    given = (chosen[0], dropped[1], chosen[0], chosen[0], dropped[0], dropped[0], chosen[1], chosen[1])
    for count, (give, path) in enumerate(given):
        give(path)
        assert told(tab) == (path.name, seen(address, path))
        assert tab.evaluate("asked") == 1 + count
    shares = [1, 0.9996, 0.9994, 0.0006, 0.0004, 0]
    tab.evaluate(f"levels[0].probabilities = {{...{shares}}}, show()")
    shown = tab.evaluate("[...at('bars').querySelectorAll('b')].map(bar => bar.textContent)")
    assert shown == ["100.0%", ">99.9%", "99.9%", "0.1%", "<0.1%", "0.0%"]


@pytest.mark.slow
def test_in_a_browser_a_file_can_be_given_again_after_an_error(tab, address, tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(b"no image")
    tab.choose(path)
    assert told(tab)[0].startswith("scan.png: ")
    write(path, blob(1))
    tab.choose(path)
    assert told(tab) == ("scan.png", seen(address, path))
    write(path, blob(2))
    os.utime(path, (1, 1))
    again = "at('noise').dispatchEvent(new Event('change'))"
    tab.evaluate(again)
    assert told(tab)[0] == GONE, "what was chosen is no longer there"
    tab.choose(path)
    assert told(tab) == ("scan.png", seen(address, path))
    tab.evaluate(f"globalThis.real = fetch; fetch = () => Promise.reject(new TypeError()); {again}")
    assert told(tab)[0] == SILENT
    tab.evaluate("fetch = real")
    tab.choose(path)
    assert told(tab) == ("scan.png", seen(address, path))


@pytest.mark.slow
@pytest.mark.parametrize("late", ["File.prototype.arrayBuffer", "fetch"])
def test_in_a_browser_a_late_answer_replaces_none_of_a_later_file(tab, address, tmp_path, late):
    first, second = (write(tmp_path / f"{seed}.png", blob(seed)) for seed in (1, 2))
    hold = f"{late} = real; const got = await real.call(this, ...given); await over; return got;"
    tab.evaluate("globalThis.over = new Promise(free => globalThis.free = free); 0")
    tab.evaluate(f"globalThis.real = {late}; {late} = async function (...given) {{ {hold} }}; 0")
    tab.choose(first)
    assert tab.evaluate("at('status').textContent") == "The model is looking at 1.png …"
    tab.drop(second)
    assert told(tab) == (second.name, seen(address, second))
    tab.evaluate("free()")
    time.sleep(1.0)
    assert told(tab) == (second.name, seen(address, second))


@pytest.mark.slow
def test_it_is_readable_in_any_window(tmp_path):
    probabilities = dict.fromkeys(CLASSES, 0.25)
    levels = [{"answer": CLASSES[0], "probabilities": probabilities, "image": "", "overlay": "", "grid": map_grid(19, 600)}]
    shown = "at('result').hidden = at('slices').hidden = false; at('name').textContent = 'scan_'.repeat(40); show();"
    told = [one_slice(4096, 4096), other_diseases(CLASSES), sets_of_classes(0.9)]
    shown += f"at('limits').textContent = {json.dumps(' '.join(told))};"
    answered = f"<script>levels = {json.dumps(levels)}; {shown}</script></body>"
    assert problems(page(), "web", tmp_path) == []
    assert problems(page().replace("</body>", answered), "web-answer", tmp_path) == []
