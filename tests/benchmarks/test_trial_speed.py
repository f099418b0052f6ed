import tomllib

import pytest

from benchmarks.trial_speed.ours import write_study
from benchmarks.trial_speed.records import Contender, Sample, TrialRecord
from benchmarks.trial_speed.report import OURS, Comparison, document, table
from benchmarks.trial_speed.scenarios import SCENARIOS, Work
from search.study_file.load import load
from tumorcls.config.train_config import TrainConfig

WORK = Work(SCENARIOS["head"], "weights.h5", frozen_batch_norm=True, trials=3, minutes=None, seed=0)


def contender(name, seconds, steps, epochs=8):
    trials = [TrialRecord(100.0 + seconds * (i + 1), epochs, steps, 0.5 + 0.1 * (i == 1)) for i in range(3)]
    return Contender(name, 100.0, trials, [Sample(100.0 + seconds * i / 2, 500.0 + 10 * i) for i in range(8)])


def test_figures_are_what_a_hand_count_gives():
    measured = contender("peer", seconds=60.0, steps=45.0)
    assert measured.trials_per_hour(epochs=8) == 60.0
    assert measured.seconds_outside() == [15.0] * 3
    assert measured.outside_from_second() == 15.0
    assert measured.memory_after_trials() == [520.0, 540.0, 560.0]
    assert measured.growth_mib() == 20.0
    assert measured.peak_mib() == 570.0
    assert measured.best_by_time() == [(60.0, 0.5), (120.0, 0.6), (180.0, 0.6)]


def test_a_short_trial_counts_as_its_share_of_a_whole_one():
    assert contender("hyperband", seconds=60.0, steps=45.0, epochs=2).trials_per_hour(epochs=8) == 15.0


def test_peers_are_compared_and_the_cache_pays_off_after_so_many_trials():
    comparison = Comparison(
        WORK, {"train": 9, "validation": 3}, [contender(OURS, 2.0, 1.0), contender("peer", 60.0, 45.0)], 290.0, 0.0
    )
    peer = document(comparison)["contenders"][1]
    assert peer["times_as_many"] == pytest.approx(30.0)
    assert peer["cache_paid_after_trials"] == pytest.approx(5.0)
    assert "30.0 times" in table(comparison)
    assert "5.0 (peer)" in table(comparison)


def test_the_study_file_is_one_that_search_and_the_classifier_take(tmp_path):
    path, url = write_study(WORK, tmp_path)
    spec = load(path)
    assert (spec.policy.trials, spec.storage) == (3, url)
    assert TrainConfig.parse(tomllib.loads(path.read_text())["objective"], where="test").score == ("clean_f1",)
