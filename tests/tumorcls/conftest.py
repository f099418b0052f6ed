import os
from pathlib import Path

import pytest

from tests.in_process import sharing
from tests.tumorcls.pictures import sartaj_sample
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.labels import CLASSES


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Returns a folder in the SARTAJ layout: real images where TUMORCLS_DATA names them, else phantoms; 24 of each class."""
    return sartaj_sample(tmp_path_factory.mktemp("images") / "sartaj")


@pytest.fixture(scope="session")
def public_sets():
    """Returns the two public sets that the folder of TUMORCLS_DATA holds."""
    root = os.environ.get("TUMORCLS_DATA")
    if not root:
        pytest.skip("TUMORCLS_DATA must name the folder that holds sartaj/ and nickparvar/")
    return {name: Path(root) / name for name in ("sartaj", "nickparvar")}


@pytest.fixture(scope="session")
def pretrained():
    """Returns settings for the weights that TUMORCLS_WEIGHTS names, or for those that know phantoms."""
    return {"weights": os.environ.get("TUMORCLS_WEIGHTS") or "phantoms"}


@pytest.fixture(scope="session")
def settings(images, pretrained):
    """Returns the settings of a run that takes a second: small images, only the head trained."""
    return {
        "data": [str(images)],
        "split": {"validation": 0.25, "test": 0.25},
        "image_size": 32,
        "trainable_from": "head",
        "views": 2,
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 0.01,
        "noisy_images": 16,
        **pretrained,
    }


@pytest.fixture(scope="session")
def make_config(settings):
    """Returns a function from changed settings to a config."""
    return lambda **changed: TrainConfig.parse({**settings, **changed}, where="test")


class Noted:
    """A config that notes which of its settings are read."""

    def __init__(self, config):
        self.config, self.read = config, set()

    def __getattr__(self, name):
        self.read.add(name)
        return getattr(self.config, name)


@pytest.fixture
def noted(make_config):
    return Noted(make_config())


@pytest.fixture
def five_blocks(monkeypatch):
    """Has networks be made of EfficientNet's first five blocks of sixteen; returns the settings that go with them.

    To compile the training of all sixteen takes twice as long. Among the five are both sizes of kernels, strides of one and of
    two, and two blocks with drop-connect, which the one that is trained with `block7` lacks.
    """
    from keras.src.applications import efficientnet

    monkeypatch.setattr(efficientnet, "DEFAULT_BLOCKS_ARGS", efficientnet.DEFAULT_BLOCKS_ARGS[:3])
    return {"weights": "none", "batch_norm": "train"}


@pytest.fixture(scope="session")
def untrained(make_config):
    """Returns a model of four classes with random weights for images of 32 pixels, from which others differ by `replace`."""
    import keras

    from tumorcls.model.backbone import build_backbone, build_classifier
    from tumorcls.model.calibration import Calibration
    from tumorcls.model.conformal import ClassSets
    from tumorcls.model.saved_model import SavedModel

    keras.utils.set_random_seed(0)
    head = keras.layers.Dense(4)
    head.build((None, 1280))
    sets = ClassSets(coverage=0.9, cutoff=0.2)
    calibration = Calibration(temperature=1.5, threshold=0.6, max_error=0.05, coverage=0.9, error=0.04, images=50, sets=sets)
    network = build_classifier(build_backbone(32, "none"), head, 0.3, calibration.temperature)
    return SavedModel(CLASSES, make_config(), {"seed": 3, "split_sha256": "abc"}, calibration, network=network)


@pytest.fixture(scope="session")
def programs():
    """Returns the compiled programs of the session; one that is reset gives what a fresh one does, says `test_program.py`."""
    from tumorcls.model.program_cache import ProgramCache

    return ProgramCache()


@pytest.fixture(scope="module")
def shared_programs(programs):
    """Has every trainer that a module's tests make, even inside a command, use the session's programs."""
    with sharing(programs):
        yield


@pytest.fixture(scope="session")
def trainer(make_config, shared_cache, programs):
    """Returns a trainer for tests that do not ask how one begins."""
    from tumorcls.training.trainer import Trainer

    opened = Trainer.open(make_config(), shared_cache)
    opened.programs = programs
    return opened


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """Returns a cache folder for all tests that only read what others may have made."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def nobodys_cache(monkeypatch, shared_cache):
    """Keeps tests away from the user's own cache; one that needs an empty cache sets another."""
    monkeypatch.setenv("TUMORCLS_CACHE", str(shared_cache))
