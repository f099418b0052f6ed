import pytest

from tumorcls.errors import reason


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("It must be\nspecified."), "It must be specified"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("..."), "ValueError"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_reason_is_part_of_a_sentence(error, expected):
    assert reason(error) == expected
