"""Images, slices and folders from strangers, through the real commands: right pixels or one line, in bounded memory."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tests import own_memory
from tests.patience import PATIENCE_S
from tests.tumorcls.hostile_images import Kind, images, slices
from tests.tumorcls.pictures import blob, kaggle_folder, write
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.labels import CLASSES
from tumorcls.model.backbone import build_backbone, build_classifier
from tumorcls.model.calibration import Calibration
from tumorcls.model.saved_model import SavedModel

pytestmark = pytest.mark.slow

MOST = 600 * 10**6
NAMES = [
    *(b"latin-\xff\xe9.png", b"two\nlines.png", b"=1+1.png", b" blank .png", b"[bold].png", b"-x.png"),
    "\u202egnp.\u20ac.png".encode(),
]


@pytest.fixture
def tumorcls(tmp_path, environment):
    """Runs the command in a process, checks how it ended, and returns its output; it may take 4 minutes and 600 MB."""

    def run(*arguments, code):
        command = [*own_memory.COMMAND, *map(str, arguments)]
        env = {**environment, "TUMORCLS_CACHE": str(tmp_path / "cache"), "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env, timeout=PATIENCE_S)
        *lines, last = done.stderr.splitlines()
        ended, kilobytes = map(int, last.split())
        assert ended == code, done.stderr[-2000:]
        assert kilobytes * 1024 < MOST
        assert not any("Traceback" in line or "Warning" in line for line in lines)
        return done.stdout, lines

    return run


@pytest.fixture
def model(tmp_path):
    head = keras.layers.Dense(4)
    head.build((None, 1280))
    settings = {"data": ["phantoms:8"], "image_size": 32, "weights": "none", "batch_norm": "train"}
    config = TrainConfig.parse(settings, where="test")
    network = build_classifier(build_backbone(32, "none"), head, 0.3)
    SavedModel(CLASSES, config, {}, Calibration(1.0, 0.0, 0.05, 1.0, 0.0, 1), network=network).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def put(folder: Path, kinds: list[Kind]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        (folder / kind.name).write_bytes(kind.content)


def put_odd_files(folder: Path) -> None:
    """Names that are no text, and files that are none."""
    for number, name in enumerate(NAMES):
        written = write(folder.parent / "x.png", blob(500 + number, 32))
        written.rename(os.fsdecode(os.fsencode(folder) + b"/" + name))
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(folder)  # a socket's path has at most 107 bytes
        listening.bind("socket.png")
        os.chdir(here)


ODD = ("pipe.png", "loop.png", "gone.png", "zero.png", "socket.png")


def test_audit_of_a_folder_of_hostile_images_lists_each_that_cannot_be_read(tmp_path, tumorcls):
    folder = tmp_path / "set"
    for number, name in enumerate(("meningioma", "no_tumor", "pituitary")):
        for i in range(8):
            write(folder / name / f"{i}.png", blob(100 * number + i, 32))
    put(folder / "glioma", images())
    put_odd_files(folder / "glioma")
    good = [kind for kind in images() if kind.pixels is not None]
    bad = [kind for kind in images() if kind.pixels is None]
    for _ in range(2):  # the second time from the cache
        out, _ = tumorcls("prepare", folder, "--out", tmp_path / "out", code=0)
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["images"] == 24 + len(good) + len(NAMES)
        unreadable = {reason.split(": ")[0].split("/")[-1] for reason in summary["unreadable"]}
        assert unreadable == {kind.name for kind in bad} | set(ODD)
        assert f"cannot be read, and left out: {len(unreadable)} of" in out
    with (tmp_path / "out" / "manifest.csv").open(errors="surrogateescape", newline="") as file:
        sizes = {row["name"]: (int(row["height"]), int(row["width"])) for row in csv.DictReader(file)}
    assert all(sizes[f"glioma/{kind.name}"] == kind.pixels.shape[:2] for kind in good)
    out, _ = tumorcls("audit", folder, "--html", tmp_path / "page.html", code=0)
    assert "Unreadable files" in out
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_audit_of_hostile_slices_lists_each_that_cannot_be_read(tmp_path, tumorcls):
    folder = tmp_path / "figshare"
    put(folder, slices())
    good = [kind for kind in slices() if kind.pixels is not None]
    tumorcls("prepare", folder, "--validation", 0, "--test", 0, "--out", tmp_path / "out", code=0)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["images"] == len(good)
    assert len(summary["unreadable"]) == len(slices()) - len(good)
    assert all("\n" not in reason for reason in summary["unreadable"])


def test_predict_answers_or_names_each_file(tmp_path, tumorcls, model):
    put(tmp_path / "in", [*images(), *slices()])
    put_odd_files(tmp_path / "in")
    write(tmp_path / "in" / "__MACOSX" / "a.png", blob(1))
    write(tmp_path / "in" / ".ipynb_checkpoints" / "a.png", blob(1))
    write(tmp_path / "in" / "._a.png", blob(1))
    mats = [tmp_path / "in" / kind.name for kind in slices()]
    kinds = [*images(), *slices()]
    good = {kind.name for kind in kinds if kind.pixels is not None} | {
        name.decode("utf-8", "backslashreplace").replace("\n", "\\n").replace("\u202e", "\\u202e") for name in NAMES
    }
    bad = {kind.name for kind in kinds if kind.pixels is None} | set(ODD)
    for form in ("csv", "json"):
        out = tmp_path / f"answers.{form}"
        _, lines = tumorcls("predict", tmp_path / "in", *mats, "-m", model, "--format", form, "-o", out, code=1)
        with out.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file)) if form == "csv" else json.load(file)["predictions"]
        answered = {row["file"].removeprefix("'").split("/")[-1] for row in rows if row["answer"]}
        assert answered == good
        assert {row["file"].split("/")[-1] for row in rows if row["error"]} == bad
        assert len([line for line in lines if line.startswith("error: ")]) == len(bad)


def test_a_pipe_is_not_waited_for(tmp_path, tumorcls):
    os.mkfifo(tmp_path / "a.png")
    _, lines = tumorcls("preview", "a.png", "-o", "sheet.png", code=1)
    assert lines == ["error: a.png: the file must be readable; got a pipe, which is no regular file."]


def test_a_launch_says_what_it_left_out_and_could_not_read(tmp_path, write, environment):
    folder = kaggle_folder(tmp_path / "set", 12)
    for number in range(4):
        (folder / "Training" / "glioma" / f"bad{number}.png").write_bytes(b"x")
        (folder / "Training" / "glioma" / f"{number}.mgz").write_bytes(b"x")
    kaggle_folder(folder / "Training" / "glioma" / "inside", 1)
    write(
        study={"objective": '"tumorcls.objective:BrainTumourObjective"', "metric": None, "trials": "1"},
        space={"x": None, "learning_rate": '{ type = "float", low = 0.001, high = 0.01 }'},
        objective={
            "data": f'"{folder}"',
            **{"weights": '"none"', "batch_norm": '"train"', "image_size": "32", "trainable_from": '"head"'},
            **{"epochs": "1", "views": "1", "noisy_images": "8"},
        },
    )
    command = [sys.executable, "-m", "search", "launch", "demo.toml"]
    env = {**environment, "TUMORCLS_CACHE": str(tmp_path / "cache")}
    said = subprocess.run(command, capture_output=True, text=True, env=env, timeout=PATIENCE_S, check=True).stdout
    [left_out] = [line for line in said.splitlines() if line.startswith("note: left out")]
    assert "12 files" in left_out
    assert "4 .mgz in set/Training/glioma" in left_out
    [unreadable] = [line for line in said.splitlines() if line.startswith("note: cannot be read")]
    assert "4 of 100 images" in unreadable
    assert [f"bad{number}.png" in unreadable for number in range(4)] == [True, True, True, False]
