"""What becomes of trials that break a constraint of their objective: the same as in plain Optuna, wherever they show."""

import io

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from search.driver.budget import BudgetUsage
from search.driver.progress import Progress
from search.records.attributes import is_infeasible
from search.results.likely_best import likely_best
from search.results.ranking import best_trials
from search.results.trial_rows import rows_of
from tests.search.objectives import bounded

BOUNDED = {"objective": '"objectives:bounded"', "trials": "40"}
FIDELITY = '{ type = "int", low = 1, high = 8, fidelity = true }'
CLIMBING = {"objective": '"objectives:Bounded"', "trials": "24"}
GRID = '{ type = "float", low = -10.0, high = 10.0, step = 0.5 }'


def in_optuna(study):
    """A study of plain Optuna whose trials have the same parameters."""
    plain = optuna.create_study(directions=study.directions)
    for trial in study.trials:
        plain.enqueue_trial(trial.params)
    plain.optimize(lambda trial: bounded(trial, len(study.directions)), n_trials=len(study.trials))
    return plain


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "nsgaiii", "cmaes", "random", "qmc", "grid"])
@pytest.mark.filterwarnings("ignore:Constraints have been set, but CmaEsSampler")  # as it says in plain Optuna
def test_an_objective_with_constraints_is_recorded_as_in_optuna(drive, sampler):
    study = drive(study=BOUNDED, sampler={"name": f'"{sampler}"'}, space={"x": GRID} if sampler == "grid" else {})
    plain = in_optuna(study)
    assert len(study.trials) == 40
    for ours, theirs in zip(study.trials, plain.trials, strict=True):
        assert (ours.state, ours.values, ours.constraints) == (theirs.state, theirs.values, theirs.constraints)
    assert [trial.number for trial in best_trials(study)] == [study.best_trial.number] == [plain.best_trial.number]
    assert study.best_trial.params["x"] <= 2 < max(trial.params["x"] for trial in study.trials)


@pytest.mark.parametrize(("sampler", "trials"), [("tpe", "40"), ("nsgaii", "150")])
def test_a_sampler_that_knows_constraints_keeps_to_them(drive, sampler, trials):
    study = drive(study={**BOUNDED, "trials": trials}, sampler={"name": f'"{sampler}"'})
    late = study.trials[len(study.trials) // 2 :]
    assert sum(map(is_infeasible, late)) < len(late) / 2, "all would, as x is better the larger it is"
    assert study.best_value > 1


def test_with_several_directions_the_front_is_feasible(drive):
    tables = {
        **BOUNDED,
        "direction": None,
        "directions": '["maximize", "maximize"]',
        "metric": None,
        "metrics": '["a", "b"]',
        "trials": "20",
    }
    study = drive(study=tables, objective={"directions": "2"})
    assert [trial.number for trial in best_trials(study)] == [trial.number for trial in study.best_trials]
    assert [trial.number for trial in best_trials(study)] == [trial.number for trial in in_optuna(study).best_trials]
    assert not any(map(is_infeasible, best_trials(study)))


def test_who_breaks_one_is_infeasible_wherever_it_is_shown_and_a_launch_counts_as_the_next_one_does(drive):
    shown = io.StringIO()
    enqueued = "".join(f"[[enqueue]]\nx = {x}\n" for x in (1.001, 9.001, 9.0, 1.501))
    study = drive(study={**BOUNDED, "trials": "4"}, enqueue=enqueued, console=Console(file=shown, width=200))
    ended = [line for line in shown.getvalue().splitlines() if " in 0" in line]
    assert [line.partition(" in 0")[0] for line in ended] == [
        "trial 0 complete, value 1.001",
        "trial 1 complete, value 9.001, breaks size (7.001)",
        "trial 2 pruned, breaks size (7)",
        "trial 3 complete, value 1.501",
    ]
    assert "4/4 trials · best value 1.501 (trial 3)" in ended[3]
    assert ended[3].endswith("0 pruned · 0 failed · 2 infeasible")
    again = Progress.of(study, 4)
    assert (again.complete, again.pruned, again.infeasible, again.best) == (2, 0, 2, (3, 1.501))
    assert [row.note for row in rows_of(study, study.trials)] == ["", "breaks size (7.001)", "breaks size (7)", ""]
    assert BudgetUsage.of(study).since_better == 0


def test_patience_counts_a_trial_that_breaks_one_as_no_better(drive):
    enqueued = "".join(f"[[enqueue]]\nx = {x}\n" for x in (1.0001, 5.0001, 6.0001, 7.0001))
    study = drive(study={**BOUNDED, "trials": "9", "patience": "3"}, enqueue=enqueued)
    assert (study.user_attrs["reason"], len(study.trials)) == ("patience", 4)


def test_a_trial_that_fails_counts_for_nothing_though_it_has_broken_one():
    study = optuna.create_study()
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL, constraints={"size": 1.0}))
    study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING, constraints={"size": 1.0}))
    progress = Progress.of(study, 9)
    assert (progress.failed, progress.infeasible, progress.finished) == (1, 0, 0)


def test_the_likely_best_keeps_them(drive):
    study = drive(study={**BOUNDED, "trials": "60"}, sampler={"name": '"random"'})
    assert not is_infeasible(likely_best(study).trial)


@pytest.mark.parametrize("kept_from", [1, 4, 100])
def test_a_trial_that_climbs_rungs_says_anew_what_it_keeps(drive, kept_from):
    """Static ones; ones that training meets; and ones that nothing does."""
    study = drive(study=CLIMBING, space={"epochs": FIDELITY}, objective={"kept_from": str(kept_from)})
    assert study.user_attrs["reason"] == "budget"
    assert not any(trial.state is TrialState.WAITING for trial in study.trials)
    for trial in study.trials:
        x, epochs = trial.params["x"], trial.params["epochs"]
        assert trial.constraints == {"size": max(x - 2, 0.0) + (epochs < kept_from) / epochs}, "as its last leg said"
        legs = [trial.user_attrs[key] for key in (f"before_{rung}" for rung in (1, 2, 4, 8)) if key in trial.user_attrs]
        assert legs[0] == {}
        assert all(leg.keys() == {"size"} for leg in legs[1:]), "it finds what it said before"
    top = [trial for trial in study.trials if trial.params["epochs"] == 8]
    assert top
    best = best_trials(study)
    assert [trial.number for trial in best] == ([] if kept_from == 100 else [study.best_trial.number])
    if kept_from == 1:
        assert not any(map(is_infeasible, top)), "there were others to promote"
        assert all(trial.params["epochs"] == 1 for trial in study.trials if is_infeasible(trial))
    if kept_from == 4:
        assert best[0].params["x"] <= 2


@pytest.mark.parametrize("url", ["sqlite:///demo.db", "journal:///demo.journal"])
def test_a_launch_keeps_them_in_every_storage(write, search, read_study, url):
    write(study={**BOUNDED, "trials": "3", "storage": f'"{url}"'}, enqueue="[[enqueue]]\nx = 1.0001\n[[enqueue]]\nx = 9.001\n")
    search("launch", "demo.toml", "--workers", "2")
    study = read_study(url=url)
    assert study.trials[1].constraints == {"size": pytest.approx(7.001), "positive": -1.0}
    assert "breaks size (7.001)" in search("status", "demo.toml").stdout
    assert "constraints" in search("export", "demo.toml", "--trial", "1").stdout
