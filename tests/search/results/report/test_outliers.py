"""One trial that diverged squeezes no chart."""

import base64
import random

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution

from search.results.report.comparison import compare
from search.results.report.comparison_page import render as render_comparison
from search.results.report.facts import gather
from search.results.report.figures import pareto_front
from search.results.report.landscape import contour, parallel_coordinates
from search.results.report.page import render
from tests.search.results.report.conftest import charts

SIGNS = {"minimize": 1, "maximize": -1}


@pytest.fixture
def make(add):
    """Makes a study in which less is better, or more where directions say so, and one trial has a value far worse."""

    def make_study(*directions, diverged=20, name="own"):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(study_name=name, directions=directions)
        for at in range(40):
            params = {"rate": 0.02 * (at + 1), "epochs": 2 + at % 3, "kind": "ab"[at % 2]}
            loss = 1e6 if at == diverged else 0.2 + params["rate"] + 0.1 * params["epochs"]
            values = tuple(SIGNS[direction] * loss for direction in directions)
            reports = [2 * values[0], values[0]] if len(directions) == 1 else ()
            add(study, values, params=params, reports=reports, start=10 * at)
        return study

    return make_study


def numbers(drawn):
    """Returns the numbers of a trace's coordinates, which Plotly writes in base 64 where they come as an array."""
    if isinstance(drawn, dict):
        return np.frombuffer(base64.b64decode(drawn["bdata"]), drawn["dtype"]).tolist()
    return [one for one in drawn or () if isinstance(one, int | float)]


def squeezed(html):
    """Returns the charts with an axis or a colour that reaches as far as the outlier."""
    found = []
    for traces, layout in charts(html):
        for kind in "xyz":
            limits = layout.get(f"{kind}axis", {}).get("range")
            reached = limits or [one for trace in traces for one in numbers(trace.get(kind))]
            if any(isinstance(one, int | float) and abs(one) > 1e5 for one in reached):
                found.append((traces[0]["name"] if "name" in traces[0] else traces[0]["type"], kind))
    return found


@pytest.mark.parametrize("directions", [["minimize"], ["maximize"], ["minimize", "maximize"]])
def test_no_chart_of_a_report_is_squeezed(directions, make):
    assert squeezed(render(make(*directions))) == []


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_no_curve_of_a_comparison_is_squeezed_by_where_it_begins(direction, make):
    sides = [(name, [make(direction, name=name, diverged=at)]) for name, at in (("a", 0), ("b", 20))]
    assert squeezed(render_comparison(compare(sides))) == []
    [(traces, layout), _] = charts(render_comparison(compare(sides)))
    low, high = layout["yaxis"]["range"]
    assert all(low < trace["y"][-1] < high for trace in traces)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_line_of_an_outlier_ends_where_the_axis_says_so(direction, make):
    facts = gather(make(direction))
    figure = parallel_coordinates(facts, facts.metrics[0], ["rate"])
    ends = {text: y for trace in figure.data for x, y, text in zip(trace.x, trace.y, trace.text, strict=True) if x == 1}
    edge = 1.0 if direction == "minimize" else 0.0
    assert ends[f"trial 20: {SIGNS[direction] * 1e6:.6g}"] == edge
    assert max(ends.values()) - min(ends.values()) == 1
    assert np.ptp([end for text, end in ends.items() if "e+06" not in text]) > 0.9
    assert [(note.y, note.text.split()[1:]) for note in figure.layout.annotations if "worse" in note.text] == [
        (edge, ["or", "worse"])
    ]


def test_an_outlier_is_as_bad_as_the_worst_that_a_contour_shows(make):
    facts = gather(make("minimize"))
    z = contour(facts, facts.metrics[0], ("rate", "epochs")).data[0].z
    assert 0.4 < np.nanmin(z) < np.nanmax(z) < 1.6


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_an_outlier_alone_does_not_decide_what_matters(direction, add):
    """Where nothing but ``a`` does, and a tree finds what sets the outlier apart in any parameter."""
    study, generator = optuna.create_study(direction=direction), random.Random(0)
    space = {name: FloatDistribution(0, 1) for name in "abc"}
    for at in range(60):
        params = {name: generator.random() for name in space}
        add(study, SIGNS[direction] * (1e6 if at == 10 else params["a"]), params=params, space=space)
    [found] = gather(study).importances
    assert found.fanova["a"] > 0.9


def test_a_front_shows_its_baseline_and_all_of_it(add, make):
    study = make("minimize", "minimize")
    add(study, (0.1, 5e5), system_attrs={"fixed_params": {"rate": 0.1}})
    add(study, (5e5, 0.1))
    add(study, (2e5, 2e5))
    facts = gather(study)
    layout = pareto_front(facts, *facts.metrics).layout
    for axis in (layout.xaxis, layout.yaxis):
        assert axis.range[0] < 0.1
        assert 5e5 < axis.range[1] < 1e6
