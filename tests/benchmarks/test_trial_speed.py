import tomllib
from dataclasses import replace

import numpy as np
import optuna
import pytest

from benchmarks.trial_speed.ours import write_study
from benchmarks.trial_speed.records import Contender, Sample, TrialRecord
from benchmarks.trial_speed.report import OURS, Comparison, document, table
from benchmarks.trial_speed.scenarios import NOISE_LEVELS, SCENARIOS, Work
from search.study_file.load import load
from tumorcls.config.train_config import TrainConfig
from tumorcls.model.backend import select_backend

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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_peer_on_cached_features_trains_the_head_on_the_views_that_we_have(tmp_path, monkeypatch):
    """It reports each epoch, and its head gets what comes out of the frozen part: here as many views as epochs."""
    pytest.importorskip("keras_tuner")
    select_backend()
    import keras

    from benchmarks.trial_speed import peers
    from benchmarks.trial_speed.ours import cached_rows

    monkeypatch.setenv("TUMORCLS_CACHE", str(tmp_path / "cache"))
    scenario = replace(SCENARIOS["head"], data="phantoms:60", image_size=32, epochs=2)
    work = replace(WORK, scenario=scenario, weights="phantoms", trials=2)
    views, validation = cached_rows(work)
    assert {level: len(seen) for level, seen in views.items()} == dict.fromkeys(NOISE_LEVELS, 2)
    peer = peers.Peer.of(work)
    seen = []
    fit = keras.Sequential.fit
    monkeypatch.setattr(keras.Sequential, "fit", lambda model, rows, *a, **k: seen.append(rows) or fit(model, rows, *a, **k))
    peers.RUNS["optuna_keras_cached"](peer, tmp_path)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/optuna.db")
    assert [(trial.epochs, trial.score) for trial in peer.trials] == [(2, trial.value) for trial in study.trials]
    for trial, rows in zip(study.trials, (seen[:2], seen[2:]), strict=True):
        assert sorted(trial.intermediate_values) == [0, 1]
        np.testing.assert_array_equal(rows, np.float32(views[trial.params["noise_intensity"]]))
    assert validation.shape[1:] == rows[0].shape[1:] == (1280,)


def test_the_study_file_is_one_that_search_and_the_classifier_take(tmp_path):
    path, url = write_study(WORK, tmp_path)
    spec = load(path)
    assert (spec.policy.trials, spec.storage) == (3, url)
    assert TrainConfig.parse(tomllib.loads(path.read_text())["objective"], where="test").score == ("clean_f1",)
