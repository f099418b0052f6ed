import pytest
from pydantic_core import PydanticCustomError

from search.study_file.units import parse_duration, parse_size
from search.text import format_size


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("8h", 28800), ("1.5 h", 5400), (7, 7), ("7", 7)])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("value", ["soon", "", "-5s", 0, True, None, "5 w"])
def test_no_durations(value):
    with pytest.raises(PydanticCustomError, match="must be a positive time"):
        parse_duration(value)


@pytest.mark.parametrize(("text", "size"), [("800MB", 800_000_000), ("4GB", 4 * 10**9), ("1.5 GiB", 3 * 2**29)])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("value", ["4", 4, "4 gb", "0GB", "-1GB", None, True])
def test_no_sizes(value):
    with pytest.raises(PydanticCustomError, match="must be a positive size with its unit"):
        parse_size(value)


def test_a_size_is_shown_with_its_unit():
    assert (format_size(4_200_000_000), format_size(812_300_000)) == ("4.2 GB", "812 MB")
