"""Several studies to begin from: what did best across them is tried first."""

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from search.driver.ask import TrialSource
from search.driver.compatibility import check_same
from search.driver.portfolio import MOST, Table, add_portfolio, choose, distance
from search.errors import StudyError
from search.records.attributes import PORTFOLIO_KEY, QUEUED_KEY, SEED_KEY
from search.records.beginnings import portfolio_of
from search.study_file.load import load

SPACE = {
    "x": '{ type = "float", low = 0.0, high = 1.0 }',
    "n": '{ type = "int", low = 1, high = 9 }',
    "kind": '{ type = "categorical", choices = ["a", "b"] }',
}


@pytest.fixture
def old(write):
    """A study of many trials whose value falls with the distance to a point."""

    def make(name, x, n=5, kind="a", scale=1.0, count=60, direction="maximize"):
        spec = load(write(space=SPACE, study={"direction": f'"{direction}"'}))
        study = optuna.create_study(study_name=name, direction=direction)
        check_same(study, spec)
        for at in range(count):
            params = {"x": (at * 0.37) % 1, "n": 1 + at * 5 % 9, "kind": "ab"[at % 2]}
            loss = (params["x"] - x) ** 2 + ((params["n"] - n) / 8) ** 2 + 0.3 * (params["kind"] != kind)
            value = scale * (loss if direction == "minimize" else -loss)
            study.add_trial(create_trial(value=value, params=params, distributions=spec.space))
        return study

    return make


def begin(spec, sources, name="new"):
    study = optuna.create_study(study_name=name, directions=list(spec.directions))
    check_same(study, spec)
    return study, add_portfolio(study, spec, sources)


def asked(study, spec, count):
    source = TrialSource(study, spec)
    trials = []
    for _ in range(count):
        trials.append(source.ask({}))
        study.tell(trials[-1], 0.0)
    return trials


LINE = {"x": FloatDistribution(0.0, 1.0)}


def table(**ranks):
    """A table of configs by their rank, the best first: ``x25`` is x = 0.25."""
    return Table([{"x": int(name[1:]) / 100} for name in ranks], np.array(list(ranks.values())))


def test_a_config_has_the_rank_of_the_three_that_are_nearest_to_it():
    assert table(x10=0.0, x20=0.3, x0=0.6, x90=1.0).rank_of({"x": 0.1}, LINE) == pytest.approx(0.3), "one may be luck"
    assert table(x10=0.25).rank_of({"x": 0.9}, LINE) == 0.25
    assert Table([], np.array([])).rank_of({"x": 0.1}, LINE) == 1.0


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_ranks_are_from_0_the_best_to_1_among_all_results_of_a_study(write, old, direction):
    spec = load(write(space=SPACE, study={"direction": f'"{direction}"'}))
    source = old("one", 0.3, count=5, direction=direction)
    source.add_trial(create_trial(state=optuna.trial.TrialState.PRUNED))
    found = Table.of(source, spec)
    assert list(found.ranks) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert found.configs[0] == source.best_params
    half = load(
        write(space={**SPACE, "kind": '{ type = "categorical", choices = ["a"] }'}, study={"direction": f'"{direction}"'})
    )
    fits = Table.of(source, half)
    places = [found.configs.index({**config, "kind": "a"}) for config in fits.configs]
    assert list(fits.ranks) == [found.ranks[place] for place in places], "what does not fit has its place all the same"
    assert 0 < len(places) < 5


def test_what_adds_nothing_to_a_portfolio_is_left_out_and_what_is_good_elsewhere_is_not():
    alike = table(x0=0.5, x50=0.5, x100=0.5)
    assert choose(LINE, [alike]) == [{"x": 0.0}]
    here, there = (
        table(x0=0.0, x1=0.0, x2=0.0, x98=1.0, x99=1.0, x100=1.0),
        table(x98=0.0, x99=0.0, x100=0.0, x0=1.0, x1=1.0, x2=1.0),
    )
    assert [round(config["x"]) for config in choose(LINE, [here, there])] == [0, 1]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_what_did_best_across_them_is_tried_first(write, old, direction):
    spec = load(write(space=SPACE, study={"direction": f'"{direction}"'}))
    sources = [old("one", 0.3, direction=direction), old("two", 0.35, scale=100.0, direction=direction)]
    study, lines = begin(spec, sources)
    [first, *_] = asked(study, spec, 1)
    assert abs(first.params["x"] - 0.325) < 0.15
    assert abs(first.params["n"] - 5) <= 1
    assert first.params["kind"] == "a"
    assert lines[0].startswith(f"Portfolio: {len(portfolio_of(study).configs)} config")
    assert lines[0].endswith("that did best across one and two, tried first.")


def test_each_study_has_one_that_is_good_there_whatever_the_scale_of_its_values(write, old):
    spec = load(write(space=SPACE))
    goals = {"one": (0.1, 2, "a"), "two": (0.9, 8, "b"), "three": (0.5, 5, "a")}
    study, _ = begin(spec, [old(name, *goal, scale=10.0**at) for at, (name, goal) in enumerate(goals.items())])
    configs = portfolio_of(study).configs
    assert 3 <= len(configs) <= MOST
    for x, n, kind in goals.values():
        assert min(distance(config, {"x": x, "n": n, "kind": kind}, spec.space) for config in configs) < 0.15


def test_configs_that_are_nearly_the_same_are_tried_once(write, old):
    spec = load(write(space=SPACE))
    study, _ = begin(spec, [old(name, 0.5, count=200) for name in ("one", "two", "three")])
    configs = portfolio_of(study).configs
    pairs = [distance(a, b, spec.space) for at, a in enumerate(configs) for b in configs[:at]]
    assert all(pair >= 0.1 for pair in pairs)


def test_configs_that_only_differ_in_what_they_were_trained_for_are_tried_once(write, old):
    sources = [old("one", 0.5, n=1, count=200), old("two", 0.5, n=9, count=200)]
    assert len({config["n"] for config in portfolio_of(begin(load(write(space=SPACE)), sources)[0]).configs}) > 1
    spec = load(write(space={**SPACE, "n": '{ type = "int", low = 1, high = 9, fidelity = true }'}))
    study, lines = begin(spec, sources)
    configs = portfolio_of(study).configs
    assert all(config.keys() == {"x", "kind"} for config in configs)
    assert all(distance(a, b, spec.drawn) >= 0.1 for at, a in enumerate(configs) for b in configs[:at])
    assert lines[0].startswith(f"Portfolio: {len(configs)} config")


def test_they_come_after_the_files_own_queue_and_before_the_design(write, old):
    spec = load(write(space=SPACE, enqueue='[[enqueue]]\nx = 0.75\nn = 1\nkind = "b"\n'))
    study, _ = begin(spec, [old("one", 0.1, 2), old("two", 0.9, 8, "b")])
    configs = portfolio_of(study).configs
    trials = asked(study, spec, len(configs) + 2)
    assert trials[0].params == {"x": 0.75, "n": 1, "kind": "b"}
    assert [trial.params for trial in trials[1:-1]] == list(configs) == [trial.user_attrs[QUEUED_KEY] for trial in trials[1:-1]]
    assert trials[-1].params == {"x": 0.5, "n": 5, "kind": "a"}, "the middle"


def test_a_study_that_is_resumed_goes_on_with_its_portfolio(write, old):
    spec = load(write(space=SPACE))
    sources = [old("one", 0.1, 2), old("two", 0.9, 8, "b")]
    study, _ = begin(spec, sources)
    configs = portfolio_of(study).configs
    first = asked(study, spec, 1)
    assert add_portfolio(study, spec, sources) == []
    trials = [*first, *asked(study, spec, len(configs) - 1)]
    assert [trial.params for trial in trials] == list(configs)
    whole, _ = begin(spec, sources)
    assert [trial.user_attrs[SEED_KEY] for trial in trials] == [
        trial.user_attrs[SEED_KEY] for trial in asked(whole, spec, len(configs))
    ]


def test_what_the_new_space_does_not_hold_stays_behind_and_what_is_new_is_drawn(write, old):
    sources = [old("one", 0.1, 2), old("two", 0.9, 8, "b")]
    narrow = {**SPACE, "x": '{ type = "float", low = 0.4, high = 1.0 }', "extra": '{ type = "float", low = 0.0, high = 1.0 }'}
    spec = load(write(space=narrow))
    study, _ = begin(spec, sources)
    assert all(0.4 <= config["x"] <= 1.0 and config.keys() == {"x", "n", "kind"} for config in portfolio_of(study).configs)
    assert "extra" in asked(study, spec, 1)[0].params
    spec = load(write(space={**SPACE, "x": '{ type = "float", low = 5.0, high = 6.0 }'}))
    study, lines = begin(spec, sources)
    assert portfolio_of(study).configs == ()
    assert lines[1:] == [
        f"Nothing of {name} fits: it has no COMPLETE trial whose values this space holds." for name in ("one", "two")
    ]


def test_what_was_kept_for_another_space_is_not_tried(write):
    spec = load(write(space=SPACE))
    study = optuna.create_study(direction="maximize")
    study.set_user_attr(PORTFOLIO_KEY, {"studies": ["a", "b"], "configs": [{"x": 7.0}, {"other": 1}, {"x": 0.25}]})
    assert asked(study, spec, 1)[0].params["x"] == 0.25


def test_what_cannot_be_begun_so_is_one_line(write, old):
    one, two = old("one", 0.1), old("two", 0.2)
    spec = load(write(space=SPACE))
    study, _ = begin(spec, [one, two])
    with pytest.raises(StudyError, match='study "new": must keep its portfolio, of one, two; got two, one'):
        add_portfolio(study, spec, [two, one])
    with pytest.raises(StudyError, match='study "one": must be new for a portfolio; got 60 trials'):
        add_portfolio(one, spec, [two, study])
    with pytest.raises(StudyError, match='one direction, this one\'s; got minimize from "down"'):
        begin(spec, [one, old("down", 0.5, direction="minimize")])
    none = load(write(space=SPACE, sampler={"name": '"none"'}, enqueue='[[enqueue]]\nx = 0.5\nn = 1\nkind = "a"\n'))
    with pytest.raises(StudyError, match="a portfolio needs a sampler that draws; got none"):
        begin(none, [one, two])


def test_a_launch_from_several_studies(write, search, read_study):
    for name in ("one", "two"):
        write(study={"name": f'"{name}"', "trials": "4", "storage": '"sqlite:///all.db"', "seed": str(len(name))})
        search("launch", "demo.toml", "--quiet")
    write(study={"name": '"new"', "trials": "3", "storage": '"sqlite:///all.db"'})
    done = search("launch", "demo.toml", "--warm-start", "one,sqlite:///all.db#two")
    assert "that did best across one and two, tried first.\n" in done.stdout
    study = optuna.load_study(study_name="new", storage="sqlite:///all.db")
    best = {optuna.load_study(study_name=name, storage="sqlite:///all.db").best_params["x"] for name in ("one", "two")}
    assert study.trials[0].params["x"] in best
    assert len(study.trials) == 3, "they are no trials of this study"
    refused = search("launch", "demo.toml", "--as", "newer", "--warm-start", "one,one", code=1)
    assert "--warm-start: must name studies that differ; got 'one,one'" in refused.stderr
