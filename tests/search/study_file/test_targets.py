from pathlib import Path

import pytest

from search.errors import ObjectiveError
from search.study_file.targets import hidden_beside, import_object, local_module


def test_an_attribute_of_an_attribute(folder):
    assert import_object("objectives:Parabola.__call__", "study.objective").__name__ == "__call__"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("objective:X", 'no module named "objective". Check objective.data, and run from the folder that holds the module'),
        ("objectives:Parabol", 'objectives has no attribute "Parabol". Did you mean "Parabola"?'),
    ],
)
def test_what_is_not_there(target, message):
    with pytest.raises(ObjectiveError) as caught:
        import_object(target, "objective.data")
    assert str(caught.value) == message


def test_a_module_of_a_folder_that_has_the_name_of_this_package_is_hidden(folder):
    """Not so the checkout that it was installed from, and a folder of data."""
    (folder / "search" / "study_file").mkdir(parents=True)
    assert hidden_beside(folder) == ""
    (folder / "search" / "__init__.py").touch()
    assert hidden_beside(folder) == hidden_beside(Path(__file__).parents[3]) == ""
    (folder / "search" / "study_file").rmdir()
    assert hidden_beside(folder) == "search/__init__.py"
    assert local_module("search.keras_tuner:HyperModelObjective", folder) is None, "which is this package's all the same"
    (folder / "search" / "__init__.py").unlink()
    (folder / "search.py").touch()
    assert hidden_beside(folder) == "search.py"
