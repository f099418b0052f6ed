"""The best configs over several seeds: what is run, how it is ranked, and what export makes of it."""

import io
import sqlite3
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from statistics import fmean

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console
from scipy import stats

from search.driver.compatibility import check_same
from search.driver.retry import requeue
from search.errors import StudyError
from search.optuna_internals import storage_of
from search.records.attributes import FINALIST_KEY, FINALISTS_OF_KEY, SEED_KEY, given_of
from search.records.rungs import RUNGS_KEY
from search.results.finalist_ranking import Finalist, Ranking, describe_ranking, print_ranking, rank_finalists
from search.results.finalists import _enqueue_missing, choose, describe_numbers, load_ranking, run_finalists
from search.results.ranking import find_baseline, metrics_of
from search.results.statistics import mean_interval
from search.storage.open import token_of
from search.storage.readback import ReadBack, mark
from search.study_file.fidelity import Fidelity
from search.study_file.load import load

SPACE = {"x": optuna.distributions.FloatDistribution(-10, 10)}
NOISY = {"study": {"objective": '"objectives:noisy"', "trials": "6"}, "enqueue": "[[enqueue]]\nx = -5"}


@pytest.fixture
def make():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.InMemoryStorage()

    def make_study(*values, name="demo", direction="maximize", xs=None, baseline=None):
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
        for at, value in enumerate(values):
            state = TrialState.COMPLETE if value is not None else TrialState.FAIL
            params = {"x": float(at if xs is None else xs[at])}
            system_attrs = {"fixed_params": params} if at == baseline else None
            attrs = {"params": params, "distributions": SPACE, "system_attrs": system_attrs}
            study.add_trial(create_trial(state=state, value=value, **attrs))
        return study

    return make_study


@pytest.fixture
def run(make):
    """Adds the finalists' results to a linked study: number -> value by seed."""

    def add(results, lost_as=TrialState.FAIL):
        linked = make(name="demo-finalists")
        for number, values in results.items():
            for seed, value in enumerate(values):
                state = TrialState.COMPLETE if value is not None else lost_as
                linked.add_trial(create_trial(state=state, value=value, user_attrs={FINALIST_KEY: number, SEED_KEY: seed}))
        return linked

    return add


def numbers(trials):
    return [trial.number for trial in trials]


def test_the_best_different_configs_and_the_baseline_are_chosen(make):
    study = make(1.0, 5.0, 4.0, 6.0, None, 3.0, xs=(0, 1, 2, 1, 9, 3), baseline=0)
    assert numbers(choose(study, 2)) == [3, 2, 0], "trial 1 has the parameters of trial 3"
    assert numbers(choose(study, 9)) == [3, 2, 5, 0], "the baseline is among them already"


def test_a_better_trial_with_the_parameters_of_the_baseline_stands_for_it(make, run):
    source = make(1.0, 5.0, 4.0, xs=(3, 1, 3), baseline=0)
    assert numbers(choose(source, 2)) == [1, 2]
    ranking = rank_finalists(source, run({1: (0.9, 0.8), 2: (0.5, 0.6)}))
    assert ranking.baseline == 2
    out = io.StringIO()
    print_ranking(ranking, Console(file=out, width=200))
    assert "2 *" in out.getvalue()
    assert "+0.3 ± " in out.getvalue(), "what the search has gained"


def test_what_has_no_seed_in_common_with_the_winner_cannot_be_told_from_it(make, run):
    source, linked = make(0.1, 0.2, 0.3), run({1: (0.9, 0.9)})
    for seed in (7, 8):
        linked.add_trial(create_trial(value=0.5, user_attrs={FINALIST_KEY: 2, SEED_KEY: seed}))
    assert rank_finalists(source, linked).level() == [2]


def test_less_can_be_better(make):
    assert numbers(choose(make(3.0, 1.0, 2.0, direction="minimize"), 2)) == [1, 2]


def test_a_baseline_that_failed_runs_again(make):
    assert numbers(choose(make(None, 1.0, baseline=0), 1)) == [1, 0]


def test_of_plain_optuna_a_trial_that_was_drawn_and_tried_again_is_no_baseline():
    """Its retry has given parameters, too."""
    study = optuna.create_study()
    study.add_trial(create_trial(state=TrialState.FAIL))
    study.add_trial(create_trial(value=1.0, system_attrs={"fixed_params": {"x": 1.0}, "failed_trial": 0}))
    assert find_baseline(study) is None
    for number, value in ((2, None), (3, 2.0)):
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        retry = {"failed_trial": 2} if number == 3 else {}
        study.add_trial(create_trial(state=state, value=value, system_attrs={"fixed_params": {"x": 2.0}, **retry}))
    assert find_baseline(study).number == 3


def test_nothing_to_choose_from(make):
    with pytest.raises(StudyError, match='study "demo": must have a COMPLETE trial; got none'):
        choose(make(None), 1)
    with pytest.raises(StudyError, match="finalists need a single direction; got 2"):
        choose(optuna.create_study(directions=["minimize", "minimize"]), 1)


def test_only_what_is_missing_is_enqueued(make, run):
    chosen = choose(make(1.0, 2.0), 2)
    linked = run({1: (0.5, None)})
    _enqueue_missing(linked, chosen, [0, 1])
    waiting = linked.get_trials(states=(TrialState.WAITING,))
    pairs = [(trial.user_attrs[FINALIST_KEY], trial.user_attrs[SEED_KEY]) for trial in waiting]
    assert pairs == [(0, 0), (1, 1), (0, 1)], "what failed is to be run again"
    _enqueue_missing(linked, chosen, [0, 1])
    assert len(linked.get_trials(states=(TrialState.WAITING,))) == 3


def test_a_line_says_which_number_is_which(make, run):
    """What is printed while they run counts the trials of their own study, the table those of the search."""
    assert describe_numbers(run({7: (0.5, 0.4), 0: (0.5, 0.1)}), "demo") == (
        "Trials of demo-finalists are numbered anew: 0, 1 train trial 7 of demo again; 2, 3 its trial 0."
    )


def test_of_many_numbers_the_first_are_said(make, run):
    chosen = choose(make(*map(float, range(9))), 9)
    linked = run({})
    _enqueue_missing(linked, chosen, list(range(7)))
    assert describe_numbers(linked, "demo") == (
        "Trials of demo-finalists are numbered anew: 0, 9, ... train trial 8 of demo again; 1, 10, ... its trial 7; "
        "2, 11, ... its trial 6; 3, 12, ... its trial 5; 4, 13, ... its trial 4; and so on."
    )


@pytest.mark.parametrize("given", [{}, {"epochs": 2}])
@pytest.mark.parametrize("state", [TrialState.WAITING, TrialState.RUNNING, TrialState.FAIL, TrialState.PRUNED])
def test_with_a_fidelity_a_baseline_is_trained_for_its_whole_length(make, run, state, given):
    epochs = {"epochs": optuna.distributions.IntDistribution(1, 8)}
    source, linked = make(), run({})
    rungs = {RUNGS_KEY: {"1": [0.5, 1.0]}, "fixed_params": {"x": 2.0, **given}}
    reached = {"epochs": 1} if state is TrialState.PRUNED else {}
    space = {name: {**SPACE, **epochs}[name] for name in ("x", *reached)}
    baseline = create_trial(state=state, params={"x": 2.0, **reached}, distributions=space, system_attrs=rungs)
    best = create_trial(value=1.0, params={"x": 1.0, "epochs": 4}, distributions={**SPACE, **epochs})
    source.add_trials([baseline, best])
    chosen = choose(source, 1)
    _enqueue_missing(linked, chosen, [0, 1], Fidelity("epochs", epochs["epochs"]))
    assert [given_of(trial)["epochs"] for trial in linked.trials] == [4, given.get("epochs", 8)] * 2
    for _ in linked.trials:
        linked.tell(linked.ask({**SPACE, **epochs}), 0.5)
    ranking = rank_finalists(source, linked)
    assert (ranking.baseline, ranking.of(0).params) == (0, {"x": 2.0, "epochs": given.get("epochs", 8)})


def test_a_lost_run_stays_the_same_finalist(run):
    linked = run({})
    linked.enqueue_trial({"x": 1.0}, user_attrs={FINALIST_KEY: 7, SEED_KEY: 3})
    linked.ask(SPACE)
    requeue(linked, 0, "killed")
    assert (linked.trials[1].user_attrs[FINALIST_KEY], linked.trials[1].user_attrs[SEED_KEY]) == (7, 3)


def test_ranks_intervals_and_selection_bias(make, run):
    source = make(1.0, 9.0, 8.0, baseline=0)
    results = {1: (6.0, 7.0, 6.5), 2: (7.0, 8.0, 7.8), 0: (1.0, 2.0, 1.2)}
    ranking = rank_finalists(source, run(results))
    assert [finalist.number for finalist in ranking.finalists] == [2, 1, 0]
    assert ranking.winner.number == 2
    low, high = stats.t.interval(0.95, df=2, loc=fmean(results[2]), scale=stats.sem(results[2]))
    assert (ranking.winner.score.mean, ranking.winner.score.half) == pytest.approx(((low + high) / 2, (high - low) / 2))
    paired = stats.ttest_rel(results[2], results[0]).confidence_interval(0.95)
    gain = ranking.winner.less(ranking.of(ranking.baseline))
    assert (gain.mean - gain.half, gain.mean + gain.half) == pytest.approx((paired.low, paired.high))
    assert ranking.selection_bias() == pytest.approx(9.0 - fmean(results[1]))
    assert ranking.level() == []


def test_selection_bias_in_the_other_direction(make, run):
    ranking = rank_finalists(make(1.0, 2.0, direction="minimize"), run({0: (1.5, 1.7), 1: (1.4, 1.6)}))
    assert ranking.winner.number == 1
    assert ranking.selection_bias() == pytest.approx(0.6)


def test_finalists_that_diverge_with_some_seeds_are_ranked(make, run):
    worst = sys.float_info.max
    linked = run({0: (0.2, worst, 0.3), 1: (0.4, 0.5, 0.3), 2: (worst, worst, worst), 3: (-worst, 0.1, worst)})
    ranking = rank_finalists(make(0.1, 0.2, 0.3, 0.4, direction="minimize", baseline=2), linked)
    assert (ranking.winner.number, ranking.winner.score.half) == (3, None)
    print_ranking(ranking, Console(file=(out := io.StringIO()), width=90))
    assert "Winner: trial 3, value 0.03333 over 3 seeds." in out.getvalue()
    assert ranking.level() == [1, 0, 2]


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.PRUNED])
@pytest.mark.parametrize("lucky", [(9.0, 9.0, None, None, None), (None, None, 9.0, None, None), (None,) * 5])
def test_one_that_lacks_seeds_which_others_have_cannot_win(make, run, state, lucky):
    source = make(1.0, 6.0, 9.0, baseline=0)
    linked = run({2: lucky, 1: (5.0, 6.0, 5.5, 5.2, 5.4), 0: (1.0, 1.1, 1.2, 1.3, 1.0)}, state)
    ranking = rank_finalists(source, linked)
    assert (ranking.winner.number, ranking.selection_bias(), ranking.level()) == (1, None, [])
    print_ranking(ranking, Console(file=(out := io.StringIO()), width=90))
    count = lucky.count(None)
    assert out.getvalue().splitlines()[-1] == f"Trial 2 has no value with {count} of 5 seeds, and cannot win."
    assert ranking.describe_choice().endswith(f"seeds. The search's best, trial 2, has no value with {count} of 5 seeds.")


def test_a_seed_that_nobody_has_keeps_nobody_from_winning(make, run):
    ranking = rank_finalists(make(1.0, 2.0), run({0: (1.0, 2.0, None), 1: (None, 4.0, 5.0)}))
    assert (ranking.winner.number, ranking.missing) == (1, {0: 1, 1: 1})
    assert "Trial 1 has no value with 1 of 3 seeds." in describe_ranking(ranking)


def test_what_is_still_to_run_or_was_run_again_is_not_missing(make, run):
    linked = run({0: (1.0, 2.0, None, None), 1: (4.0, 5.0)})
    linked.enqueue_trial({"x": 0.0}, user_attrs={FINALIST_KEY: 0, SEED_KEY: 2})
    linked.add_trial(create_trial(value=1.5, user_attrs={FINALIST_KEY: 0, SEED_KEY: 3}))
    ranking = rank_finalists(make(1.0, 2.0), linked)
    assert (ranking.winner.number, ranking.missing) == (1, {})


def test_configs_that_cannot_be_told_apart_are_named(make, run):
    ranking = rank_finalists(make(1.0, 2.0), run({0: (1.0, 2.0, 3.0), 1: (1.1, 1.8, 3.2)}))
    assert ranking.level() == [0]


@pytest.mark.parametrize(("configs", "seeds"), [(6, 3), (11, 5)])
def test_configs_that_are_equal_in_truth_are_seldom_told_from_the_winner(make, configs, seeds):
    """Each comparison for itself leaves at least one out in a third of such cases, or in more than half of them."""
    [metric] = metrics_of(make(1.0))
    generator, apart, apart_alone = np.random.default_rng(0), 0, 0
    for _ in range(300):
        drawn = generator.normal(size=(configs, seeds)).tolist()
        found = [Finalist(i, {}, None, dict(enumerate(of_it)), mean_interval(of_it)) for i, of_it in enumerate(drawn)]
        found.sort(key=lambda finalist: -finalist.score.mean)
        apart += len(Ranking("demo", metric, tuple(found), None, 0).level()) < configs - 1
        apart_alone += any(abs(d.mean) > d.half for d in (other.less(found[0]) for other in found[1:]))
    assert apart / 300 < 0.12
    assert apart_alone / 300 > 0.25


@pytest.mark.parametrize(
    ("others", "line"), [(1, None), (5, "Not to be told from it by these seeds (corrected for 5 comparisons): trial 1.")]
)
def test_what_tells_two_apart_does_not_tell_two_of_six_apart(make, run, others, line):
    close = {0: (1.0, 1.3, 1.1), 1: (0.5, 0.5, 0.5)}  # .63, with .38 to either side alone and .88 among six
    far = dict.fromkeys(range(2, 1 + others), (-90.0, -89.7, -89.9))
    ranking = rank_finalists(make(*range(6)), run(close | far))
    assert ranking.level() == ([] if line is None else [1])
    assert [told for told in describe_ranking(ranking) if told.startswith("Not to be told")] == ([] if line is None else [line])


@pytest.mark.parametrize(
    ("searched", "told"),
    [
        (3.0, "2 ± 0.25 of it was luck."),
        (1.2, "0.2 ± 0.25 of it was luck, which cannot be told from none."),
        (0.9, "no luck, it does 0.1 ± 0.25 better."),
    ],
)
def test_luck_has_its_interval(make, run, searched, told):
    lines = describe_ranking(rank_finalists(make(searched), run({0: (1.0, 1.1, 0.9)})))
    assert lines[-1].endswith(f" over 3 seeds: {told}")


def test_one_seed_makes_no_winner(make, run):
    ranking = rank_finalists(make(1.0, 2.0), run({1: (1.5,)}))
    assert ranking.winner is None
    assert ranking.selection_bias() == pytest.approx(0.5)


def test_what_is_printed(make, run):
    out = io.StringIO()
    source = make(1.0, 9.0, 8.0, baseline=0)
    print_ranking(rank_finalists(source, run({1: (6.0, 7.0), 2: (7.0, 8.0), 0: (1.0, 2.0)})), Console(file=out, width=90))
    lines = out.getvalue().splitlines()
    assert lines[2].split() == ["2", "8", "2", "7.5", "±", "6.4", "+6", "±", "0", "x=2"]
    assert lines[4].split()[:2] == ["0", "*"]
    assert lines[6:] == [
        "Winner: trial 2, value 7.5 ± 6.4 over 2 seeds.",
        "The search's best, trial 1, had 9 there and 6.5 ± 6.4 over 2 seeds: 2.5 ± 6.4 of it was luck, which"
        " cannot be told from none.",
    ]


@pytest.mark.parametrize(("searched", "again"), [(9.0, 9.0), (0.0, 0.0), (0.3, 0.1 + 0.2)])
def test_what_no_seed_changes_does_the_same(make, run, searched, again):
    [*_, last] = describe_ranking(rank_finalists(make(-1.0, searched), run({1: (again,) * 3})))
    assert last.startswith(f"The search's best, trial 1, had {searched:g} there and {searched:g}")
    assert last.endswith(" ± 0 over 3 seeds: no luck, it does the same.")


def test_without_a_baseline_it_is_said_what_the_figures_are(make, run):
    out = io.StringIO()
    ranking = rank_finalists(make(1.0, 1e9 + 9, 1e9 + 8), run({1: (1e9 + 6, 1e9 + 7), 2: (1e9 + 7, 1e9 + 8)}))
    print_ranking(ranking, Console(file=out, width=90))
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines[2:4]] == ["1000000008", "1000000009"]
    assert lines[4] == "More is better; 95% t intervals."
    assert lines[5] == "Winner: trial 2, value 1000000007.5 ± 6.4 over 2 seeds."
    assert describe_ranking(rank_finalists(make(1.0, name="other"), make(name="none"))) == []


def test_there_is_a_ranking_once_all_have_run(make, run):
    source = make(1.0, 2.0)
    assert load_ranking(source) is None
    linked = run({1: (1.0, 2.0)})
    assert load_ranking(source).winner.number == 1
    linked.enqueue_trial({"x": 0.0})
    assert load_ranking(source) is None


def test_finalists_of_a_study_that_had_the_name_before_are_none_of_this_one(make, run):
    source = make(1.0, 2.0)
    linked = run({1: (1.0, 2.0)})
    mark(source)
    linked.set_user_attr(FINALISTS_OF_KEY, "of another")
    assert load_ranking(source) is None
    linked.set_user_attr(FINALISTS_OF_KEY, token_of(source))
    assert load_ranking(source).winner.number == 1


@pytest.mark.parametrize(("params", "own"), [({"x": 1.0}, True), ({"x": 0.5}, False)])
def test_finalists_that_name_no_study_are_known_by_their_parameters(make, run, params, own):
    source = make(1.0, 2.0)
    linked = run({1: (1.0, 2.0)})
    linked.enqueue_trial(params, user_attrs={FINALIST_KEY: 1, SEED_KEY: 9})
    linked.tell(linked.ask(SPACE), 2.0)
    mark(source)
    assert (load_ranking(source) is not None) is own


def test_a_study_with_two_directions_has_no_ranking(run):
    linked = run({1: (1.0, 2.0)})
    source = optuna.create_study(storage=storage_of(linked), study_name="demo", directions=["maximize", "minimize"])
    assert load_ranking(source) is None


@pytest.mark.slow
def test_a_study_that_takes_a_name_over_has_no_finalists(write, search):
    write(**NOISY)
    search("launch", "demo.toml", "--quiet")
    search("finalists", "demo.toml", "--top", 1, "--seeds", 2, "--quiet")
    assert "the winner of demo-finalists" in search("export", "demo.toml").stderr
    optuna.delete_study(study_name="demo", storage="sqlite:///demo.db")
    write(**{**NOISY, "study": {**NOISY["study"], "seed": "7"}})
    search("launch", "demo.toml", "--quiet")
    assert "demo-finalists" not in search("export", "demo.toml").stderr
    refused = search("finalists", "demo.toml", "--top", 1, "--seeds", 2, "--quiet", code=1).stderr
    assert refused == (
        'error: study "demo-finalists": must hold finalists of study "demo"; got those of one that had its name before. '
        "Delete it (optuna delete-study), and run search finalists again.\n"
    )
    optuna.delete_study(study_name="demo-finalists", storage="sqlite:///demo.db")
    search("finalists", "demo.toml", "--top", 1, "--seeds", 2, "--quiet")
    assert "the winner of demo-finalists" in search("export", "demo.toml").stderr


@pytest.mark.slow
def test_a_storage_that_fails_is_gone_on_with_where_it_was_and_a_search_from_what_was_saved(write, search, monkeypatch):
    """What is saved of finalists lacks the study that they are of."""
    write(**{**NOISY, "study": {**NOISY["study"], "trials": "2"}})
    with monkeypatch.context() as full:
        full.setattr(ReadBack, "_difference", lambda self: "database or disk is full")
        launched = search("launch", "demo.toml", "--quiet", code=1).stderr
    assert "search launch with --storage 'journal:///demo.rescued.log' goes on from there." in launched
    search("launch", "demo.toml", "--quiet")
    with monkeypatch.context() as full:
        full.setattr(ReadBack, "_difference", lambda self: "database or disk is full")
        told = search("finalists", "demo.toml", "--top", 1, "--seeds", 2, "--quiet", code=1).stderr
    assert "Free some disk space, and try again. " in told
    assert told.endswith("search status 'journal:///demo.rescued-2.log#demo-finalists' shows it.\n")
    assert "Winner" in search("finalists", "demo.toml", "--top", 1, "--seeds", 2, "--quiet").stdout


@pytest.mark.slow
def test_finalists_that_prune_themselves_leave_none_waiting(write, search):
    write(study={"objective": '"objectives:odd_seeds_end"', "trials": "3"})
    search("launch", "demo.toml", "--quiet")
    shown = search("finalists", "demo.toml", "--top", 1, "--seeds", 3).stdout
    assert "Trials of demo-finalists are numbered anew: 0, 1, 2 train trial " in shown
    assert "anew" not in search("finalists", "demo.toml", "--top", 1, "--seeds", 3).stdout, "where nothing is left to run"
    search("finalists", "demo.toml", "--top", 1, "--seeds", 6, "--quiet")
    linked = optuna.load_study(study_name="demo-finalists", storage="sqlite:///demo.db")
    states = [trial.state for trial in linked.trials]
    assert len(states) == 6
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}


@pytest.mark.slow
def test_the_commands_from_a_search_to_the_winner(write, search):
    write(**NOISY)
    search("launch", "demo.toml", "--quiet")
    out = search("finalists", "demo.toml", "--top", 2, "--seeds", 3, "--quiet").stdout
    with closing(sqlite3.connect("demo.db")) as connection:
        rows = connection.execute(
            "SELECT f.value_json, s.value_json, value FROM trials t JOIN studies USING (study_id) "
            "JOIN trial_values USING (trial_id) "
            "JOIN trial_user_attributes f ON f.trial_id = t.trial_id AND f.key = 'search:finalist' "
            "JOIN trial_user_attributes s ON s.trial_id = t.trial_id AND s.key = 'search:seed' "
            "WHERE study_name = 'demo-finalists' AND t.state = 'COMPLETE'"
        ).fetchall()
    by_number = {}
    for number, seed, value in rows:
        by_number.setdefault(int(number), {})[int(seed)] = value
    assert len(by_number) == 3
    assert "0" in map(str, by_number), "the baseline runs too"
    assert {tuple(sorted(values)) for values in by_number.values()} == {tuple(sorted(by_number[0]))}, "the same seeds for all"
    winner = max(by_number, key=lambda number: fmean(by_number[number].values()))
    assert f"Winner: trial {winner}, score {fmean(by_number[winner].values()):.4g} ± " in out
    assert search("finalists", "demo.toml", "--top", 2, "--seeds", 3, "--quiet").stdout == out, "nothing was left to run"
    exported = search("export", "demo.toml", "-o", "best.toml")
    assert exported.stderr.startswith(f"trial {winner}, the winner of demo-finalists: score ")
    document = tomllib.loads(Path("best.toml").read_text())
    assert document["provenance"]["trial"] == winner
    told = document["provenance"]["finalists"]
    assert dict(zip(told["seeds"], told["values"], strict=True)) == by_number[winner]
    best = search("export", "demo.toml", "--trial", 0)
    assert best.stderr == ""
    assert "finalists" not in tomllib.loads(best.stdout)["provenance"]


def test_a_study_file_that_changed_is_refused(write):
    study = optuna.create_study(storage="sqlite:///demo.db", study_name="demo", direction="maximize")
    check_same(study, load(write()))
    study.add_trial(create_trial(value=1.0))
    with pytest.raises(StudyError, match=r"study\.seed: must stay as it was"):
        run_finalists(load(write(study={"seed": "5"})), top=1, seeds=2)
