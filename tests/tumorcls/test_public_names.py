"""What a program that imports tumorcls gets, and when."""

import subprocess
import sys

import pytest

import tumorcls

WITH_KERAS = {"evaluate", "evaluation_images", "load_model", "train"}


def test_the_names_load_on_first_use():
    code = (
        "import sys, tumorcls\nassert not {'keras', 'numpy', 'tensorflow', 'jax'} & set(sys.modules), 'importing alone'\n"
        "assert tumorcls.TrainConfig(data='x').image_size\nassert 'keras' not in sys.modules\n"
        "assert tumorcls.BrainTumourObjective.defaults\nassert 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", sorted({*tumorcls.__all__} - {"DISCLAIMER", *WITH_KERAS}))
def test_each_name_is_what_its_home_calls_so(name):
    """Those whose homes import Keras are called in test_tutorial.py and test_model_commands.py."""
    assert getattr(tumorcls, name).__name__ == name


def test_a_backend_is_chosen_before_keras_is_imported(monkeypatch):
    """Else Keras takes TensorFlow, be it there or not, with kernels that are not ours."""
    monkeypatch.delitem(vars(tumorcls), "load_model", raising=False)
    loaded = []
    monkeypatch.setattr("tumorcls.model.backend.select_backend", lambda: loaded.append("backend"))
    monkeypatch.setattr(tumorcls, "import_module", lambda name: loaded.append(name) or sys.modules["tumorcls.model.backend"])
    with pytest.raises(AttributeError):
        _ = tumorcls.load_model  # the module that stands for its home has none
    assert loaded == ["tumorcls.model.backend", "backend", "tumorcls.model.saved_model"]


def test_the_names_are_shown_to_who_looks_for_them():
    done = subprocess.run([sys.executable, "-c", "import tumorcls; print(*dir(tumorcls))"], check=True, capture_output=True)
    assert set(done.stdout.decode().split()) >= {*tumorcls.__all__, "__doc__"}


def test_another_name_is_none_of_it():
    with pytest.raises(AttributeError, match="module 'tumorcls' has no attribute 'load_modle'"):
        _ = tumorcls.load_modle
