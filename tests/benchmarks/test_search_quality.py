import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search_quality import runs as running
from benchmarks.search_quality.contenders import OURS
from benchmarks.search_quality.records import Finished, Run, Task
from benchmarks.search_quality.report import Report, read_runs, share_interval, speed_up

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
PEER = "optuna_tpe"
TASK = Task({"data": ["there/sartaj"], "weights": "none", "image_size": 64, "trainable_from": "head"}, 10.0)


def run(contender, seed, *finished):
    return Run.of(contender, seed, len(finished) + 1, [Finished(ended, value, {}, 0) for ended, value in finished])


def runs(lead=0.0, seeds=5):
    """Ours has .7 after 1 s and .8 after 4 s, the peer .7 after 2 s and .8 less the lead after 8 s, a little more each seed."""
    for seed in range(seeds):
        more = seed / 1000
        yield run(OURS, seed, (1.0, 0.7), (4.0, 0.8 + more), (5.0, 0.1))
        yield run(PEER, seed, (2.0, 0.7 - lead), (8.0, 0.8 + more - lead))


def test_the_area_is_the_mean_of_the_best_so_far_and_0_before_the_first():
    assert run(OURS, 0, (2.0, 0.5), (6.0, 1.0), (8.0, 0.7)).area(10.0) == pytest.approx((4 * 0.5 + 4 * 1.0) / 10, abs=1e-3)
    assert run(OURS, 0).area(10.0) == 0.0


def test_from_an_eighth_of_the_time_on_who_is_there_first_does_not_count():
    soon, late = run(OURS, 0, (0.1, 0.5), (5.0, 1.0)), run(PEER, 0, (1.0, 0.5), (5.0, 1.0))
    report = Report(TASK, (soon, late))
    assert soon.area(10.0) > late.area(10.0) + 0.04
    assert report.later_areas(OURS)[0] == report.later_areas(PEER)[0] == pytest.approx((3.75 * 0.5 + 5 * 1.0) / 8.75, abs=1e-3)
    assert "from 1/8 on" in report.table()


def test_a_score_is_there_from_the_first_trial_that_has_it_on():
    assert [run(OURS, 0, (2.0, 0.5), (6.0, 1.0)).time_to(score) for score in (0.5, 0.6, 1.1)] == [2.0, 6.0, np.inf]


def test_times_to_the_peers_median_score_count_our_runs_that_never_have_it():
    measured = speed_up([(run(OURS, seed, (1.0 + seed, 0.6 + seed / 10)), run(PEER, seed, (8.0, 0.8))) for seed in range(5)])
    assert (measured.score, measured.own_s) == (0.8, 8.0)
    assert measured.our_s == 5.0, "seeds 2, 3 and 4 have it, after 3, 4 and 5 s, the others never: the third of five"


def test_the_interval_of_the_share_is_narrow_where_seeds_agree_and_open_where_ours_mostly_never_have_it():
    agree = [(run(OURS, seed, (2.0, 0.8)), run(PEER, seed, (8.0, 0.8))) for seed in range(6)]
    assert share_interval(agree) == (0.25, 0.25)
    some = [(run(OURS, seed, (2.0, 0.8 if seed else 0.5)), run(PEER, seed, (8.0, 0.8))) for seed in range(2)]
    assert share_interval(some) == (0.25, np.inf)


@pytest.mark.parametrize(("lead", "p"), [(0.01, 2 / 32), (-0.01, 2 / 32), (0.0, 1.0)])
def test_scores_are_paired_by_seed_and_a_lead_in_all_five_is_the_least_p(lead, p):
    report = Report(TASK, (*runs(lead), run(OURS, 9, (1.0, 0.0))))  # no peer has seed 9
    assert report.p_values(report.bests) == {PEER: p}


@pytest.mark.parametrize("path", sorted(RESULTS.glob("search_quality*.json")), ids=lambda path: path.stem)
def test_what_is_kept_says_of_its_runs_what_the_report_of_now_does(path):
    document = json.loads(path.read_text())
    task = Task(document["settings"], document["seconds"], document["stacks"])
    report = Report(task, read_runs(path, task))
    assert {"area": report.p_values(report.areas), "best": report.p_values(report.bests)} == document["p_values"]
    lines = path.with_suffix(".txt").read_text().splitlines()
    assert set(report.table().splitlines()[1 : len(report.names) + 3]) <= set(lines)


def test_p_values_are_corrected_for_the_number_of_peers():
    other = [run("optuna_random", seed, (3.0, 0.5)) for seed in range(5)]
    report = Report(TASK, (*runs(0.01), *other))
    assert report.p_values(report.areas) == {PEER: 4 / 32, "optuna_random": 4 / 32}


def test_the_table_has_a_line_for_each_contender_that_ran_and_each_peer_that_is_compared():
    table = Report(TASK, (*runs(0.01), run("optuna_random", 0))).table()
    assert "10 s a run on one core, sartaj at 64 pixels, trained from head on" in table
    named = [line.split()[0] for line in table.splitlines() if line.startswith((OURS, "optuna"))]
    assert named == [OURS, "optuna_random", PEER, PEER], "this project first; who finished nothing is waited for by nobody"
    assert "0.50    0.50 to 0.50   0 of 5" in table


def test_regret_is_drawn_on_a_log_axis_and_never_at_0():
    figure = Report(TASK, tuple(runs())).plot()
    assert figure.layout.yaxis.type == "log"
    ours = next(trace for trace in figure.data if trace.name == OURS)
    assert (ours.y[0], ours.y[-1]) == pytest.approx((0.104, 0.002)), ".804 is the best of all, the median of ours .7 and .802"
    assert min(ours.y) > 0


def test_what_was_written_is_gone_on_with_and_that_of_another_task_is_not(tmp_path):
    report = Report(TASK, tuple(runs()))
    report.write(tmp_path)
    path = tmp_path / "search_quality.json"
    again = read_runs(path, TASK)
    assert Report(TASK, again).table() == report.table()
    for other in (Task(TASK.settings, 20.0), Task(TASK.settings, 10.0, "own")):
        with pytest.raises(SystemExit, match=r"Name another --output\."):
            read_runs(path, other)


def test_a_run_begins_when_what_is_done_with_the_one_before_is_over(monkeypatch):
    """On one core: what the report of a run takes, the next one would lack."""
    told = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(running, "ProcessPoolExecutor", lambda workers, *_, **__: ThreadPoolExecutor(workers))
    monkeypatch.setattr(running, "run_one", lambda _, contender, seed: told.append(f"run {seed}") or run(contender, seed))
    wanted = [(OURS, seed) for seed in range(3)]
    running.search_all(TASK, wanted, lambda done: told.append(f"done {done.seed}"))
    assert told == ["run 0", "done 0", "run 1", "done 1", "run 2", "done 2"]


def test_stacks_have_their_own_settings_and_are_told_apart():
    own = Task({**TASK.settings, "score": "clean_f1"}, 10.0, "own")
    assert (TASK.metric, own.metric) == ("robust_f1", "clean_f1")
    table = Report(own, tuple(runs())).table()
    assert "each tool with its own stack" in table
    assert "best clean F1" in table
