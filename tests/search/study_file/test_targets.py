import pytest

from search.errors import ObjectiveError
from search.study_file.targets import import_object


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
