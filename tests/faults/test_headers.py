"""Nothing of a patient's header is in anything that a study, a model or a page leaves behind."""

import io
import zipfile

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from search.driver import launch
from tests.inline import InlineExecutor
from tests.tumorcls.volume_files import DEPTH, ID, NAME, SECRETS, write_dicom, write_nifti
from tumorcls.commands import audit, card, evaluate, predict, prepare, train
from tumorcls.data.phantom import render
from tumorcls.model import backbone
from tumorcls.model.backbone import FROZEN_OUTPUT

pytestmark = pytest.mark.slow

PLACES = {
    "PatientID": f"{ID}-1",
    "PatientName": NAME,
    "PatientBirthDate": "19420607",
    "AccessionNumber": ID,
    "InstitutionName": f"{NAME} hospital",
    "StudyDescription": NAME,
    "SeriesDescription": NAME,
    "StudyInstanceUID": "1.2.840.98765.1",
    "ImageComments": f"{NAME} {ID}",
}
PLANTED = [text.encode() for text in (*SECRETS, *NAME.split("^"), "19420607", "1.2.840.98765")]


@pytest.fixture
def data(folder):
    """Class folders of volumes, each in one of three kinds of file, and of each kind one that is broken."""
    for number, label in enumerate(("glioma", "meningioma", "pituitary", "no_tumor")):
        for k in range(9):
            picture = render(label, np.random.default_rng(100 * number + k), 64)
            slices = np.stack([(picture * share).astype(np.uint8) for share in np.linspace(0.6, 1, DEPTH)])
            place, tags = folder / "data" / label, {**PLACES, "PatientID": f"{ID}-{number}-{k}"}
            if k < 3:
                write_nifti(place / f"{k}.nii{'.gz' * (k % 2)}", slices)
            elif k < 6:
                write_dicom(place / f"{k}.dcm", slices, **tags, NumberOfFrames=DEPTH)
            else:
                tags |= {"SeriesInstanceUID": f"1.2.840.98765.{number}.{k}"}
                for z, one in enumerate(slices):
                    write_dicom(place / f"{k}" / f"{z}.dcm", one, **tags, InstanceNumber=z)
    for name in ("0.nii", "1.nii.gz", "3.dcm"):
        content = (folder / "data" / "glioma" / name).read_bytes()
        (folder / "data" / "glioma" / f"cut-{name}").write_bytes(content[: len(content) * 2 // 3])
    return folder / "data"


def contents(path):
    """Yields what a file holds, and what is packed in it."""
    content = path.read_bytes()
    yield content
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            yield from (packed.read(name) for name in packed.namelist())


def small_network(size, weights=None, drawn=False):
    """Returns a network with the layers by whose names EfficientNetB0's are found: it compiles in a moment."""
    layers = keras.layers
    seen = keras.Input((size, size, 3))
    channels = layers.Conv2D(112, 3, strides=8, name=FROZEN_OUTPUT["block6"])(seen)
    channels = layers.Conv2D(192, 1, name=FROZEN_OUTPUT["block7"])(channels)
    last = layers.Activation("relu", name="top_activation")(layers.BatchNormalization()(layers.Conv2D(1280, 1)(channels)))
    return keras.Model(seen, layers.GlobalAveragePooling2D(name=FROZEN_OUTPUT["head"])(last))


@pytest.fixture
def light(monkeypatch):
    """Has a study and all commands run in this process, with a network that is small: no header is its concern."""
    monkeypatch.setattr(launch, "LocalExecutor", InlineExecutor)
    monkeypatch.setattr(backbone, "_efficientnet", small_network)


@pytest.mark.usefixtures("data", "light")
def test_a_whole_run_leaves_nothing_of_a_header_behind(folder, write, search, monkeypatch):
    pytest.importorskip("nibabel")
    pytest.importorskip("pydicom")
    monkeypatch.setenv("TUMORCLS_CACHE", str(folder / "cache"))
    said = []

    def tumorcls(command, *arguments, code=0):
        done = CliRunner().invoke(command.command, list(map(str, arguments)), catch_exceptions=False)
        assert done.exit_code == code, done.output
        said.append(done.output)

    write(
        study={"objective": '"tumorcls.objective:BrainTumourObjective"', "metric": None, "trials": "1"},
        space={"x": None, "learning_rate": '{ type = "float", low = 0.001, high = 0.01 }'},
        objective={
            **{"data": '"data"', "slices": '"all"', "weights": '"none"', "batch_norm": '"train"', "image_size": "32"},
            **{"trainable_from": '"head"', "epochs": "1", "views": "1", "noisy_images": "8"},
        },
    )
    tumorcls(audit, "data", "--slices", "all", "--html", "audit.html")
    tumorcls(prepare, "data", "--out", "prepared")
    for arguments in (("launch", "demo.toml"), ("export", "demo.toml", "-o", "best.toml"), ("report", "demo.toml")):
        done = search(*arguments)
        said.append(done.stdout + done.stderr)
    tumorcls(train, "--config", "best.toml", "-o", "model.keras")
    tumorcls(evaluate, "model.keras", "-o", "test.json", "--html", "test.html")
    tumorcls(card, "model.keras", "test.json", "-o", "card.md")
    tumorcls(predict, "data/glioma", "-m", "model.keras", "--format", "json", "-o", "answers.json", "--overlay", "seen", code=1)
    (folder / "said.txt").write_text("\n".join(said))
    files = [path for path in folder.rglob("*") if path.is_file() and path.parts[len(folder.parts)] != "data"]
    for name in ("demo.db", "audit.html", "prepared/manifest.csv", "model.keras", "card.md", "answers.json", "said.txt"):
        assert folder / name in files
    assert (
        "glioma/0.nii#3" in (folder / "prepared" / "manifest.csv").read_text() or "0.nii" in (folder / "said.txt").read_text()
    )
    for path in files:
        for content in contents(path):
            assert [text for text in PLANTED if text in content] == [], path
