"""What diverges ends in one line wherever something is trained: it gets no value, and becomes no model."""

import math

import cv2
import numpy as np
import optuna
import pytest
import tomli_w
from click.testing import CliRunner

from tests.tumorcls.pictures import blob
from tumorcls.commands import leave_one_source_out, train
from tumorcls.data.labels import CLASSES
from tumorcls.errors import TrainingDivergedError
from tumorcls.model.divergence import check_finite
from tumorcls.model.program import TrainingProgram
from tumorcls.objective import BrainTumourObjective
from tumorcls.training.checkpoint import Checkpoints

pytestmark = pytest.mark.usefixtures("shared_programs")

TOLD = {
    "loss": r"epoch {epoch} of 2: the training loss must stay finite; got nan\. Lower learning_rate\.",
    "weights": r"epoch {epoch} of 2: each weight must stay finite; got inf\. Lower learning_rate\.",
    "answers": r"the network's answers must stay finite; got -?inf\. Lower learning_rate\.",
}


@pytest.fixture
def diverge(monkeypatch):
    """Returns a function that has a program diverge in an epoch, counted from 1 over all runs: in its loss or in its last step.

    An epoch's loss is finite where it is the last step that goes too far, and so are weights that only overflow on the way.
    """
    real = TrainingProgram.train_epoch

    def begin(how, at):
        epochs = iter(range(1, 1000))

        def train_epoch(program, *what):
            loss = real(program, *what)
            if next(epochs) != at:
                return loss
            if how != "loss":
                kernel, bias = program.weights()[-2:]
                kernel[:, 1] = {"weights": math.inf, "answers": 3e38}[how]
                program.set_head(kernel, bias)
            return math.nan if how == "loss" else loss

        monkeypatch.setattr(TrainingProgram, "train_epoch", train_epoch)

    return begin


def told(how, epoch=2):
    return TOLD[how].format(epoch=epoch)


@pytest.mark.parametrize("how", TOLD)
def test_a_run_ends_and_leaves_no_checkpoint_of_it(trainer, make_config, diverge, tmp_path, how):
    diverge(how, at=2)
    seen = []
    with pytest.raises(TrainingDivergedError, match=told(how)):
        trainer.fit(make_config(), 0, seen.append, checkpoints=Checkpoints(tmp_path))
    assert [epoch.number for epoch in seen] == [0]
    [kept] = tmp_path.iterdir()
    with np.load(kept) as arrays:
        assert all(np.isfinite(arrays[name]).all() for name in arrays.files)


@pytest.mark.parametrize("how", TOLD)
def test_a_trial_fails_rather_than_get_the_value_of_always_one_class(settings, shared_cache, monkeypatch, diverge, how):
    monkeypatch.setenv("TUMORCLS_CACHE", str(shared_cache))
    objective = BrainTumourObjective(**settings)
    diverge(how, at=2)
    study = optuna.create_study(direction="maximize")

    def asked_for_dropout(trial):
        trial.suggest_float("dropout", 0.1, 0.2)
        return objective(trial)

    with pytest.raises(TrainingDivergedError, match=told(how)):
        study.optimize(asked_for_dropout, n_trials=1)
    [trial] = study.trials
    assert trial.state == optuna.trial.TrialState.FAIL


@pytest.mark.parametrize(
    ("options", "at", "what"),
    [
        ([], 2, ""),
        (["--final"], 4, ""),
        (["--keep-members"], 4, "trial 8: "),
        (["--final"], 6, "trial [78]: "),
    ],
)
def test_train_writes_no_model(make_config, shared_cache, monkeypatch, diverge, tmp_path, options, at, what):
    monkeypatch.setenv("TUMORCLS_CACHE", str(shared_cache))
    config = make_config().model_dump(mode="json")
    members = [{"trial": number, "seed": number, "config": config} for number in (7, 8)] if what else []
    file = {"config": config, "provenance": {"seed": 7}, **({"members": members} if members else {})}
    (tmp_path / "best.toml").write_text(tomli_w.dumps(file))
    diverge("weights", at)
    output = tmp_path / "model.keras"
    with pytest.raises(TrainingDivergedError, match=f"^{what}{told('weights')}$"):
        CliRunner().invoke(
            train.command, ["--config", str(tmp_path / "best.toml"), "-o", str(output), *options], catch_exceptions=False
        )
    assert not output.exists()


def test_leave_one_source_out_names_the_source(settings, shared_cache, monkeypatch, diverge, tmp_path):
    monkeypatch.setenv("TUMORCLS_CACHE", str(shared_cache))
    lines = ["path,label,source"]
    for number in range(48):
        cv2.imwrite(str(tmp_path / f"{number}.png"), blob(number))
        lines.append(f"{number}.png,{CLASSES[number % 4]},{'north' if number < 24 else 'south'}")
    (tmp_path / "images.csv").write_text("\n".join(lines))
    (tmp_path / "two.toml").write_text(tomli_w.dumps({"config": {**settings, "data": [str(tmp_path / "images.csv")]}}))
    diverge("loss", at=2)
    with pytest.raises(TrainingDivergedError, match=f"^without north: {told('loss')}$"):
        CliRunner().invoke(
            leave_one_source_out.command,
            ["--config", str(tmp_path / "two.toml"), "-o", str(tmp_path / "out"), "--clean-only"],
            catch_exceptions=False,
        )


def test_numbers_of_any_shape_are_looked_at():
    check_finite("it", 1.0, np.zeros((2, 3)), np.float32(3e38))
    for wrong in (math.inf, np.array([[0.0, math.nan]]), np.float32(-math.inf)):
        with pytest.raises(TrainingDivergedError, match=r"^it must stay finite; got (-?inf|nan)\. Lower learning_rate\.$"):
            check_finite("it", 0.0, wrong)
