import re

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from search.results.report.facts import gather
from search.results.report.landscape import parallel_coordinates, slice_along


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


def test_a_slice_has_each_trial_at_its_place_and_none_as_faint_as_the_ground(study, add):
    space = {"rate": FloatDistribution(1e-4, 1.0, log=True)}
    for number, rate in enumerate((1e-1, 1e-3, 1e-2)):
        add(study, number / 10, params={"rate": rate}, space=space)
    facts = gather(study)
    [points] = slice_along(facts, facts.metrics[0], "rate").data
    assert list(points.x) == pytest.approx([-1, -3, -2])
    assert (list(points.y), list(points.marker.color)) == ([0.0, 0.1, 0.2], [0, 1, 2])
    for _, shade in points.marker.colorscale:
        red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", shade))
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.8, "1 is the page's white, and its black in the dark"
