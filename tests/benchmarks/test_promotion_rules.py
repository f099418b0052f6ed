import numpy as np
import pytest

from benchmarks.promotion_rules import FAILED, FIRST, RULES, Search


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_search_ends_with_its_epochs_and_with_a_config_that_does_not_fail(rule):
    search = Search(rule, gains=(0.1, 0.1, 0.1), failures=0.5, rng=np.random.default_rng(0))
    found = search.run(60)
    assert found > FIRST + 0.2, "somebody was at the top"
    cost = (2, 2, 4, 8)
    assert 52 <= sum(epochs * len(scores) for epochs, scores in zip(cost, search.scores, strict=True)) <= 60
    assert any(curve[0] == FAILED for curve in search.curves)
