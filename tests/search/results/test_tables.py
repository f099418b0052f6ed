import io
import re
import sys

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from rich.console import Console

from search.records.attributes import FAILURE_KEY
from search.results.finalist_ranking import Finalist, Ranking, print_ranking
from search.results.levels import print_levels
from search.results.ranking import metrics_of
from search.results.report.comparison import compare
from search.results.report.comparison_page import print_table
from search.results.statistics import Interval
from search.results.status import print_status
from search.results.tables import make_console

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

METRICS = [f"{part}_{'m' * 22}_{number}"[-25:] for number, part in enumerate(("robust", "latency", "size"))]
PARAMETERS = [f"a_parameter_of_30_characters_{number}" for number in range(3)]
CHOICES = ["a label of 30 characters: first", "a_label_of_30_characters:_other"]
VALUES = (-0.123456, 1.23457e-05, -2.34568e-07)


def make(metrics=METRICS, name="demo", best=1.0):
    study = optuna.create_study(study_name=name, directions=["maximize"] * len(metrics))
    study.set_metric_names(metrics)
    kinds = {name: FloatDistribution(0, 1) for name in PARAMETERS} | {"kind": CategoricalDistribution(CHOICES)}
    for factor, kind in zip((best, 0.5, -3.0), (*CHOICES, CHOICES[0]), strict=True):
        params = dict.fromkeys(PARAMETERS, 0.123456789) | {"kind": kind}
        values = [factor * value for value in VALUES[: len(metrics)]]
        study.add_trial(optuna.trial.create_trial(values=values, params=params, distributions=kinds))
    return study


def status(console):
    study = make()
    study.ask().set_user_attr(FAILURE_KEY, "a note of many words " * 8)
    study.tell(3, state=optuna.trial.TrialState.FAIL)
    study.ask()
    print_status(study, budget=9, rows=None, console=console)
    return [f"{factor * value:.6g}" for factor in (1.0, 0.5, -3.0) for value in VALUES] + ["complete", "running", "00:00"]


def comparison(console):
    labelled = [
        (label, [make(METRICS[:1], f"{label}{run}", -9.5 - at - run) for run in range(2)]) for at, label in enumerate(CHOICES)
    ]
    print_table(compare(labelled), console)
    return ["1.235±0.78", "1.358±0.78", "+0.1235±0.38"]


def ranking(console):
    [metric] = metrics_of(make(METRICS[:1]))
    params = dict.fromkeys(PARAMETERS, 0.5)
    scores = (Interval(1.2345e-5, 1.1e-6), Interval(-1.2345e-7, 2.2e-8))
    finalists = tuple(
        Finalist(1230 + at, params, -1.2345e-5, {0: score.mean, 1: score.mean}, score) for at, score in enumerate(scores)
    )
    print_ranking(Ranking("demo", metric, finalists, 1231, 1230), console)
    return ["1230", "1231*", "-1.234e-05", *("".join(str(score).split()) for score in scores)]


def by_level(console):
    print_levels(make(METRICS[:1]), "kind", console)
    return ["-0.06173", "0.3704"]


@pytest.mark.parametrize("show", [status, comparison, ranking, by_level])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_in_a_narrow_terminal_nothing_is_lost_and_no_figure_broken(show, width):
    """Where figures alone have no room, the terminal breaks the lines, and not the table."""
    narrow, wide = io.StringIO(), io.StringIO()
    figures = show(Console(file=narrow, width=width))
    show(Console(file=wide, width=100_000))
    letters, all_letters = (re.sub(r"[\s█▉▊▋▌▍▎▏]", "", out.getvalue()) for out in (narrow, wide))
    assert sorted(letters) == sorted(all_letters)
    assert "…" not in letters
    assert [figure for figure in figures if figure not in letters] == []


@pytest.mark.parametrize(("show", "width"), [(status, 120), (comparison, 80), (ranking, 90), (by_level, 56)])
def test_what_has_room_is_not_wider(show, width):
    show(Console(file=(out := io.StringIO()), width=width))
    lines = out.getvalue().splitlines()
    header = next(number for number, line in enumerate(lines) if "  " in line.strip())
    assert max(map(len, lines[header : header + 6])) <= width


def test_a_column_that_fits_is_as_wide_as_what_it_holds():
    print_levels(make(["loss"]), "kind", Console(file=(out := io.StringIO()), width=140))
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["kind", "median", "loss", "best", "complete", "pruned"]


def printed(capsys):
    study = make()
    study.ask().set_user_attr(FAILURE_KEY, "a note of many words " * 9)
    study.tell(3, state=optuna.trial.TrialState.FAIL)
    print_status(study, budget=9, rows=3)
    lines = capsys.readouterr().out.splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("trial "))
    return lines[header : header + 4]


def test_in_a_file_each_row_is_a_line_and_no_longer_than_it_must(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    header, first, second, failed = printed(capsys)
    assert header.split() == ["trial", "state", *METRICS, "parameters", "duration", "note"]
    assert [line.split()[0] for line in (first, second, failed)] == ["1", "2", "3"]
    assert failed.endswith("a note of many words")
    assert len(failed) > 440
    assert len(first) < 300


def test_a_file_is_as_wide_as_is_asked_for_and_a_terminal_as_it_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert max(map(len, printed(capsys))) <= 100
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert make_console().width < 1000
