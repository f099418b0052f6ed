import os

import pytest

from tests.tumorcls.pictures import sartaj_sample
from tumorcls.config.train_config import TrainConfig
from tumorcls.model.backend import select_backend

# Set here, before any test module imports Keras.
select_backend()


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Returns a folder in the SARTAJ layout: real images where TUMORCLS_DATA names them, else phantoms; 24 of each class."""
    return sartaj_sample(tmp_path_factory.mktemp("images") / "sartaj")


@pytest.fixture(scope="session")
def pretrained():
    """Returns settings for the weights that TUMORCLS_WEIGHTS names, or for random ones."""
    weights = os.environ.get("TUMORCLS_WEIGHTS")
    return {"weights": weights} if weights else {"weights": "none", "batch_norm": "train"}


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


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """Returns a cache folder for all tests that only read what others may have made."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def nobodys_cache(monkeypatch, shared_cache):
    """Keeps tests away from the user's own cache; one that needs an empty cache sets another."""
    monkeypatch.setenv("TUMORCLS_CACHE", str(shared_cache))
