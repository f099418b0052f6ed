"""Does what the tutorial and the first study do, on real images, and writes what came out into both pages.

    TUMORCLS_DATA=~/data python docs/figures.py

`~/data/sartaj` is SARTAJ as Kaggle ships it. TUMORCLS_WEIGHTS may name a weights file; Keras downloads its own otherwise. The
cache is an empty one, so that times are those of a first run: about 40 minutes on two quiet cores. In the pages, a figure
stands between `<!--NAME-->` and `<!--/-->`, and none of these runs stands anywhere else.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import tomli_w

ROOT = Path(__file__).parents[1]
PAGES = tuple(ROOT / "docs" / f"{name}.md" for name in ("tutorial", "first-study"))
STUDY = ROOT / "studies" / "brain-mri.toml"
MARK = re.compile(r"<!--(?P<name>[a-z0-9_]+)-->.*?<!--/-->", re.DOTALL)

Figures = dict[str, str]


def main() -> None:
    """Runs both in a temporary folder, then rewrites the pages."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["TUMORCLS_CACHE"] = "cache"
        study = tomllib.loads(STUDY.read_text(encoding="utf-8"))
        figures = setting() | tutorial(study) | first_study(study)
    for page in PAGES:
        page.write_text(rewrite(page.read_text(encoding="utf-8"), figures), encoding="utf-8")


def rewrite(page: str, figures: Mapping[str, str]) -> str:
    """Returns a page with its figures in their places; a name that is not among them is a `KeyError`."""
    return MARK.sub(lambda mark: f"<!--{mark['name']}-->{figures[mark['name']]}<!--/-->", page)


@dataclass
class Desk:
    """Types commands in, and keeps how long each took."""

    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, *words: str) -> str:
        """Returns what a command printed, without what went to stderr."""
        print(*words, flush=True)
        started = perf_counter()
        environment = os.environ | {"COLUMNS": "120", "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-m", *words], check=True, stdout=subprocess.PIPE, text=True, env=environment)
        self.seconds[words[1]] = perf_counter() - started
        return done.stdout


def setting() -> Figures:
    """Returns when and with what this is."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("keras", "tensorflow-cpu"))
    when = f"{date.today():%-d %B %Y}"
    weights = (
        "the weights file that `TUMORCLS_WEIGHTS` named" if os.environ.get("TUMORCLS_WEIGHTS") else "Keras's ImageNet weights"
    )
    return {"when": f"{when}, {packages}, Python {platform.python_version()}, {os.cpu_count()} CPU cores, with {weights}"}


def tutorial(study: Mapping[str, Any]) -> Figures:
    """Does what `tutorial.md` says."""
    desk = Desk()
    first = json.loads(json.dumps(study))
    first["study"] |= {"name": "first", "storage": "sqlite:///first.db", "trials": 8}
    first["space"]["noise_intensity"]["step"] = 0.5
    first["objective"]["trainable_from"] = "head"
    Path("first.toml").write_text(tomli_w.dumps(first), encoding="utf-8")
    figures = audit(desk)
    told = desk("search", "launch", "first.toml").splitlines()
    ends = [line for line in told if re.match(r"trial \d+ (complete|pruned)", line)]
    last = [line for line in told if line.startswith(("Budget reached", "Best trial"))]
    figures["launch"] = text([*ends[:3], "...", *last])
    ranked = desk("search", "finalists", "first.toml", "--top", "2", "--seeds", "3").splitlines()
    begin = next(index for index, line in enumerate(ranked) if re.match("trial +search", line))
    figures["finalists"] = text([line.rstrip() for line in ranked[begin - 1 :]])
    desk("search", "export", "first.toml", "-o", "best.toml")
    figures |= train_and_evaluate(desk, "head")
    answers = desk("tumorcls", "predict", "-m", "model.keras", f"{sartaj()}/Testing/no_tumor")
    figures["predicted"] = text([line.rpartition("/")[2] for line in answers.splitlines()[:2]])
    figures["times"] = times(desk.seconds)
    return figures


def audit(desk: Desk) -> Figures:
    """Returns what the audit of the tutorial says."""
    printed = desk("tumorcls", "audit", sartaj(), "--html", "audit.html")
    starts = {
        "images": "images",
        "unreadable": "unreadable files",
        "pictures": "different pictures",
        "conflicts": "groups with conflicting labels",
        "random_split": "test images with a copy in training, random split",
        "both_sides": "groups on both sides of this split",
    }
    found = {name: re.search(rf"^{start} +(\S+)$", printed, flags=re.MULTILINE) for name, start in starts.items()}
    values = {name: match[1] for name, match in found.items() if match}
    return values | {"audit": text([f"{starts[name]:<60}{value:>6}" for name, value in values.items()])}


def first_study(study: Mapping[str, Any]) -> Figures:
    """Does what `first-study.md` says."""
    import optuna

    desk = Desk()
    Path("brain-mri.toml").write_text(tomli_w.dumps(dict(study)), encoding="utf-8")
    desk("search", "launch", "brain-mri.toml", "--trials", "6")
    trials = optuna.load_study(study_name="brain-mri", storage="sqlite:///brain-mri.db").trials
    desk("search", "export", "brain-mri.toml", "-o", "best.toml")
    rows = [_row(trial) for trial in trials]
    head = "| trial | epochs | learning rate | dropout | batch | noise | clean F1 | noisy F1 | robust F1 (validation) |"
    table = "\n".join(["", head, f"|{'---|' * 9}", *rows, ""])
    return {"six_trials": table, "six_minutes": _duration(desk.seconds["launch"])} | train_and_evaluate(desk, "block7")


def _row(trial: Any) -> str:
    params, attributes = trial.params, trial.user_attrs
    name = f"{trial.number}, the notebook's config" if trial.number == 0 else str(trial.number)
    scores = [_short(attributes.get(score)) for score in ("clean_f1", "noisy_f1", "robust_f1")]
    drawn = [f"{params['learning_rate']:.1e}", f"{params['dropout']:.1f}", params["batch_size"], params["noise_intensity"]]
    epochs = f"{params['epochs']}, pruned" if trial.state.name == "PRUNED" else params["epochs"]
    return f"| {' | '.join(map(str, (name, epochs, *drawn, *scores)))} |"


def train_and_evaluate(desk: Desk, name: str) -> Figures:
    """Trains `best.toml`, measures the model on the test part, and returns figures whose names begin with `name`."""
    trained = desk("tumorcls", "train", "--config", "best.toml", "-o", "model.keras").splitlines()
    printed = desk("tumorcls", "evaluate", "model.keras", "-o", "test.json", "--html", "test.html").splitlines()
    evaluation = json.loads(Path("test.json").read_text(encoding="utf-8"))
    recall = dict(zip(evaluation["classes"], evaluation["clean"]["recall"], strict=True))
    worst = min(recall, key=lambda label: recall[label]["value"])
    best = max(recall, key=lambda label: recall[label]["value"])
    hardest = max(condition["severity"] for condition in evaluation["noisy"])
    under = {c["noise"]: _short(c["scores"]["macro_f1"]["value"]) for c in evaluation["noisy"] if c["severity"] == hardest}
    last = max(index for index, line in enumerate(trained) if line.startswith("epoch "))
    end = next(index for index, line in enumerate(trained) if line.startswith("Wrote "))
    figures = {
        "trained": text(trained[last:end]),
        "evaluated": text([line for line in printed if line.startswith(("accuracy ", "Brier score "))]),
        "accuracy": _interval(evaluation["clean"]["accuracy"]),
        "f1": _interval(evaluation["clean"]["macro_f1"]),
        "worst": f"`{worst}`, {_interval(recall[worst])}",
        "best": f"`{best}`, {_interval(recall[best])}",
        "hardest": ", ".join(f"{value} under {noise.replace('_', ' ')}" for noise, value in under.items()),
    }
    return {f"{name}_{figure}": shown for figure, shown in figures.items()}


def times(seconds: Mapping[str, float]) -> str:
    """Returns the tutorial's table of times."""
    steps = {
        "audit": ("audit", "every image is read and fingerprinted once; seconds later on"),
        "launch": (
            "launch, 8 trials of the head",
            "three levels of noise, whose views are computed by the first trial of each",
        ),
        "finalists": ("finalists, 9 runs", "all views are cached by now"),
        "train": ("train", "the best trial over again"),
        "evaluate": ("evaluate", "test images, clean, at 15 levels of noise and under what was never seen"),
    }
    rows = [f"| {name} | {_duration(seconds[step])} | {why} |" for step, (name, why) in steps.items()]
    return "\n".join(["", "| step | took here | why |", "|---|---|---|", *rows, ""])


def text(lines: Sequence[str]) -> str:
    """Returns lines as a block that shows them as they are."""
    return "\n".join(["", "```text", *lines, "```", ""])


def sartaj() -> str:
    """Returns where SARTAJ lies."""
    return os.path.expandvars("${TUMORCLS_DATA}/sartaj")


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".lstrip("0")


def _interval(estimate: Mapping[str, float]) -> str:
    return f"{_short(estimate['value'])} ({_short(estimate['low'])} to {_short(estimate['high'])})"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    main()
