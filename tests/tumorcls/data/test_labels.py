import pytest

from tumorcls.data.labels import exact_percent, percent, probability


@pytest.mark.parametrize(
    ("share", "shown"),
    [(1.0, "100%"), (0.9996, ">99%"), (0.995, ">99%"), (0.994, "99%"), (0.5, "50%"), (0.01, "1%"), (0.004, "<1%"), (0.0, "0%")],
)
def test_nearly_all_is_not_all(share, shown):
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(1.0, "1.000"), (0.9996, ">0.999"), (0.9994, "0.999"), (0.0006, "0.001"), (0.0004, "<0.001"), (0.0, "0.000")],
)
def test_nearly_certain_is_not_certain(share, shown):
    assert probability(share) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0.9, "90%"), (0.995, "99.5%"), (0.07, "7%"), (0.99995, "99.995%"), (0.0004, "0.04%"), (1.0, "100%")]
)
def test_what_was_asked_for_keeps_its_digits(share, shown):
    assert exact_percent(share) == shown
