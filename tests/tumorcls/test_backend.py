import importlib.util
import os
import subprocess
import sys
import time

import pytest

from tumorcls.backend import select_backend
from tumorcls.cli import COMMANDS
from tumorcls.errors import BackendError


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Returns a function that sets which backends there are, with none chosen."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def have(*names):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in names else None)

    return have


def test_no_backend_names_the_extra_that_brings_one(installed, monkeypatch):
    installed()
    with pytest.raises(BackendError, match=r"tumorcls\[cpu\]") as caught:
        select_backend()
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(BackendError, match=r"tumorcls\[jax\]"):
        select_backend()


def test_tensorflow_is_taken_first_and_jax_where_it_is_alone(installed, monkeypatch):
    installed("tensorflow", "jax")
    assert select_backend() == "tensorflow"
    monkeypatch.delenv("KERAS_BACKEND")
    installed("jax")
    assert select_backend() == "jax"
    assert os.environ["KERAS_BACKEND"] == "jax"


def test_the_users_choice_counts(installed, monkeypatch, tmp_path):
    installed("tensorflow", "jax")
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    assert select_backend() == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(BackendError, match="got 'torch'"):
        select_backend()


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=lambda a: a[0])
def test_help_waits_for_no_backend(arguments):
    code = (
        "import sys\nfrom tumorcls.cli import main\nsys.argv = ['tumorcls', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    print(sorted({'keras', 'tensorflow', 'jax', 'sklearn'} & set(sys.modules)))"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Usage: tumorcls" in done.stdout
    assert time.monotonic() - started < 5, "a backend takes longer to import"
