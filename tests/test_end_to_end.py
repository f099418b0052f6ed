"""Whole studies of the classifier, launched as a person launches them. The way from there to a prediction: `test_readme.py`."""

import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from statistics import median

import optuna
import pytest
import tomli_w

from tests.patience import PATIENCE_S

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def type_in(tmp_path, monkeypatch):
    """Returns a function that runs a command line of ours in an empty folder."""
    monkeypatch.setenv("TUMORCLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))

    def run(line, code=0):
        command, *arguments = line.split()
        done = subprocess.run(
            [sys.executable, "-m", command, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=os.environ,
            timeout=PATIENCE_S,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def small_study(tmp_path, **objective):
    """Writes the quickstart with fewer and smaller trials."""
    study = tomllib.loads((REPOSITORY / "studies" / "quickstart.toml").read_text())
    study["study"]["trials"] = 3
    study["space"]["epochs"] = {"type": "int", "low": 2, "high": 4, "step": 2}
    study["enqueue"] = [{"epochs": 2}]
    study["pruner"]["n_startup_trials"] = 1
    study["objective"] |= {"data": "phantoms:96", "image_size": 32, "trainable_from": "head", "noisy_images": 16} | objective
    (tmp_path / "study.toml").write_text(tomli_w.dumps(study))


@pytest.mark.slow
def test_the_quickstart_finds_something(type_in, tmp_path):
    (tmp_path / "quickstart.toml").write_bytes((REPOSITORY / "studies" / "quickstart.toml").read_bytes())
    launched = type_in("search launch quickstart.toml")
    assert "the images are generated" in launched.stdout + launched.stderr
    study = optuna.load_study(study_name="quickstart", storage=f"sqlite:///{tmp_path}/quickstart.db")
    assert len(study.trials) >= 30
    assert study.best_value >= 0.75
    assert study.best_value - median(trial.value for trial in study.trials[:10]) >= 0.05
    assert sum(trial.state.name == "PRUNED" for trial in study.trials) >= 3
    hand_picked, without_noise = study.trials[:2]
    assert without_noise.params == hand_picked.params | {"noise_intensity": 0.0}
    assert without_noise.value < hand_picked.value
    assert study.best_params["noise_intensity"] > 0.0
    assert "█" in type_in("search status quickstart.toml --by noise_intensity").stdout


@pytest.mark.slow
def test_two_directions_give_a_front_and_a_rule_chooses_from_it(type_in, tmp_path):
    small_study(tmp_path, score=["clean_f1", "noisy_f1"])
    study = tomllib.loads((tmp_path / "study.toml").read_text())
    del study["study"]["direction"], study["study"]["metric"]
    study["study"] |= {"directions": ["maximize", "maximize"], "metrics": ["clean_f1", "noisy_f1"]}
    (tmp_path / "study.toml").write_text(tomli_w.dumps(study))
    assert "no pruner can ever prune" in type_in("search launch study.toml", code=1).stderr
    del study["pruner"]
    (tmp_path / "study.toml").write_text(tomli_w.dumps(study))
    type_in("search launch study.toml")
    assert "Pareto front, " in type_in("search status study.toml").stdout
    type_in("search export study.toml --by compromise -o best.toml")
    exported = tomllib.loads((tmp_path / "best.toml").read_text())
    assert exported["config"]["score"] == ["clean_f1", "noisy_f1"]
    assert exported["provenance"]["chosen_by"] == "compromise"


@pytest.mark.slow
def test_the_same_file_and_seed_give_the_same_study(type_in, tmp_path):
    small_study(tmp_path)
    results = []
    for name in ("a", "b"):
        type_in(f"search launch study.toml --quiet --storage sqlite:///{name}.db")
        study = optuna.load_study(study_name="quickstart", storage=f"sqlite:///{tmp_path}/{name}.db")
        results.append([(trial.params, trial.value, trial.intermediate_values) for trial in study.trials])
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"data": "/nowhere"}, "must exist"),
        ({"weights": "imagnet"}, "does not exist"),
        ({"dropuot": 0.5}, "Did you mean dropout?"),
    ],
)
def test_what_is_wrong_with_the_objective_is_one_line(type_in, tmp_path, changed, rule):
    small_study(tmp_path, **changed)
    done = type_in("search launch study.toml", code=1)
    assert len(done.stderr.splitlines()) == 1
    assert rule in done.stderr


@pytest.mark.slow
def test_no_backend_is_one_line_that_names_the_extra(type_in, tmp_path, monkeypatch):
    small_study(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    if importlib.util.find_spec("jax"):
        pytest.skip("JAX is installed here")
    done = type_in("search launch study.toml", code=1)
    assert "tumorcls[jax]" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_studies_that_ship_are_valid(monkeypatch):
    from search.study_file.load import load
    from tumorcls.config.train_config import TrainConfig

    monkeypatch.delenv("TUMORCLS_DATA", raising=False)
    monkeypatch.delenv("TUMORCLS_WEIGHTS", raising=False)
    for path in sorted((REPOSITORY / "studies").glob("*.toml")):
        spec = load(path)
        for entry in spec.enqueue or ({},):
            TrainConfig.parse({**spec.settings, **entry}, where=str(path))
