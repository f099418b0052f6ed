"""This project's part: the study file for the driver, the cache that it finds warm, and what its storage tells.

python -m benchmarks.trial_speed.ours prepare WORK OUTPUT
python -m benchmarks.trial_speed.ours fill WORK OUTPUT
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import tomli_w

from benchmarks.trial_speed.records import TrialRecord
from benchmarks.trial_speed.scenarios import NOISE_LEVELS, SPACE, Work

STUDY = "trial-speed"


def write_study(work: Work, folder: Path) -> tuple[Path, str]:
    """Writes a study file into a folder.

    Returns:
        The file and the URL of its storage.
    """
    url = f"sqlite:///{folder}/search.db"
    document = {
        "study": {
            "name": STUDY,
            "objective": "tumorcls.objective:BrainTumourObjective",
            "storage": url,
            "direction": "maximize",
            "metric": "clean_f1",
            "trials": work.trials,
            "seed": work.seed,
        },
        "space": {name: {"type": "float", **options} for name, options in SPACE.items()},
        "sampler": {"name": "tpe"},
        "pruner": {"name": "none"},
        "objective": work.settings(),
    }
    path = folder / "study.toml"
    path.write_bytes(tomli_w.dumps(document).encode())
    return path, url


def read_trials(url: str) -> list[TrialRecord]:
    """Reads what the driver wrote of each trial."""
    trials = optuna.load_study(study_name=STUDY, storage=url).get_trials(states=[optuna.trial.TrialState.COMPLETE])
    records = []
    for trial in trials:
        assert trial.datetime_complete is not None
        assert trial.value is not None
        seconds = trial.user_attrs["seconds"]
        steps_s = seconds["training"] + seconds["validation"]
        records.append(TrialRecord(trial.datetime_complete.timestamp(), len(trial.intermediate_values), steps_s, trial.value))
    return records


def prepare(work: Work, output: Path) -> None:
    """Decodes the images and writes random weights down, so that nobody's clock runs meanwhile."""
    from tumorcls.cache.folder import cache_folder
    from tumorcls.config.train_config import TrainConfig
    from tumorcls.model.backbone import build_backbone
    from tumorcls.training.trainer import Trainer

    config = TrainConfig.parse(work.settings(), where="benchmark")
    trainer = Trainer.open(config, cache_folder())
    counts = {part: len(trainer.images(part, config.image_size).labels) for part in ("train", "validation")}
    weights = work.weights
    if weights == "none":
        weights = str(output.with_suffix(".weights.h5"))
        build_backbone(config.image_size, "none").save_weights(weights)
    output.write_text(json.dumps({"weights": weights, "images": counts}))


def fill(work: Work, output: Path) -> None:
    """Fills the cache with all that trials of the space can ask for, which the first trials of a study do otherwise."""
    started = time.time()
    views, _ = cached_rows(work)
    output.write_text(json.dumps({"seconds": time.time() - started, "views": sum(map(len, views.values()))}))


def cached_rows(work: Work) -> tuple[dict[float, list[Any]], Any]:
    """Returns what comes out of the frozen part, float16: the views of each level of noise, and validation images."""
    from tumorcls.cache.arrays import ArrayCache
    from tumorcls.cache.folder import cache_folder
    from tumorcls.config.train_config import TrainConfig
    from tumorcls.training.features import Features
    from tumorcls.training.trainer import Trainer

    config = TrainConfig.parse(work.settings(), where="benchmark")
    trainer = Trainer.open(config, cache_folder())
    train, validation = (trainer.images(part, config.image_size) for part in ("train", "validation"))
    features = Features(trainer.programs.get(config), ArrayCache(cache_folder()))
    recipes = {level: replace(config.view_recipe, noise_intensity=level) for level in NOISE_LEVELS}
    used_views = range(min(config.cached_views, config.epochs))
    views = {level: [features.training_view(recipe, train, view) for view in used_views] for level, recipe in recipes.items()}
    return views, features.of_images(validation.images, validation.key)


def main() -> None:
    command, work, output = sys.argv[1:]
    {"prepare": prepare, "fill": fill}[command](Work.read(Path(work)), Path(output))


if __name__ == "__main__":
    main()
