import pytest
from optuna.distributions import CategoricalDistribution

from search.results.report.facts import gather
from search.results.report.landscape import parallel_coordinates


@pytest.mark.parametrize("choices", [[None, "relu"], [None, 1]])
def test_a_choice_that_is_none_is_not_a_parameter_that_a_trial_lacks(study, add, choices):
    space = {"act": CategoricalDistribution(choices)}
    for number, params in enumerate(({"act": choices[1]}, {"act": None}, {})):
        add(study, number / 10, params=params, space=space)
    facts = gather(study)
    figure = parallel_coordinates(facts, facts.metrics[0], ["act"])
    heights = {text: y for trace in figure.data for x, y, text in zip(trace.x, trace.y, trace.text, strict=True) if x == 0}
    assert heights == {"trial 0: 0": 1.0, "trial 1: 0.1": 0.0, "trial 2: 0.2": -0.12}
    assert "not used" in {annotation.text for annotation in figure.layout.annotations}
