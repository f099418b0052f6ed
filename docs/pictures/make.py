"""Makes the pictures of README and docs beside this file: a small study on generated images, and what Chromium shows of it.

    python docs/pictures/make.py

The images are phantoms, so no picture shows a patient, and no figure on them says anything about real scans. The weights are
ImageNet's: those that Keras downloads, or the file that TUMORCLS_WEIGHTS names. Takes six minutes on two busy cores.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bottle
import cv2
import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent
WIDTH, MAX_BYTES = 900, 40_000

STUDY = """
[study]
name = "brain-mri"
objective = "tumorcls.objective:BrainTumourObjective"
direction = "maximize"
metric = "robust_f1"
trials = 40

[space]
epochs = { type = "int", low = 4, high = 16, step = 4 }
learning_rate = { type = "float", low = 1e-4, high = 3e-2, log = true }
dropout = { type = "float", low = 0.0, high = 0.6, step = 0.1 }
batch_size = { type = "categorical", choices = [16, 32, 64] }
noise_intensity = { type = "float", low = 0.0, high = 1.0, step = 0.5 }

[pruner]
name = "percentile"
percentile = 75.0
n_startup_trials = 4
n_warmup_steps = 2

[[enqueue]]
epochs = 16
learning_rate = 1e-3
dropout = 0.5
batch_size = 32
noise_intensity = 0.5

[objective]
data = "images"
weights = "${TUMORCLS_WEIGHTS:-imagenet}"
image_size = 160
trainable_from = "head"
noisy_images = 96
"""

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=15000"),
)

KEEP = """<script>addEventListener("load", () => {
  for (const h2 of document.querySelectorAll("h2")) {
    if (%s.some(start => RegExp("^" + start).test(h2.textContent))) continue;
    while (h2.nextElementSibling && h2.nextElementSibling.tagName !== "H2") h2.nextElementSibling.remove();
    (h2.closest("section") || h2).remove();
  }
});</script>"""
"""Leaves of a page only the sections whose headings begin with one of a list of patterns."""

DROP_AND_SLIDE = """<script>
  at("noise").value = "speckle";
  fetch("/scan").then(response => response.blob()).then(blob => {
    const given = new DataTransfer();
    given.items.add(new File([blob], "scan.jpg"));
    at("file").files = given.files;
    at("file").dispatchEvent(new Event("change"));
    const wait = setInterval(() => {
      if (!levels) return;
      clearInterval(wait);
      at("severity").value = 4;
      at("severity").dispatchEvent(new Event("input"));
    }, 50);
  });
</script>"""
"""What a person does with the page of `tumorcls serve`."""


def main() -> None:
    """Makes them all, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["TUMORCLS_CACHE"] = "cache"
        Path("study.toml").write_text(STUDY, encoding="utf-8")
        run("tumorcls", "phantoms", "images", "--images", "480")
        run("tumorcls", "phantoms", "flawed", "--images", "200")
        plant_flaws(Path("flawed"))
        run("tumorcls", "audit", "flawed", "--html", "audit.html")
        save("audit", page("audit.html", 1180, "Twins", "Label conflicts"))

        run("search", "launch", "study.toml", "--quiet")
        run("search", "report", "study.toml", "-o", "report.html")
        save("report", page("report.html", 1100, "In short", "Best so far", "What matters"))
        run("search", "export", "study.toml", "-o", "best.toml")
        best = re.search(r"^trial = (\d+)$", Path("best.toml").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert best is not None
        with dashboard() as address:
            save("dashboard", photograph(f"{address}/trials?numbers={best[1]}", 1200, 1190))

        run("tumorcls", "train", "--config", "best.toml", "-o", "model.keras")
        run("tumorcls", "evaluate", "model.keras", "-o", "test.json", "--html", "test.html")
        save("evaluation", page("test.html", 1000, "Robustness$", "Confusion"))
        run("tumorcls", "card", "model.keras", "test.json", "-o", "card.md", "--html", "card.html")
        save("card", page("card.html", 1000, "What it is for", "How it did"))
        scan = Path("images/Training/glioma_tumor/gg (3).jpg")
        run("tumorcls", "predict", "-m", "model.keras", str(scan), "--overlay", "maps")
        save("overlay", cv2.imread(str(next(Path("maps").iterdir()))))
        with served(Path("model.keras"), sorted(Path("images").rglob("m (*).jpg"))) as address:
            save("serve", photograph(f"{address}/picture", 1000, 900))
        save("search-quality", search_quality())


def run(command: str, *arguments: str) -> None:
    """Types a command in."""
    print(command, *arguments, flush=True)
    subprocess.run([sys.executable, "-m", command, *arguments], check=True, stdout=subprocess.DEVNULL)


def plant_flaws(folder: Path) -> None:
    """Gives phantoms what public sets suffer from: copies of another size, mirrored ones, and one with another label."""
    training = folder / "Training"
    for number in range(1, 13):
        for kind, prefix in (("glioma", "gg"), ("meningioma", "m"), ("pituitary", "p")):
            picture = cv2.imread(str(training / f"{kind}_tumor" / f"{prefix} ({number}).jpg"))
            copy = cv2.flip(picture, 1) if number % 3 == 0 else cv2.resize(picture, (256, 256))
            other = number == 1 and kind == "glioma"
            target = folder / "Testing" / ("meningioma_tumor" if other else f"{kind}_tumor")
            target.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target / f"image ({number}{kind[0]}).jpg"), picture if number % 4 == 0 else copy)


@contextmanager
def dashboard() -> Iterator[str]:
    """Serves optuna-dashboard; gives the address of the study's page."""
    command = [sys.executable, "-m", "search", "dashboard", "study.toml", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().split()[0]
        server.terminate()


@contextmanager
def served(model: Path, scans: list[Path]) -> Iterator[str]:
    """Serves the page of `tumorcls serve`, and at /picture the same page after a scan was dropped and the slider moved.

    It is the first meningioma that is recognised until noise is added, so that there is something to see.
    """
    from tumorcls.model.backend import select_backend

    select_backend()
    from tumorcls.data.images import read_image
    from tumorcls.inference.server import serve
    from tumorcls.inference.web import Answering, make_app
    from tumorcls.inference.web import page as blank
    from tumorcls.model.saved_model import load_model
    from tumorcls.reports.page import policy

    answering = Answering(load_model(model))
    told = ((scan, answering.answer(read_image(scan), "speckle")) for scan in scans)
    app = make_app(answering)
    app.route(
        "/scan", callback=next(scan for scan, at in told if at[0]["answer"] == "meningioma" != at[4]["answer"]).read_bytes
    )
    dropped = blank().replace("</body>", f"{DROP_AND_SLIDE}</body>")
    rules = {"Content-Security-Policy": policy([dropped], answers=True)}
    app.route("/picture", callback=lambda: bottle.HTTPResponse(dropped, headers=rules))
    with serve(app, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def page(name: str, width: int, *sections: str) -> NDArray[np.uint8]:
    """Photographs these sections of a page that a command wrote."""
    copy = Path("copies") / name  # apart, or the next page would lead to it
    copy.parent.mkdir(exist_ok=True)
    html = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", Path(name).read_text(encoding="utf-8"))
    copy.write_text(html.replace("</body>", f"{KEEP % list(sections)}</body>"), encoding="utf-8")
    return photograph(copy.absolute().as_uri(), width, 2400)


def search_quality() -> NDArray[np.uint8]:
    """Photographs the plot of the runs that `benchmarks.search_quality` wrote."""
    root = FOLDER.parents[1]
    sys.path.insert(0, str(root))
    from benchmarks.search_quality.records import Task
    from benchmarks.search_quality.report import Report, read_runs

    path = root / "benchmarks" / "results" / "search_quality.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    task = Task(document["settings"], document["seconds"], document["stacks"])
    Report(task, read_runs(path, task)).plot().write_html("plot.html")
    return photograph(Path("plot.html").absolute().as_uri(), 1000, 620)


def photograph(address: str, width: int, height: int) -> NDArray[np.uint8]:
    """Returns what Chromium shows, without the empty end: uint8 (h, w, 3), BGR."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("chromium must be installed")
    with tempfile.TemporaryDirectory() as profile:
        where = (f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={profile}/shot.png")
        subprocess.run([chromium, *FLAGS, *where, address], check=True, capture_output=True, timeout=300)
        shot = cv2.imread(f"{profile}/shot.png")
    last = int(np.flatnonzero((shot != shot[-1, -1]).any(axis=(1, 2)))[-1])
    return np.asarray(shot[: last + 24], dtype=np.uint8)


def save(name: str, picture: NDArray[np.uint8]) -> None:
    """Writes a picture as WebP, at most `WIDTH` wide and as good as `MAX_BYTES` allow."""
    scale = min(1.0, WIDTH / picture.shape[1])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    for quality in range(90, 20, -5):
        content = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
        if len(content) <= MAX_BYTES:
            break
    else:
        raise SystemExit(f"{name}: must be at most {MAX_BYTES} bytes; got {len(content)}. Show less of the page.")
    (FOLDER / f"{name}.webp").write_bytes(content)
    print(f"{name}.webp: {small.shape[1]}x{small.shape[0]}, {len(content)} bytes, quality {quality}", flush=True)


if __name__ == "__main__":
    main()
