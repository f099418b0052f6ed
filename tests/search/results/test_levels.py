import io
import re
import sys

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState
from rich.console import Console

from search.errors import StudyError
from search.results.levels import levels, print_levels
from search.results.ranking import metrics_of

NO_SCALARS = pytest.mark.filterwarnings("ignore:Choices for a categorical distribution:UserWarning")


def make(pairs, distribution, direction="maximize"):
    """Returns a study with a trial for each (value of `x`, result); None as result is a pruned trial."""
    study = optuna.create_study(direction=direction)
    for x, value in pairs:
        study.enqueue_trial({"x": x})
        trial = study.ask(fixed_distributions={"x": distribution})
        study.tell(trial, value, state=TrialState.PRUNED if value is None else TrialState.COMPLETE)
    return study


def of(study):
    return [(level.name, level.values, level.pruned) for level in levels(study.trials, "x", metrics_of(study)[0])]


def test_few_numbers_are_levels_in_their_order():
    study = make([(0.5, 0.9), (0.0, 0.4), (0.5, None), (0.0, 0.6)], FloatDistribution(0, 1))
    assert of(study) == [("0", (0.4, 0.6), 0), ("0.5", (0.9,), 1)]


def test_categories_and_switches_keep_their_names():
    study = make([("sgd", 0.1), ("adam", 0.2)], CategoricalDistribution(["adam", "sgd"]))
    assert of(study) == [("sgd", (0.1,), 0), ("adam", (0.2,), 0)]
    switches = make([(True, 0.1), (False, 0.2)], CategoricalDistribution([True, False]))
    assert of(switches) == [("False", (0.2,), 0), ("True", (0.1,), 0)]


@NO_SCALARS
def test_choices_may_be_anything():
    choices = [[1, 2], None, {"a": [1]}, [3], "None", float("nan")]
    study = make([(choice, float(at)) for at, choice in enumerate([*choices, [1, 2]])], CategoricalDistribution(choices))
    assert of(study) == [
        ("[1, 2]", (0.0, 6.0), 0),
        ("None", (1.0,), 0),
        ("{'a': [1]}", (2.0,), 0),
        ("[3]", (3.0,), 0),
        ("'None'", (4.0,), 0),
        ("nan", (5.0,), 0),
    ]
    assert len(printed(study)) == 7


def test_what_would_look_alike_is_written_as_python_does():
    study = make([("1", 0.1), (1, 0.2), ("2", 0.3)], CategoricalDistribution(["1", 1, "2"]))
    assert [name for name, _, _ in of(study)] == ["'1'", "1", "2"]
    numbers = make([(0.12341, 0.1), (0.12342, 0.2)], FloatDistribution(0, 1))
    assert [name for name, _, _ in of(numbers)] == ["0.12341", "0.12342"]


def test_true_and_one_are_two_levels_where_a_study_has_both():
    """Optuna takes the one for the other, and keeps the first; a study that another program wrote may hold both."""
    trials = [
        optuna.trial.create_trial(params={"x": x}, distributions={"x": CategoricalDistribution([x])}, value=1.0)
        for x in (True, 1, 0, False)
    ]
    metric = metrics_of(optuna.create_study())[0]
    assert [level.name for level in levels(trials, "x", metric)] == ["0", "False", "True", "1"]


@pytest.mark.parametrize("odd", ["nan", "-inf"])
def test_quarters_are_of_finite_numbers(odd):
    choices = [float(odd), *map(float, range(12))]
    study = make([(choice, 0.5) for choice in choices], CategoricalDistribution(choices))
    assert [name for name, _, _ in of(study)] == [odd, *map(str, range(12))]


def test_many_numbers_are_quarters_and_no_trial_is_lost_or_counted_twice():
    study = make([(i / 12, float(i)) for i in range(13)], FloatDistribution(0, 1))
    found = of(study)
    assert [name for name, _, _ in found] == ["0 to 0.25", "0.25 to 0.5", "0.5 to 0.75", "0.75 to 1"]
    assert sorted(value for _, values, _ in found for value in values) == list(range(13))
    assert found[3][1] == (9.0, 10.0, 11.0, 12.0), "the largest belongs to the last"


def printed(study, parameter="x"):
    out = io.StringIO()
    print_levels(study, parameter, Console(file=out, width=80))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_bar_is_as_long_as_its_median_and_the_best_is_the_directions():
    heading, short, long = printed(make([(0.0, 0.4), (0.0, 0.5), (1.0, 0.9)], FloatDistribution(0, 1)))
    assert heading.split() == ["x", "median", "value", "best", "complete", "pruned"]
    assert (short.count("█"), long.count("█")) == (12, 24)
    assert short.split()[-4:] == ["0.45", "0.5", "2", "0"]
    loss = printed(make([(0.0, 0.4), (0.0, 0.5)], FloatDistribution(0, 1), "minimize"))[1]
    assert loss.split()[-4:] == ["0.45", "0.4", "2", "0"]


def test_a_level_without_a_result_has_no_bar_and_values_below_zero_have_one():
    empty, below, above = printed(make([(0.0, None), (0.5, -1.0), (1.0, 1.0)], FloatDistribution(0, 1)))[1:]
    assert empty.split() == ["0", "0", "1"]
    assert (below.count("█"), above.count("█")) == (0, 24)


def test_an_output_without_blocks_has_bars_of_hashes():
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, "ascii", errors="backslashreplace")
    print_levels(make([(0.0, 0.45), (1.0, 0.9), (0.5, None)], FloatDistribution(0, 1)), "x", Console(file=out, width=80))
    out.flush()
    lines = raw.getvalue().decode("ascii").splitlines()
    assert [line.count("#") for line in lines] == [0, 12, 0, 24]
    assert max(map(len, lines)) <= 80
    assert not any("\\" in line for line in lines)


def test_values_that_hardly_differ_are_told_apart():
    study = make([(0.0, -1e9), (0.5, -1e9 - 3), (1.0, -1e9 - 40)], FloatDistribution(0, 1))
    rows = printed(study)[1:]
    assert [[text for text in row.split() if text.startswith("-1")] for row in rows] == [
        ["-1000000000"] * 2,
        ["-1000000003"] * 2,
        ["-1000000040"] * 2,
    ]


def test_the_largest_values_have_a_median_and_a_bar():
    worst = sys.float_info.max
    study = make([(0.0, worst), (0.0, worst), (0.5, -worst), (1.0, 0.25), (1.0, 0.75)], FloatDistribution(0, 1))
    largest, lowest, middle = printed(study)[1:]
    assert [line.count("█") for line in (largest, lowest, middle)] == [24, 0, 12]
    assert middle.split()[-4:] == ["0.5", "0.75", "2", "0"]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_long_name_fits_a_terminal_of_80():
    study = optuna.create_study(direction="maximize", study_name="x")
    study.set_metric_names(["robust_f1"])
    for rate in range(20):
        trial = study.ask(fixed_distributions={"noise_intensity": FloatDistribution(0, 1)})
        study.tell(trial, rate / 20)
    lines = printed(study, "noise_intensity")
    assert len(lines) == 5
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_where_names_leave_no_room_the_bars_are_shorter_and_the_figures_whole():
    points = [(1.2345e-5 * 10 ** (number / 10), 0.51234 + number / 1000) for number in range(40)]
    lines = printed(make(points, FloatDistribution(1e-5, 1, log=True)))
    assert len(lines) == 5
    assert not any("…" in line for line in lines)
    assert all(re.fullmatch(r"[\de.-]+ to [\de.-]+ +█{8,24}\S? +0\.\d{4} +0\.\d{3,4} +10 +0", line) for line in lines[1:])


def test_a_choice_with_a_long_name_is_told_in_several_lines():
    long = "l" * 70
    lines = printed(make([(long, 0.5), ("b", 0.25)], CategoricalDistribution([long, "b"])))
    assert sum(line.split()[0].count("l") for line in lines) == 70
    assert not any("…" in line for line in lines)


def test_a_parameter_that_no_trial_has_is_one_line_with_a_suggestion():
    with pytest.raises(StudyError, match=r"--by: must be a parameter .* got 'dropuot'\. Known: x\."):
        printed(make([(0.0, 0.4)], FloatDistribution(0, 1)), "dropuot")
    with pytest.raises(StudyError, match="Launch it first"):
        printed(optuna.create_study())
