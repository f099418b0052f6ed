"""How long until the report of a long study can be read? Written, and opened in headless Chromium.

    python -m benchmarks.report_opening | tee benchmarks/results/report_opening.txt

A study of 2,000 trials with six parameters and ten reports each, a third of them pruned, is made in memory. Its page is
written, and opened several times, each time by a new browser with an empty profile. Two times are printed: from the start of
the navigation to the page's load event, when every chart is drawn and laid out; and of the whole browser, from its start to its
end, which says what painting and leaving cost at most.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path
from statistics import median

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from search.records.attributes import OWNER_KEY
from search.results.report.page import render

_TRIALS, _REPORTS, _OPENINGS = 2_000, 10, 7
_SPACE = {
    "epochs": IntDistribution(2, 20),
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "dropout": FloatDistribution(0.0, 0.8),
    "batch_size": CategoricalDistribution([16, 32, 64]),
    "noise_intensity": FloatDistribution(0.0, 1.0),
    "label_smoothing": FloatDistribution(0.0, 0.2),
}
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--disable-quic", "--window-size=1280,900", "--timeout=60000", "--dump-dom"),
)
_STOPWATCH = """<script nonce="{nonce}">addEventListener("load", () => {{
  document.body.getBoundingClientRect();  // waits for the layout
  document.title = `opened in ${{performance.now()}} ms, ${{document.querySelectorAll(".main-svg").length}} drawings`;
}});</script>"""


def make_study() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = np.random.default_rng(0)
    study = optuna.create_study(study_name="long", direction="maximize")
    begun = datetime(2026, 1, 1)
    trials = []
    for number in range(_TRIALS):
        params = {
            "epochs": int(rng.integers(2, 21)),
            "learning_rate": float(10 ** rng.uniform(-5, -1)),
            "dropout": float(rng.uniform(0, 0.8)),
            "batch_size": int(rng.choice([16, 32, 64])),
            "noise_intensity": float(rng.uniform()),
            "label_smoothing": float(rng.uniform(0, 0.2)),
        }
        value = float(0.9 - 0.05 * abs(np.log10(params["learning_rate"]) + 3) - 0.1 * params["dropout"] + rng.normal(0, 0.02))
        pruned = number % 3 == 2
        reports = {step: value * (1 - 0.5 ** (step + 1)) for step in range(3 if pruned else _REPORTS)}
        start = begun + timedelta(seconds=30 * number)
        trials.append(
            create_trial(
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                value=reports[2] if pruned else value,
                params=params,
                distributions=_SPACE,
                intermediate_values=reports,
                user_attrs={OWNER_KEY: {"host": "a", "pid": 1, "started": 0.0, "worker": number % 4}},
            )
        )
        trials[-1].datetime_start = start
        trials[-1].datetime_complete = start + timedelta(seconds=40 if pruned else 110)
    study.add_trials(trials)
    return study


def open_page(chromium: str, page: Path) -> tuple[float, float]:
    """Seconds from the start of the navigation to the drawn page, and of the whole browser."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, *_FLAGS, f"--user-data-dir={profile}", page.as_uri()]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"<title>opened in ([0-9.]+) ms, ([0-9]+) drawings</title>", dom)
    if found is None or found[2] == "0":
        raise RuntimeError(f"{page}: Chromium ended before the page was drawn")
    return float(found[1]) / 1000, time.perf_counter() - begun


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("chromium must be installed")
    version = subprocess.run([chromium, "--version"], capture_output=True, text=True, check=True).stdout
    version = version.partition(" built")[0].strip()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("optuna", "plotly"))
    load = os.getloadavg()[0]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}"
    print(f"{machine}, python {platform.python_version()}, {versions}, {version}")
    study = make_study()
    begun = time.perf_counter()
    html = render(study)
    written_s = time.perf_counter() - begun
    nonce = html.partition("'nonce-")[2].partition("'")[0]  # without it, the page's policy would not let the stopwatch run
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(html.replace("</body>", f"{_STOPWATCH.format(nonce=nonce)}</body>"), encoding="utf-8")
        times = [open_page(chromium, page) for _ in range(_OPENINGS)]
    print(f"{_TRIALS:,} trials: written in {written_s:.1f} s (bar: 30), {len(html.encode()) / 1e6:.1f} MB (bar: 10)")
    for what, seconds in zip(("drawn in", "browser started and ended in"), zip(*times, strict=True), strict=True):
        print(f"{what} {min(seconds):.1f} to {max(seconds):.1f} s, median {median(seconds):.1f} of {_OPENINGS} (bar: 5)")


if __name__ == "__main__":
    main()
