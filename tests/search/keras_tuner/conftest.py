import json
import os
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.search.keras_tuner.projects import START, X


@pytest.fixture
def write_project(folder):
    """Writes a project as KerasTuner would, one trial a minute, each of 30 s; returns its folder."""

    def write(*trials, name="project", space=(X,), known_times=True, digits=2, **oracle):
        project = Path(name)
        space = list(space)
        ids = [f"{number:0{digits}}" for number in range(len(trials))]
        starts = [START + timedelta(minutes=number) for number in range(len(trials))]
        for number, (trial_id, content) in enumerate(zip(ids, trials, strict=True)):
            content = dict(content)
            content["hyperparameters"] = {"space": space, "values": content.pop("values")}
            path = project / f"trial_{trial_id}" / "trial.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"trial_id": trial_id, **content}))
            ended = (starts[number] + timedelta(seconds=30)).timestamp()
            os.utime(path, (ended, ended))
        shown = {trial_id: start.isoformat() for trial_id, start in zip(ids, starts, strict=True)} if known_times else {}
        content = {
            "hyperparameters": {"space": space, "values": {}},
            "start_order": ids,
            "end_order": [trial_id for trial_id, content in zip(ids, trials, strict=True) if content["status"] != "RUNNING"],
            "display": {"search_start": None, "trial_start": shown, "trial_number": {}},
            **oracle,
        }
        (project / "oracle.json").write_text(json.dumps(content))
        return project

    return write


@pytest.fixture
def hypermodels(folder):
    """Puts the module of HyperModels into the test's folder, as a user's own."""
    shutil.copy(Path(__file__).with_name("hypermodels.py"), folder)
    yield
    sys.modules.pop("hypermodels", None)
