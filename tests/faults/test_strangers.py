"""Files and requests of strangers: each is refused in one line, costs little, and names no other file of this machine."""

import http.server
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from tests.patience import PATIENCE_S
from tests.serving import serving
from tests.tumorcls.pictures import blob, image_set, write
from tumorcls.errors import DataError, ModelError, TumorclsError
from tumorcls.model.backend import select_backend

select_backend()

from tumorcls.cli import main  # noqa: E402
from tumorcls.commands import audit as audit_command  # noqa: E402
from tumorcls.config.train_config import TrainConfig  # noqa: E402
from tumorcls.data.labels import CLASSES  # noqa: E402
from tumorcls.data.prepare import prepare  # noqa: E402
from tumorcls.evaluation.evaluate import Plan, Predictions, measure  # noqa: E402
from tumorcls.evaluation.record import Evaluation  # noqa: E402
from tumorcls.model import saved_model  # noqa: E402
from tumorcls.model.backbone import build_network  # noqa: E402
from tumorcls.model.calibration import Calibration  # noqa: E402
from tumorcls.model.saved_model import SavedModel, load_model  # noqa: E402
from tumorcls.reports.evaluation_page import render_page as render_evaluation  # noqa: E402
from tumorcls.reports.model_card import render_page as render_card  # noqa: E402
from tumorcls.reports.model_card import write_card  # noqa: E402

pytestmark = pytest.mark.slow

CARD, WEIGHTS = "tumorcls.json", "model.weights.h5"
SECRET = b"the patient's name is in this file " * 4
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """A file of the server that no answer may hold."""
    path = tmp_path_factory.mktemp("secret") / "secret.bin"
    path.write_bytes(SECRET * 1000)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model with random weights, in a file."""
    config = TrainConfig.parse({"data": ["phantoms:40"], "weights": "none", "batch_norm": "train", "image_size": 32}, "test")
    provenance = {"seed": 3, "trained_on": "training images", "split_sha256": "abc", "exported": {"study": "s", "trial": 1}}
    calibration = Calibration(1.5, 0.2, 0.05, 0.9, 0.04, 50)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    SavedModel(CLASSES, config, provenance, calibration, network=build_network(32, 4, imagenet=False)).save(path)
    return path


@pytest.fixture(scope="module")
def one_network():
    """Has every file be loaded into one network, of which each gives all weights or is refused; each would have one built."""
    network = build_network(32, 4, imagenet=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "build_network", lambda *args, **kwargs: network)
        yield


@pytest.fixture(scope="module")
def members(model):
    with zipfile.ZipFile(model) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(members, **changes):
    """Returns an archive of members, some of them changed or, where the change is None, left out."""
    packed = io.BytesIO()
    names = {"card": CARD, "weights": WEIGHTS, "graph": "config.json", "about": "metadata.json"}
    contents = {**members, **{names[key]: value for key, value in changes.items()}}
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in contents.items():
            if content is not None:
                archive.writestr(name, content)
    return packed.getvalue()


def card(members, change):
    """Returns an archive whose card a function has changed; its weights are never reached."""
    values = json.loads(members[CARD])
    changed = change(values)
    text = changed if isinstance(changed, str) else json.dumps(changed if changed is not None else values)
    return pack(members, card=text.encode("utf-8", "surrogatepass"), weights=b"none")


def put(*path, value):
    """Returns a change that sets one value of a card."""

    def change(values):
        inner = values
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


def drop(*path):
    def change(values):
        inner = values
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]

    return change


def instead(*path, text):
    """Returns a change that puts a piece of JSON, which may be none, in the place of a value."""

    def change(values):
        put(*path, value="@HERE@")(values)
        return json.dumps(values).replace('"@HERE@"', text)

    return change


OF_WEIGHTS = "must be an HDF5 file"
NESTED = "[" * 1000 + "]" * 1000
CARDS = {
    "no JSON": lambda values: "{not JSON",
    "empty": lambda values: " ",
    "a list": lambda values: [1],
    "null": lambda values: "null",
    "not UTF-8": lambda values: json.dumps(values).replace("phantoms:40", "\udcff"),
    "nested 100,000": lambda values: "[" * 100_000,
    "nested provenance": instead("provenance", "exported", "study", text=NESTED),
    "nested config": instead("config", "data", text=NESTED),
    "nested calibration": instead("calibration", text=NESTED),
    "nested tables": instead("provenance", "exported", text='{"a":' * 1000 + "1" + "}" * 1000),
    "5,000 digits": instead("provenance", "seed", text="9" * 5000),
    "NaN seed": instead("provenance", "seed", text="NaN"),
    "another format": put("format", value=2),
    "format true": put("format", value="1"),
    "unknown key": put("more", value=1),
    "no format": drop("format"),
    "no classes": drop("classes"),
    "no config": drop("config"),
    "no provenance": drop("provenance"),
    "no calibration": drop("calibration"),
    "three classes": put("classes", value=list(CLASSES[:3])),
    "five classes": put("classes", value=[*CLASSES, "x"]),
    "classes in another order": put("classes", value=list(CLASSES[::-1])),
    "a class that is markup": put("classes", value=["<img src=http://evil.example>", *CLASSES[1:]]),
    "one class four times": put("classes", value=["glioma"] * 4),
    "classes of numbers": put("classes", value=[1, 2, 3, 4]),
    "classes as text": put("classes", value="glioma"),
    "two classes, binary": put("classes", value=["no_tumor", "tumor"]),
    "10,000 classes": put("classes", value=["x"] * 10_000),
    "image size 0": put("config", "image_size", value=0),
    "image size of a billion": put("config", "image_size", value=10**9),
    "image size as text": put("config", "image_size", value="large"),
    "unknown setting": put("config", "shell", value="rm"),
    "config of lists": put("config", value=[1]),
    "weights of a number": put("config", "weights", value=7),
    "temperature 0": put("calibration", "temperature", value=0.0),
    "negative temperature": put("calibration", "temperature", value=-1.0),
    "NaN temperature": instead("calibration", "temperature", text="NaN"),
    "infinite temperature": instead("calibration", "temperature", text="1e999"),
    "threshold 2": put("calibration", "threshold", value=2.0),
    "NaN threshold": instead("calibration", "threshold", text="NaN"),
    "negative threshold": put("calibration", "threshold", value=-0.1),
    "threshold null": put("calibration", "threshold", value=None),
    "negative coverage": put("calibration", "coverage", value=-1.0),
    "negative count": put("calibration", "images", value=-1),
    "endless count": instead("calibration", "images", text="1e400"),
    "calibration without error": drop("calibration", "error"),
    "provenance as text": put("provenance", value="mine"),
    "provenance of lists": put("provenance", value=[[]]),
    "seed as text": put("provenance", "seed", value="three"),
    "negative seed": put("provenance", "seed", value=-3),
    "split of markup": put("provenance", "split_sha256", value="<script>"),
    "split of a megabyte": put("provenance", "split_sha256", value="a" * 100_000),
    "trained on markup": put("provenance", "trained_on", value="<img src=http://evil.example>"),
    "version of a list": put("provenance", "keras", value=["3"]),
    "version of 10,000 letters": put("provenance", "keras", value="3" * 10_000),
    "1,000 exported values": put("provenance", "exported", value={str(number): number for number in range(1000)}),
    "exported as a list": put("provenance", "exported", value=[1, 2]),
    "validation of NaN": instead("provenance", "validation", text='{"clean_f1": NaN}'),
    "members as text": put("members", value="1"),
    "members true": put("members", value=True),
    "validation of text": put("provenance", "validation", value={"clean_f1": "good"}),
}


@pytest.mark.parametrize("kind", CARDS)
def test_a_card_that_is_not_as_it_must_be_is_one_line(kind, members, tmp_path):
    assert OF_WEIGHTS not in refused(tmp_path, card(members, CARDS[kind])), "they are none here, so that would be no news"


def refused(folder, content):
    path = folder / "model.keras"
    path.write_bytes(content)
    begun = time.monotonic()
    with pytest.raises(ModelError) as caught:
        load_model(path).predict(np.zeros((1, 32, 32, 3), np.uint8))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500 + len(str(path))
    assert SECRET[:20].decode() not in message
    assert time.monotonic() - begun < 60
    return message


def edited(members, **headers):
    """Returns an archive with bytes of its list of members changed: all of a kind, at an offset in each entry."""
    content = bytearray(pack(members, weights=b"none"))
    for signature, offset, value in headers.values():
        at = content.find(signature)
        while at >= 0:
            content[at + offset : at + offset + len(value)] = value
            at = content.find(signature, at + 4)
    return bytes(content)


def twice(members, name):
    packed = io.BytesIO(pack(members, weights=b"none"))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, b"{}")
    return packed.getvalue()


def with_member(members, name):
    packed = io.BytesIO(pack(members, weights=b"none"))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, b"x")
    return packed.getvalue()


def flipped(members, name, **change):
    content = bytearray(pack(members, **change))
    at = content.find(members[name][1000:1016] if not change else b"none")
    content[at] ^= 0xFF
    return bytes(content)


def bomb(members, name, size):
    """Returns an archive with a member of zeros that unpacks to `size` bytes."""
    packed = io.BytesIO(pack(members, **{{CARD: "card", WEIGHTS: "weights", "config.json": "graph"}[name]: None}))
    archive = zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open(name, "w", force_zip64=True) as file:
        for _ in range(size // (4 * MEGABYTE)):
            file.write(b" " * (4 * MEGABYTE))
    return packed.getvalue()


def lying(members):
    """Returns an archive with a card that claims ten bytes and unpacks to many."""
    content = bytearray(bomb({**members, WEIGHTS: b"none"}, CARD, 64 * MEGABYTE))
    entry = content.rfind(b"PK\1\2")
    content[entry + 24 : entry + 28] = struct.pack("<I", 10)
    return bytes(content)


def crowded(members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(50_000):
            archive.writestr(str(number), b"")
    return packed.getvalue()


ARCHIVES = {
    "nothing": lambda members: b"",
    "text": lambda members: b"a model, honestly",
    "a lone end": lambda members: b"PK\5\6" + bytes(18),
    "cut at half": lambda members: pack(members)[: len(pack(members)) // 2],
    "cut at its list": lambda members: pack(members)[:-100],
    "cut at its last byte": lambda members: pack(members)[:-1],
    "more after it": lambda members: pack(members) + bytes(1000),
    "a list elsewhere": lambda members: edited(members, end=(b"PK\5\6", 16, b"\xff\xff\xff\x7f")),
    "a longer list": lambda members: edited(members, end=(b"PK\5\6", 12, b"\xff\xff\0\0")),
    "zip64": lambda members: pack(members)[:-22] + b"PK\6\7" + bytes(16) + pack(members)[-22:],
    "50,000 members": crowded,
    "encrypted": lambda members: edited(members, entry=(b"PK\1\2", 8, b"\1\0"), local=(b"PK\3\4", 6, b"\1\0")),
    "unknown compression": lambda members: edited(members, entry=(b"PK\1\2", 10, b"\x63\0"), local=(b"PK\3\4", 8, b"\x63\0")),
    "bzip2 that is none": lambda members: edited(members, entry=(b"PK\1\2", 10, b"\x0c\0"), local=(b"PK\3\4", 8, b"\x0c\0")),
    "LZMA that is none": lambda members: edited(members, entry=(b"PK\1\2", 10, b"\x0e\0"), local=(b"PK\3\4", 8, b"\x0e\0")),
    "deflate that is none": lambda members: edited(members, entry=(b"PK\1\2", 10, b"\x08\0"), local=(b"PK\3\4", 8, b"\x08\0")),
    "members in one place": lambda members: edited(members, entry=(b"PK\1\2", 42, bytes(4))),
    "a card too large": lambda members: edited(members, entry=(b"PK\1\2", 24, b"\xff\xff\xff\x7f")),
    "two cards": lambda members: twice(members, CARD),
    "two weights": lambda members: twice(members, WEIGHTS),
    "without a card": lambda members: pack(members, card=None),
    "without weights": lambda members: pack(members, weights=None),
    "without a graph": lambda members: pack(members, graph=None),
    "without a version": lambda members: pack(members, about=None),
    "a name that climbs": lambda members: with_member(members, "../../evil.py"),
    "a name from the root": lambda members: with_member(members, "/etc/evil"),
    "a name of control characters": lambda members: with_member(members, "\x1b[2J\r\n"),
    "assets": lambda members: with_member(members, "assets/vocabulary.txt"),
    "a flipped bit in the weights": lambda members: flipped(members, WEIGHTS),
    "a flipped bit in the rest": lambda members: flipped(members, WEIGHTS, weights=b"none"),
    "a card that unpacks to 1 GB": lambda members: bomb({**members, WEIGHTS: b"none"}, CARD, 1024 * MEGABYTE),
    "weights that unpack to 1 GB": lambda members: bomb(members, WEIGHTS, 1024 * MEGABYTE),
    "a graph that unpacks to 1 GB": lambda members: bomb({**members, WEIGHTS: b"none"}, "config.json", 1024 * MEGABYTE),
    "a card that claims 10 bytes": lying,
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_is_not_as_it_must_be_is_one_line(kind, members, tmp_path):
    assert OF_WEIGHTS not in refused(tmp_path, ARCHIVES[kind](members))


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "loop", "huge", "NUL"])
def test_what_is_no_file_is_one_line(kind, tmp_path):
    path = tmp_path / "model.keras"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(10**12)
    elif kind == "NUL":
        path = Path(f"{path}\0")
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


KERNEL = "layers/dense/vars/0"
LAST = "layers/batch_normalization_48/vars/3"


def replaced(name, value, **options):
    def change(file, secret):
        del file[name]
        file.create_dataset(name, data=value, **options)

    return change


def altered(name, index, value):
    def change(file, secret):
        file[name][index] = value

    return change


def linked(link):
    def change(file, secret):
        del file[KERNEL]
        file[KERNEL] = link(secret)

    return change


def external_storage(file, secret):
    del file[KERNEL]
    file.create_dataset(KERNEL, (1280, 4), "<f4", external=[(str(secret), 0, 1280 * 4 * 4)])


def virtual(file, secret):
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["x"] = np.zeros((1280, 4), np.float32)
    layout = h5py.VirtualLayout((1280, 4), "<f4")
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "x", (1280, 4))
    del file[KERNEL]
    file.create_virtual_dataset(KERNEL, layout)


def unallocated(file, secret):
    del file[KERNEL]
    file.create_dataset(KERNEL, (10**7, 10**7), "<f4", chunks=(1000, 1000))


def references(file, secret):
    del file[KERNEL]
    file.create_dataset(KERNEL, (1280, 4), h5py.ref_dtype)


def group_instead(file, secret):
    del file[KERNEL]
    file.create_group(KERNEL)


def array_instead(file, secret):
    del file["layers/dense"]
    file["layers/dense"] = np.zeros(4, np.float32)


def crowd(file, secret):
    for number in range(12_000):
        file.create_group(f"more/{number}")


def deep(file, secret):
    file.create_group("/".join("x" * 200))


def cycle(file, secret):
    del file["layers/dense"]
    file["layers/dense"] = file["layers"]


CONTENTS = {
    "NaN": altered(KERNEL, (3, 1), np.nan),
    "infinity": altered(KERNEL, (0, 0), np.inf),
    "minus infinity in the last statistics": altered(LAST, 5, -np.inf),
    "NaN in the first mean": altered("layers/normalization/vars/0", 0, np.nan),
    "negative variances": replaced(LAST, np.full(1280, -1e30, np.float32)),
    "transposed": replaced(KERNEL, np.zeros((4, 1280), np.float32)),
    "of five classes": replaced(KERNEL, np.zeros((1280, 5), np.float32)),
    "a number": replaced(KERNEL, np.float32(1)),
    "doubles": replaced(KERNEL, np.zeros((1280, 4))),
    "halves": replaced(KERNEL, np.zeros((1280, 4), np.float16)),
    "integers": replaced(KERNEL, np.zeros((1280, 4), np.int32)),
    "big endian": replaced(KERNEL, np.zeros((1280, 4), ">f4")),
    "text": replaced(KERNEL, np.array([[b"x"] * 4] * 1280)),
    "texts of any length": replaced(KERNEL, np.array([["x"] * 4] * 1280, dtype=object), dtype=h5py.string_dtype()),
    "compounds": replaced(KERNEL, np.zeros((1280, 4), [("a", "<f4"), ("b", "<f4")])),
    "references": references,
    "a missing array": lambda file, secret: file.__delitem__(KERNEL),
    "a missing layer": lambda file, secret: file.__delitem__("layers/normalization"),
    "no layers": lambda file, secret: file.__delitem__("layers"),
    "a group in place of an array": group_instead,
    "an array in place of a group": array_instead,
    "a soft link": linked(lambda secret: h5py.SoftLink("/layers/dense/vars/1")),
    "a link to itself": linked(lambda secret: h5py.SoftLink(f"/{KERNEL}")),
    "an external link": linked(lambda secret: h5py.ExternalLink(str(secret), "/x")),
    "external storage": external_storage,
    "a virtual array": virtual,
    "terabytes that are not there": unallocated,
    "a circle of groups": cycle,
    "12,000 groups": crowd,
    "200 groups inside one another": deep,
}


@pytest.mark.usefixtures("one_network")
@pytest.mark.parametrize("kind", CONTENTS)
def test_weights_that_are_not_as_they_must_be_are_one_line(kind, members, secret, tmp_path):
    content = io.BytesIO(members[WEIGHTS])
    with h5py.File(content, "r+") as file:
        CONTENTS[kind](file, secret)
    refused(tmp_path, pack(members, weights=content.getvalue()))


def test_damaged_weights_never_end_the_process(members, tmp_path):
    """Bytes of the file's own structure are changed: HDF5 is C, and what it does not notice may end a process."""
    sound = members[WEIGHTS]
    structure = np.frombuffer(sound, np.uint8) != 0
    with h5py.File(io.BytesIO(sound)) as file:

        def leave_out(name, item):
            if isinstance(item, h5py.Dataset) and item.id.get_offset() is not None:
                structure[item.id.get_offset() :][: item.id.get_storage_size()] = False

        file.visititems(leave_out)
    rng = np.random.default_rng(0)
    for number in range(40):
        content = bytearray(sound)
        for at in rng.choice(np.flatnonzero(structure), 1 + number % 8):
            content[at] ^= int(rng.integers(1, 256))
        (tmp_path / f"{number}.keras").write_bytes(pack(members, weights=bytes(content)))
    code = """
import sys, resource
from tumorcls.model.backend import select_backend
select_backend()
from tumorcls.model.model_file import load_weights, read_model_file
from tumorcls.model.backbone import build_network
from tumorcls.errors import TumorclsError
from pathlib import Path
network = build_network(32, 4, imagenet=False)
for path in sorted(Path(sys.argv[1]).glob("*.keras")):
    try:
        load_weights(network, read_model_file(path)[1], str(path))
        print("taken")
    except TumorclsError as error:
        print("refused", error)
# Its own peak: ru_maxrss is at least that of the process that has started this one.
print(next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmHWM")) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    *lines, peak = done.stdout.splitlines()
    assert len(lines) == 40
    assert any(line.startswith("refused") for line in lines)
    assert int(peak) < 1500


@pytest.mark.usefixtures("one_network")
def test_a_graph_that_runs_code_is_never_read(members, tmp_path):
    trace = tmp_path / "ran"
    graph = {
        "module": "os",
        "class_name": "system",
        "config": {"command": f"touch {trace}"},
        "registered_name": f"__import__('pathlib').Path({str(trace)!r}).touch()",
    }
    path = tmp_path / "model.keras"
    for content in (json.dumps(graph).encode(), b"\x00\xff", b"[" * 100_000):
        path.write_bytes(pack(members, graph=content))
        assert np.isfinite(load_model(path).predict(np.zeros((1, 32, 32, 3), np.uint8))).all()
    assert not trace.exists()


def test_bombs_cost_little_memory(members, tmp_path):
    kinds = [kind for kind in ARCHIVES if "GB" in kind or "50,000" in kind or "10 bytes" in kind]
    for number, kind in enumerate(kinds):
        (tmp_path / f"{number}.keras").write_bytes(ARCHIVES[kind](members))
    code = """
import sys, resource
from tumorcls.model.backend import select_backend
select_backend()
from tumorcls.model.saved_model import load_model
from tumorcls.errors import TumorclsError
from pathlib import Path
peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
for path in Path(sys.argv[1]).glob("*.keras"):
    try:
        load_model(path)
    except TumorclsError as error:
        print("refused")
print((peak() - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE_S)
    *lines, more = done.stdout.split()
    assert lines == ["refused"] * len(kinds), done.stderr
    assert int(more) < 200, "megabytes"


@pytest.mark.parametrize("count", ["99999999999", "100001", "9" * 5000, "-4", "1e9", "4:9999999999999999999"])
def test_data_that_would_fill_the_disk_is_one_line(count, members, tmp_path):
    config = TrainConfig.parse({"data": [f"phantoms:{count}"], "weights": "none", "batch_norm": "train"}, "test")
    with pytest.raises(DataError) as caught:
        prepare(config.data, config.split, tmp_path)
    assert "\n" not in str(caught.value)
    assert sum(1 for _ in tmp_path.rglob("*.jpg")) == 0


EVALUATIONS: dict[str, str | bytes] = {
    "nested": "[" * 100_000,
    "nested tables": '{"a":' * 5000 + "1" + "}" * 5000,
    "digits": '{"noise_seed": ' + "9" * 5000 + "}",
    "not UTF-8": b"\xff\xfe{}",
    "NUL": "\0" * 1000,
    "a list": "[]",
}


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_an_evaluation_that_is_none_is_one_line(kind, tmp_path):
    content = EVALUATIONS[kind]
    (tmp_path / "test.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        Evaluation.read(tmp_path / "test.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "huge"])
def test_an_evaluation_that_is_no_file_is_one_line(kind, tmp_path):
    path = tmp_path / "test.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(10**11)
    with pytest.raises(DataError) as caught:
        Evaluation.read(path)
    assert "\n" not in str(caught.value)


# --- Requests -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    """Runs `tumorcls serve`; returns the process, its port, and the folder of its temporary files."""
    folder = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-u", "-m", "tumorcls", "serve", "-m", str(model), "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    log = (folder.parent / "served.log").open("w+b")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True) as process:
        address = next(line for line in process.stdout if "Open http" in line)
        yield process, int(re.search(r":(\d+)/", address)[1]), folder
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    log.seek(0)
    assert b"Traceback" not in log.read()
    log.close()


def peak_megabytes(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024


def talk(port, content, *, timeout=PATIENCE_S, end=False):
    """Sends bytes and returns all that comes back; what is reset is an error."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(content)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def post(body, *headers, path=b"/answer?noise=gaussian&name=x.png", length=None):
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: localhost", *headers]
    if length != b"":
        lines.append(b"Content-Length: " + (length or b"%d" % len(body)))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path=b"/", *headers, host=b"localhost"):
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: " + host, *headers]) + b"\r\n\r\n"


def multipart(parts):
    body = b"".join(b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n1\r\n' % number for number in range(parts))
    return post(body + b"--x--\r\n", b"Content-Type: multipart/form-data; boundary=x")


SCAN = cv2.imencode(".png", blob(1))[1].tobytes()
OWN = b"Content-Type: application/octet-stream"
REQUESTS = {
    "a good one": (post(SCAN), 200),
    "as the page sends it": (post(SCAN, OWN, b"Origin: http://localhost", b"Sec-Fetch-Site: same-origin"), 200),
    "half closed": (post(SCAN), 200),
    "three in a row": (post(SCAN) * 3, 200),
    "no length": (post(SCAN, length=b""), 422),
    "length 0": (post(b""), 422),
    "length 10 and chunks": (post(b"5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: chunked", length=b"10"), 411),
    "chunks": (post(b"5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: chunked", length=b""), 411),
    "chunks, then identity": (post(b"x", b"Transfer-Encoding: chunked, identity"), 501),
    "chunks in capitals": (post(b"x", b"TRANSFER-ENCODING: CHUNKED"), 411),
    "an endless chunk": (post(b"f" * 9000, b"Transfer-Encoding: chunked", length=b""), 411),
    "chunks in HTTP/1.0": (post(SCAN, b"Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0"), 411),
    "a negative length": (post(b"", length=b"-10"), 400),
    "a signed length": (post(b"hello", length=b"+5"), 400),
    "a text length": (post(b"", length=b"ten"), 400),
    "a hexadecimal length": (post(b"", length=b"0x10"), 400),
    "an Arabic length": (post(b"", length="٥".encode()), 400),
    "two lengths": (post(b"hello", b"Content-Length: 6"), 400),
    "a length of 5,000 digits": (post(b"", length=b"9" * 5000), 400),
    "a length of a terabyte": (post(b"hello", length=b"1000000000000"), 413),
    "a terabyte, asked for": (post(b"", b"Expect: 100-continue", length=b"1000000000000"), 413),
    "a foreign origin": (post(SCAN, b"Origin: http://evil.example"), 403),
    "no origin": (post(SCAN, b"Origin: null"), 403),
    "an origin that begins like ours": (post(SCAN, b"Origin: http://localhost.evil.example"), 403),
    "two origins": (post(SCAN, b"Origin: http://localhost", b"Origin: http://evil.example"), 403),
    "a foreign site": (post(SCAN, b"Sec-Fetch-Site: cross-site"), 403),
    "a foreign host": (get(host=b"evil.example:8090"), 403),
    "a host that begins like ours": (get(host=b"127.0.0.1.evil.example"), 403),
    "two hosts": (get(b"/", b"Host: evil.example"), 403),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 403),
    "text": (post(SCAN, b"Content-Type: text/plain"), 415),
    "JSON": (post(b"{}", b"Content-Type: application/json"), 415),
    "a form": (post(SCAN, b"Content-Type: multipart/form-data; boundary=x"), 415),
    "a form of 100,000 parts": (multipart(100_000), 415),
    "a form without boundary": (post(SCAN, b"Content-Type: multipart/form-data"), 415),
    "a form field of a browser": (
        post(SCAN, b"Content-Type: application/x-www-form-urlencoded", b"Sec-Fetch-Site: same-origin"),
        415,
    ),
    "gzip": (post(SCAN, b"Content-Encoding: gzip"), 415),
    "brotli": (post(SCAN, b"Content-Encoding: br"), 415),
    "no image": (post(b"hello"), 422),
    "a page": (post(b"<html><script>alert(1)</script>"), 422),
    "a vector picture": (post(b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'), 422),
    "half a picture": (post(SCAN[: len(SCAN) // 2]), 422),
    "a name that climbs": (post(b"x", path=b"/answer?name=..%2f..%2f..%2fetc%2fpasswd"), 422),
    "a name of a megabyte": (post(SCAN, path=b"/answer?name=" + b"a" * MEGABYTE), 431),
    "a name of control characters": (post(b"x", path=b"/answer?name=%1b%5b2J%00%0d%0aSet-Cookie:x"), 422),
    "a name that is not UTF-8": (post(SCAN, path=b"/answer?name=%ff%fe&noise=%ff"), 200),
    "1,000 fields": (post(SCAN, path=b"/answer?" + b"&".join(b"a%d=1" % number for number in range(1000))), 200),
    "an unknown noise": (post(SCAN, path=b"/answer?noise=__class__"), 422),
    "10,000 headers": (get(b"/", *(b"X%d: 1" % number for number in range(10_000))), 431),
    "a header of a megabyte": (get(b"/", b"X: " + b"a" * MEGABYTE), 431),
    "a long address": (get(b"/" + b"a" * 100_000), 431),
    "a broken header": (get(b"/", b"no colon"), 400),
    "a folded header": (get(b"/", b"X: a", b" folded"), 200),
    "a folded host": (get(b"/", b" folded"), 403),
    "a bare line feed": (get(b"/", b"X: a\nY: b"), 400),
    "half an IPv6 address": (get(b"http://["), 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 403),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 403),
    "TLS": (bytes.fromhex("16030100") + b"\x01" * 300 + b"\r\n\r\n", 400),
    "another file": (get(b"/etc/passwd"), 404),
    "a path that climbs": (get(b"/../../../../etc/passwd"), 404),
    "a path that climbs, written otherwise": (get(b"/..%2f..%2f..%2fetc%2fpasswd"), 404),
    "another method": (get(b"/answer"), 405),
    "DELETE": (get(b"/").replace(b"GET", b"DELETE"), 405),
    "TRACE": (get(b"/").replace(b"GET", b"TRACE"), 405),
    "CONNECT": (b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "what a browser asks before it sends": (get(b"/answer", b"Origin: http://evil.example").replace(b"GET", b"OPTIONS"), 403),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_gets_its_answer_and_nothing_of_this_machine(kind, served):
    process, port, folder = served
    content, status = REQUESTS[kind]
    answer = talk(port, content, end=kind == "half closed")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status, answer[:300]
    for header in (b"X-Content-Type-Options: nosniff", b"Cache-Control: no-store", b"frame-ancestors 'none'"):
        assert header in head
    assert answer.count(b"HTTP/1.") == 1
    assert b"Traceback" not in body
    assert b"root:" not in body
    if status != 200:
        assert body.count(b"\n") <= 1
        assert len(body) < 500
    assert list(folder.iterdir()) == [], "nothing is left in the temporary folder"
    assert process.poll() is None


def mat(change):
    """Returns an upload of a slice as MATLAB writes it, changed by a function."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["cjdata/image"] = np.zeros((64, 64), np.int16)
        file["cjdata/label"] = np.array([[1.0]])
        file["cjdata/PID"] = np.array([[49], [50]], np.uint16)
        change(file)
    return post(content.getvalue(), path=b"/answer?name=x.mat")


def test_an_upload_that_names_another_file_gets_none_of_it(served, secret):
    _, port, _ = served
    other = secret.with_suffix(".mat")
    with h5py.File(other, "w") as file:
        file["image"] = np.full((64, 64), 77, np.int16)

    def stored(file):
        del file["cjdata/image"]
        file.create_dataset("cjdata/image", (64, 64), "<i2", external=[(str(secret), 0, 64 * 64 * 2)])

    def linked(file):
        del file["cjdata/image"]
        file["cjdata/image"] = h5py.ExternalLink(str(other), "/image")

    def mapped(file):
        del file["cjdata/image"]
        layout = h5py.VirtualLayout((64, 64), "<i2")
        layout[:] = h5py.VirtualSource(str(other), "image", (64, 64))
        file.create_virtual_dataset("cjdata/image", layout)

    assert talk(port, mat(lambda file: None)).startswith(b"HTTP/1.1 200")
    for change in (stored, linked, mapped):
        assert talk(port, mat(change)).startswith(b"HTTP/1.1 422")


def test_of_600_megabytes_in_chunks_a_tenth_is_taken_at_most(served):
    process, port, _ = served
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(post(b"", b"Transfer-Encoding: chunked", length=b"10"))
        try:
            while sent < 600 * MEGABYTE:
                connection.sendall(b"100000\r\n" + bytes(MEGABYTE) + b"\r\n")
                sent += MEGABYTE
        except OSError:
            pass
    assert sent < 100 * MEGABYTE
    assert peak_megabytes(process) < 1500


def test_of_300_slow_uploads_none_stays_and_others_are_answered(served):
    _, port, _ = served
    begun = time.monotonic()
    slow = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(300)]
    for number, connection in enumerate(slow):
        connection.sendall(post(b"abc", length=b"50000") if number % 2 else b"POST /answer HTTP/1.1\r\nHost: loc")
    assert talk(port, post(SCAN)).startswith(b"HTTP/1.1 200")
    waiting = set(slow)
    while waiting and time.monotonic() - begun < 90:
        for connection in list(waiting):
            connection.setblocking(False)
            try:
                connection.send(b"x")  # a byte now and then does not make it fast
                if connection.recv(65536):
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            waiting.discard(connection)
            connection.close()
        time.sleep(1)
    assert not waiting
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("compression", [0, 1])
def test_of_50_large_pictures_at_once_each_is_answered_or_told_to_wait(served, compression):
    process, port, folder = served
    pixels = np.random.default_rng(0).integers(0, 256, (4096, 4096, 3), dtype=np.uint8)
    pixels = pixels if compression == 0 else np.zeros_like(pixels)
    body = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, compression])[1].tobytes()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(talk(port, post(body))[:500])) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = Counter(int(answer.split()[1]) for answer in answers)
    assert found.total() == 50, "none was reset"
    assert set(found) == {200, 503}
    assert all(b"Retry-After: " in answer for answer in answers if b" 503 " in answer[:20])
    assert peak_megabytes(process) < 1500
    assert list(folder.iterdir()) == []
    assert talk(port, post(SCAN)).startswith(b"HTTP/1.1 200")


# --- Pages --------------------------------------------------------------------------------------------------------------------


@contextmanager
def listener():
    """Counts who asks for anything."""
    hits = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield server.server_address[1], hits


def look(page, folder):
    """Opens a page in Chromium; returns what it became and the console's complaints."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    flags = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--virtual-time-budget=10000", "--enable-logging=stderr", "--v=0"),
    )
    command = [chromium, *flags, f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def texts(port):
    return [
        f'<img src="http://127.0.0.1:{port}/a">',
        f'"><script src=//127.0.0.1:{port}/b></script>',
        f"![x](http://127.0.0.1:{port}/c)",
        f"</title></style></script><link rel=stylesheet href=http://127.0.0.1:{port}/d>",
        f"[x](javascript:fetch('http://127.0.0.1:{port}/e'))",
        f"<svg onload=\"fetch('http://127.0.0.1:{port}/f')\">",
        f"<a href='http://127.0.0.1:{port}/g'><b>x</b></a>",
    ]


def test_a_listener_hears_a_page_that_is_not_locked(tmp_path):
    with listener() as (port, hits):
        (tmp_path / "page.html").write_text(f"<body>{texts(port)[0]}</body>")
        look(tmp_path / "page.html", tmp_path)
    assert hits == ["/a"]


@pytest.fixture(scope="module")
def measured(model):
    loaded = load_model(model)
    labels = np.arange(16) % 4
    probabilities = np.roll(np.eye(4)[labels], 1, axis=0) * 0.6 + 0.1
    noisy = {("gaussian", severity): probabilities for severity in range(1, 6)}
    provenance = {"model_sha256": loaded.sha256}
    return loaded, measure(Predictions(probabilities, noisy), image_set(labels), Plan(resamples=20), provenance=provenance)


@pytest.mark.parametrize("number", range(7))
def test_card_and_evaluation_load_nothing_whatever_their_text(number, measured, tmp_path):
    from dataclasses import replace

    loaded, evaluation = measured
    with listener() as (port, hits):
        text = texts(port)[number]
        provenance = {**loaded.provenance, "exported": {text: text, "study": text}, "keras": text, "numpy": text}
        config = loaded.config.model_copy(update={"data": (text,), "weights": text})
        stranger = SavedModel(loaded.classes, config, provenance, loaded.calibration, network=loaded.network)
        (tmp_path / "card.html").write_text(render_card(write_card(stranger, evaluation, text), text), encoding="utf-8")
        mistakes = tuple(replace(mistake, key=text) for mistake in evaluation.mistakes)
        told = replace(
            evaluation,
            name=text,
            classes=(text, *CLASSES[1:]),
            mistakes=mistakes,
            provenance={text: text},
        )
        images = np.zeros((16, 32, 32, 3), np.uint8)
        page = render_evaluation(told, images, replace(evaluation, name=text))
        (tmp_path / "evaluation.html").write_text(page, encoding="utf-8")
        shown = {name: look(tmp_path / f"{name}.html", tmp_path) for name in ("card", "evaluation")}
    assert hits == []
    for dom, complaints in shown.values():
        assert complaints == []
        assert "Content-Security-Policy" in dom
        assert f"127.0.0.1:{port}" in dom, "it is shown, as text"
    assert shown["evaluation"][0].count("main-svg") >= 4, "Plotly draws under the policy"


def test_an_audit_loads_nothing_whatever_its_names(tmp_path):
    with listener() as (port, hits):
        folder = tmp_path / f"<img src=http:\\\\127.0.0.1:{port}\\x>"
        for start, label in enumerate(("glioma", "meningioma", "notumor", "pituitary")):
            for number in range(6):
                name = f"<img src=http:\\\\127.0.0.1:{port}\\{number}>.png"
                write(folder / label / name, blob(100 * start + number))
        write(folder / "glioma" / "copy.png", blob(5))
        write(folder / "pituitary" / "<svg onload=alert(1)>.png", blob(5))
        page = tmp_path / "audit.html"
        done = CliRunner().invoke(
            audit_command.command, [str(folder), "--html", str(page), "--cache-dir", str(tmp_path / "cache")]
        )
        assert done.exit_code == 0, done.output
        dom, complaints = look(page, tmp_path)
    assert hits == []
    assert complaints == []
    assert "Content-Security-Policy" in dom
    assert dom.count("<img src=") == 0


def test_every_command_that_opens_a_model_refuses_a_bad_one_in_one_line(members, tmp_path, monkeypatch, capfd):
    bad = tmp_path / "bad.keras"
    bad.write_bytes(card(members, put("calibration", "temperature", value=0.0)))
    scan = write(tmp_path / "scan.png", blob(1))
    (tmp_path / "test.json").write_text("{}")
    before = sorted(tmp_path.iterdir())
    commands = (
        ["predict", "-m", bad, scan],
        ["serve", "-m", bad, "--port", "0"],
        ["evaluate", bad],
        ["card", bad, tmp_path / "test.json", "-o", tmp_path / "card.md"],
        ["export-model", bad, "-o", tmp_path / "model.onnx"],
    )
    for command in commands:
        monkeypatch.setattr(sys, "argv", ["tumorcls", *map(str, command)])
        with pytest.raises(SystemExit) as end:
            main()
        told = capfd.readouterr().err
        lines = [line for line in told.splitlines() if line.startswith("error: ") or "Traceback" in line]
        assert (end.value.code, len(lines)) == (1, 1), told
        assert "calibration.temperature" in lines[0]
    assert sorted(tmp_path.iterdir()) == before


def test_no_bad_model_is_another_kind_of_error(members, tmp_path):
    """One byte of 400 of an archive whose weights are none becomes another."""
    content = pack(members, weights=b"none")
    rng = np.random.default_rng(0)
    for at in range(0, len(content), 400):
        changed = bytearray(content)
        changed[at] = int(rng.integers(256))
        (tmp_path / "model.keras").write_bytes(changed)
        with pytest.raises(TumorclsError):
            load_model(tmp_path / "model.keras")
