"""docs/study-files.md says what the code does."""

import re
from pathlib import Path

import pytest

from search import pruners, samplers, study_file
from search.places import RayKeys

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "study-files.md").read_text(encoding="utf-8")


def test_the_example_loads(folder):
    Path("example.toml").write_text(re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1])
    assert study_file.load("example.toml").enqueue == ({"epochs": 20, "learning_rate": 1e-3},)


@pytest.mark.parametrize("name", [*samplers._KINDS, *pruners._KINDS, *study_file._Study.model_fields, *RayKeys.model_fields])
def test_every_name_is_documented(name):
    assert f"`{name}`" in PAGE


def test_the_errors_are_real(write):
    """The first error shown is produced letter for letter."""
    Path("studies").mkdir()
    space = {"x": None, "learning_rate": '{ type = "float", low = 0.0, high = 1.0, log = true }'}
    path = write("studies/x.toml", space=space)
    with pytest.raises(study_file.StudyFileError) as caught:
        study_file.load(path)
    assert f"error: {caught.value}\n" in PAGE


def test_your_own_model(search):
    """The page's files are written, its commands typed, its last lines run."""
    page = (DOCS / "search-your-own-model.md").read_text(encoding="utf-8")
    module, plain = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    Path("objective.py").write_text(module)
    Path("wave.toml").write_text(re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1])
    commands = re.search(r"```console\n(.*?)```", page, re.DOTALL)[1].splitlines()
    for command in commands[:3]:
        search(*command.split()[1:])
    assert "height" in Path("best.toml").read_text()
    scope = {"__name__": "notebook"}
    exec(module + plain, scope)
    assert len(scope["study"].trials) == 15
