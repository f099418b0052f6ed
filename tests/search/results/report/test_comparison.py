import io
import sqlite3
from contextlib import closing

import optuna
import pytest
from rich.console import Console

from search.errors import StudyError
from search.records.attributes import OWNER_KEY, PROVENANCE_KEY
from search.results.report.comparison import compare, value_at
from search.results.report.comparison_page import print_table, render
from search.results.statistics import difference_interval, mean_interval
from tests.browser import problems
from tests.search.results.report.conftest import charts

SPACE = {"x": optuna.distributions.FloatDistribution(0, 1)}
VALUES = {"a0": (0.3, 0.5, 0.4, 0.7), "a1": (0.5, 0.2, 0.6, 0.9), "b0": (0.8, 0.1, 0.1, 0.1), "b1": (0.1, 0.2, 0.65, 0.3)}


@pytest.fixture
def make(add):
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def make_study(name, values, direction="maximize", storage=None, **extra):
        study = optuna.create_study(study_name=name, direction=direction, storage=storage)
        for at, value in enumerate(values):
            add(study, value, params={"x": 0.5}, space=SPACE, start=10 * at, **extra)
        return study

    return make_study


@pytest.fixture
def sides(make):
    studies = {name: make(name, values, storage="sqlite:///all.db") for name, values in VALUES.items()}
    return [("a", [studies["a0"], studies["a1"]]), ("b", [studies["b0"], studies["b1"]])]


def test_the_numbers_are_those_of_the_storage(sides):
    found = compare(sides)
    query = """SELECT study_name, MAX(value), COUNT(*),
               (julianday(MAX(datetime_complete)) - julianday(MIN(datetime_start))) * 86400
               FROM studies JOIN trials USING (study_id) JOIN trial_values USING (trial_id) GROUP BY study_name"""
    with closing(sqlite3.connect("all.db")) as connection:
        rows = connection.execute(query).fetchall()
    runs = [run for side in found.sides for run in side.runs]
    assert [(run.name, run.best, run.trials) for run in runs] == [row[:3] for row in rows]
    assert [run.wall_s for run in runs] == pytest.approx([row[3] for row in rows], abs=1e-3)
    best = {row[0]: row[1] for row in rows}
    assert found.target == min(best.values()) == 0.65
    a, b = found.sides
    assert a.best == mean_interval([best["a0"], best["a1"]])
    assert (a.gain, b.gain) == (None, difference_interval([best["b0"], best["b1"]], [best["a0"], best["a1"]]))
    assert (a.trials_to_target, b.trials_to_target) == (4, 2)
    assert (a.seconds_to_target, b.seconds_to_target) == (40, 20)


def test_the_curve_holds_improvements_only(sides):
    curve = compare(sides).sides[0].runs[1].by_trials
    assert curve == ((1, 0.5), (3, 0.6), (4, 0.9))
    assert [value_at(curve, x) for x in (0, 1, 2.5, 3, 99)] == [None, 0.5, 0.5, 0.6, 0.9]


def test_pruned_trials_take_trials_and_time(make, add):
    pruned = make("pruned", ())
    add(pruned, 0.9, "PRUNED", params={})
    add(pruned, 0.5, params={}, start=10)
    add(pruned, state="FAIL", params={}, start=20)
    add(pruned, state="RUNNING", params={}, start=30)
    run = compare([("p", [pruned]), ("q", [make("q", (0.4,))])]).sides[0].runs[0]
    assert (run.trials, run.best, run.by_trials, run.by_seconds) == (2, 0.5, ((2, 0.5),), ((20, 0.5),))


def test_time_between_launches_does_not_count(make, add):
    resumed = make("resumed", ())
    for pid, start, value in ((1, 0, 0.1), (2, 1000, 0.2)):
        add(resumed, value, params={}, start=start, user_attrs={OWNER_KEY: {"pid": pid}})
    run = compare([("r", [resumed]), ("q", [make("q", (0.4,))])]).sides[0].runs[0]
    assert (run.by_seconds, run.wall_s) == (((10, 0.1), (20, 0.2)), 20)


def test_a_wall_clock_that_was_set_back_bends_no_figure(two_launches):
    [side] = compare([("two", [two_launches])]).sides
    assert (side.trials_to_target, side.seconds_to_target) == (4, 25 + 5)
    assert side.runs[0].by_seconds == ((5, 5.0), (30, 9.0))
    assert side.runs[0].wall_s == 25 + 15


def test_less_can_be_better(make):
    found = compare([("a", [make("a", (3, 1, 2), "minimize")]), ("b", [make("b", (4, 2), "minimize")])])
    assert [side.best.mean for side in found.sides] == [1, 2]
    assert [side.trials_to_target for side in found.sides] == [2, 2]


def test_other_data_is_told(make):
    attrs = [{PROVENANCE_KEY: {"split_sha256": digest, "keras": "3"}} for digest in "xy"]
    found = compare([(name, [make(name, (1.0,), user_attrs=attr)]) for name, attr in zip("ab", attrs, strict=True)])
    assert found.differing == ("split_sha256",)
    assert "the studies do not agree on split_sha256" in render(found)


def test_the_table_and_the_page_say_the_same(sides):
    found = compare(sides)
    out = io.StringIO()
    print_table(found, Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["a", "b"]
    assert "0.725 ± 0.95" in lines[3]
    assert "…" not in out.getvalue()
    html = render(found)
    assert "<h1>a against b</h1>" in html
    for cell in ("0.725 ± 0.95", "-0.075 ± ", "00:40", "0.65 is the best value that every study reached"):
        assert cell in html


def test_values_whose_sum_is_no_number_are_compared(make):
    studies = {name: make(name, values) for name, values in {"a0": (1.6e308,), "a1": (1.7e308, 1e200), "b": (3e200,)}.items()}
    found = compare([("a", [studies["a0"], studies["a1"]]), ("b", [studies["b"]])])
    print_table(found, Console(file=(out := io.StringIO()), width=80))
    assert "1.65e+308" in out.getvalue()
    assert "-1.65e+308" in render(found)


def test_no_two_of_many_sides_look_alike(make):
    html = render(compare([(name, [make(name, (1.0,))]) for name in "abcdefghijklmnop"]))
    for traces, _ in charts(html):
        assert len({(trace["line"]["color"], trace["line"]["dash"]) for trace in traces}) == 16


@pytest.mark.parametrize(
    ("directions", "values", "message"),
    [
        (["maximize", "minimize"], (1.0, 2.0), "only studies of one direction can be compared; got 2"),
        (["minimize"], 1.0, "must be maximized, as the first study is; got minimized"),
        (["maximize"], None, "must have a COMPLETE trial; got none"),
    ],
)
def test_what_cannot_be_compared(make, add, directions, values, message):
    other = optuna.create_study(study_name="other", directions=directions)
    add(other, values, "FAIL" if values is None else "COMPLETE", params={})
    with pytest.raises(StudyError, match=message):
        compare([("a", [make("a", (1.0,))]), ("other", [other])])


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_metrics_must_be_the_same_unless_one_has_no_name(make):
    studies = [make(name, (1.0,)) for name in "abc"]
    for study, metric in zip(studies[1:], ("f1", "loss"), strict=True):
        study.set_metric_names([metric])
    a, b, c = ((study.study_name, [study]) for study in studies)
    assert compare([a, b]).metric.name == "f1"
    with pytest.raises(StudyError, match='study "c": must measure f1, as the first study does; got loss'):
        compare([a, b, c])


@pytest.mark.slow
@pytest.mark.parametrize("longer", ["", "a_label_of_a_side_" * 11])
def test_it_is_readable_in_any_window(sides, longer, tmp_path):
    if longer:
        with pytest.warns(optuna.exceptions.ExperimentalWarning):
            sides[0][1][0].set_metric_names(["a_name_of_a_metric_" * 11])
    named = [(f"{label}{longer}", studies) for label, studies in sides]
    assert problems(render(compare(named)), "comparison", tmp_path) == []
