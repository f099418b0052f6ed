from pathlib import Path

import pytest

from search.text import file_name


@pytest.mark.parametrize("name", ["demo", "demo-finalists", "no-name-1b3c", "a b", "Größe", "50%", "100%ig", "v1.2", "x" * 255])
def test_an_ordinary_name_is_its_own_file_name(name):
    assert file_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        " ",
        "a/b",
        "/etc",
        "../../x",
        "a/../b",
        "a\0b",
        "a\nb",
        "\udcff",
        "x" * 256,
        "é" * 128,
        "/" * 300,
    ],
)
def test_any_other_becomes_one_visible_part_of_a_path(name, tmp_path):
    shown = file_name(name)
    assert Path(shown).parts == (shown,)
    assert shown.isprintable()
    assert shown[0] not in ". "
    (tmp_path / shown).mkdir()


def test_no_two_names_have_one_file_name():
    names = ["", "%", ".", "%2E", "a/b", "a%2Fb", "a%2fb", "a%252Fb", "%/", "%2/", "%%2F", "x" * 256, "x" * 257, "a\n", "a%0A"]
    assert len({file_name(name) for name in names}) == len(names)
