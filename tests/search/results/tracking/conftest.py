import json
import subprocess
import sys
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from search.records.attributes import FAILURE_KEY, PROVENANCE_KEY, RETRY_KEY, TOKEN_KEY
from search.records.rungs import RUNGS_KEY
from tests.patience import PATIENCE_S

BEGAN = datetime(2026, 3, 1, 12)
SPACE = {"x": FloatDistribution(0, 1), "kind": CategoricalDistribution(["a", "b"])}
READ_EVENTS = """
import hashlib, json, sys, types
sys.modules["tensorboard.compat.notf"] = types.ModuleType("notf")  # without TensorFlow
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

result = {}
for folder in sys.argv[1:]:
    events = EventAccumulator(folder, size_guidance={"scalars": 0}).Reload()
    tags = events.Tags()
    scalars = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags["scalars"]}
    content = {tag: events.SummaryMetadata(tag).plugin_data.content for tag in tags["tensors"] if tag.startswith("_hparams_")}
    hparams, status = {}, None
    if metadata.SESSION_START_INFO_TAG in content:
        start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
        hparams = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    if metadata.SESSION_END_INFO_TAG in content:
        status = metadata.parse_session_end_info_plugin_data(content[metadata.SESSION_END_INFO_TAG]).status
    experiment = {}
    if metadata.EXPERIMENT_TAG in content:
        shown = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG])
        experiment["hparams"] = [info.name for info in shown.hparam_infos]
        experiment["metrics"] = [info.name.tag for info in shown.metric_infos]
    images = {}
    for tag in tags["images"]:
        shown = [(event, hashlib.sha256(event.encoded_image_string).hexdigest()) for event in events.Images(tag)]
        images[tag] = [(event.step, event.width, event.height, digest) for event, digest in shown]
    result[folder] = {"scalars": scalars, "images": images, "hparams": hparams, "status": status, "experiment": experiment}
print(json.dumps(result))
"""


def add(study, state, *, value=None, reports=(), began=0.0, seconds=60.0, user=None, system=None, params=None):
    """Adds a trial that began some minutes after the study."""
    start = BEGAN + timedelta(minutes=began)
    params = {"x": 0.25, "kind": "a"} if params is None else params
    trial = create_trial(
        state=state,
        value=value,
        params=params,
        distributions={name: SPACE[name] for name in params},
        intermediate_values=dict(enumerate(reports)),
        user_attrs=user or {},
        system_attrs=system or {},
    )
    trial.datetime_start = None if state is TrialState.WAITING and not reports else start
    trial.datetime_complete = start + timedelta(seconds=seconds) if state.is_finished() else None
    study._storage.create_new_trial(study._study_id, template_trial=trial)


def fill(study):
    """One trial of each kind."""
    study.set_metric_names(["score"])
    study._storage.set_study_system_attr(study._study_id, TOKEN_KEY, "1234567890abcdef")
    add(study, TrialState.COMPLETE, value=0.5, reports=[0.1, 0.3, 0.5], user={"note": "fine", "search:seed": 7})
    add(study, TrialState.PRUNED, reports=[0.1, float("nan")], began=1, params={"x": 0.5, "kind": "b"})
    add(study, TrialState.FAIL, began=2, user={FAILURE_KEY: "ValueError: no"}, params={"x": 0.75, "kind": "b"})
    add(study, TrialState.FAIL, began=3, user={FAILURE_KEY: "interrupted"}, reports=[0.2])
    add(study, TrialState.COMPLETE, value=0.9, reports=[0.8], began=4, user={RETRY_KEY: 3})
    add(study, TrialState.WAITING, reports=[0.4, 0.45], began=5, system={RUNGS_KEY: {"2": [0.45, 3.0]}})
    add(study, TrialState.RUNNING, reports=[0.6], began=6)
    add(study, TrialState.WAITING, params={})
    add(study, TrialState.COMPLETE, value=0.7, began=7, system={PROVENANCE_KEY: {"notice": "Research only."}})
    return study


@pytest.fixture
def study():
    """A study in memory with a trial of each kind."""
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        return fill(optuna.create_study(study_name="demo", direction="maximize"))


def read_events(*folders):
    """Returns what TensorBoard's own reader finds in folders, in a process that does without TensorFlow."""
    command = [sys.executable, "-c", READ_EVENTS, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout).values())
