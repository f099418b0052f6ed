"""`search init` writes what runs as it is."""

import contextlib
import importlib.util
import re
import runpy
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from search import files as search_files
from search.errors import StorageError
from search.study_file.load import load

ROOT = Path(__file__).parents[3]
OWN = ["own", pytest.param("own-keras", marks=pytest.mark.slow)]


BRAIN_MRI = ["brain-mri", "brain-mri-deep"]


@pytest.mark.parametrize("name", ["quickstart", *BRAIN_MRI])
def test_a_study_of_ours_is_its_template(name):
    """Who has the clone and who has the package begin with the same study."""
    template = resources.files("search.commands") / "templates" / f"{name}.toml"
    assert template.read_bytes() == (ROOT / "studies" / f"{name}.toml").read_bytes()


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("quickstart", None),
        ("brain-mri", "Next:  export TUMORCLS_DATA=FOLDER   # the one that holds sartaj/"),
        ("brain-mri-deep", "Next:  export TUMORCLS_DATA=FOLDER   # the one that holds sartaj/ and nickparvar/"),
    ],
)
def test_the_studies_of_the_classifier(search, monkeypatch, name, before):
    monkeypatch.delenv("TUMORCLS_DATA", raising=False)
    lines = search("init", *(["--template", name] if name != "brain-mri" else [])).stdout.splitlines()
    after = [f"Next:  search launch {name}.toml", "Your own objective:  search init --template own"]
    assert lines == [f"Wrote {name}.toml.", *([before] if before else []), *after]
    monkeypatch.setenv("TUMORCLS_DATA", "there")
    assert search("init", "--template", name).stdout.splitlines() == [f"Kept {name}.toml.", *after], "it is there already"
    spec = load(f"{name}.toml")
    assert (spec.name, spec.target) == (name, "tumorcls.objective:BrainTumourObjective")
    assert "studies/" not in Path(f"{name}.toml").read_text()


@pytest.mark.parametrize("template", OWN)
def test_an_objective_of_ones_own_runs(search, read_study, template):
    Path("objectives.py").unlink(missing_ok=True)
    lines = search("init", "mine.toml", "--template", template).stdout.splitlines()
    assert lines == ["Wrote mine.toml.", "Wrote objective.py.", "Next:  search launch mine.toml"]
    written = Path("mine.toml").read_text() + Path("objective.py").read_text()
    assert f"{template}.toml" not in written
    search("launch", "mine.toml", "--trials", "2", "--quiet")
    trials = read_study("mine", "sqlite:///mine.db").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert all(trial.value > 0.5 for trial in trials[:1]), "the hand-picked config learns"
    asked = tomllib.loads(Path("mine.toml").read_text())["space"]
    assert all(trial.params.keys() == asked.keys() for trial in trials)
    assert len(trials[0].intermediate_values) == tomllib.loads(Path("mine.toml").read_text())["objective"]["epochs"]


@pytest.mark.slow
def test_what_a_study_of_a_keras_model_found_becomes_a_model(search, environment):
    """The trial over again: its value, and a file that Keras loads."""
    Path("objectives.py").unlink(missing_ok=True)
    search("init", "--template", "own-keras")
    search("launch", "own-keras.toml", "--trials", "1", "--quiet")
    search("export", "own-keras.toml", "-o", "best.toml")
    done = subprocess.run([sys.executable, "objective.py"], env=environment, capture_output=True, text=True, check=True)
    validation, test = re.fullmatch(r"validation (\d\.\d{4})  test (\d\.\d{4})\n", done.stdout).groups()
    assert validation == f"{tomllib.loads(Path('best.toml').read_text())['provenance']['val_accuracy']:.4f}"
    code = (
        "import keras, objective\nours = objective.Objective()\nmodel = keras.models.load_model('best.keras')\n"
        "print(f'{model.evaluate(ours.test, ours.test_labels, verbose=0)[1]:.4f}')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), float(test) > 0.5) == (test, True)


def test_the_study_of_a_pytorch_model_is_sound_where_pytorch_is_not_installed(search):
    search("init", "mine.toml", "--template", "own-torch")
    spec = load("mine.toml")
    assert (spec.name, spec.target, spec.fidelity.rungs) == ("mine", "objective:Objective", (2, 4, 8, 16))
    program = Path("objective.py").read_text()
    compile(program, "objective.py", "exec")
    assert set(re.findall(r"suggest_\w+\(\"(\w+)\"", program)) == tomllib.loads(Path("mine.toml").read_text())["space"].keys()
    assert "own-torch.toml" not in program + Path("mine.toml").read_text()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed: nothing here needs it")
def test_a_study_of_a_pytorch_model_goes_on_after_kills_as_without_them_and_becomes_a_model(search, read_study, environment):
    search("init", "--template", "own-torch")
    search("launch", "own-torch.toml", "--trials", "6", "--quiet")
    Path("dying.py").write_text(
        "import os, objective\n"
        "class Dying(objective.Objective):\n"
        "    def train_epoch(self, *arguments):\n"
        "        super().train_epoch(*arguments)\n"
        "        with open('epochs', 'a') as file:\n"
        "            file.write('.')\n"
        "        if os.path.getsize('epochs') in (10, 19, 25, 30):\n"
        "            os.kill(os.getpid(), 9)\n"
    )
    text = Path("own-torch.toml").read_text().replace("own-torch", "dying").replace("objective:Objective", "dying:Dying")
    Path("dying.toml").write_text(text.replace("trials = 30", "max_retries = 4\ntrials = 6"))
    search("launch", "dying.toml", "--quiet")
    whole, dying = (read_study(name, f"sqlite:///{name}.db").trials for name in ("own-torch", "dying"))
    ended = [trial for trial in dying if trial.state.name != "FAIL"]
    assert len(dying) - len(ended) == 4
    assert max(trial.value for trial in whole) > 0.9

    def results(trials):
        return sorted((trial.value, sorted(trial.params.items()), [*trial.intermediate_values.items()]) for trial in trials)

    assert results(ended) == results(whole)
    search("export", "own-torch.toml", "-o", "best.toml")
    done = subprocess.run([sys.executable, "objective.py"], env=environment, capture_output=True, text=True, check=True)
    validation = tomllib.loads(Path("best.toml").read_text())["provenance"]["val_accuracy"]
    assert re.fullmatch(rf"validation {validation:.4f}  test 0\.9\d+\n", done.stdout)
    assert Path("best.pt").is_file()


def test_nothing_is_overwritten(search):
    Path("objective.py").write_text("mine")
    refused = search("init", "--template", "own", code=1)
    assert "objective.py: must not be there yet; got a file. Give another folder, or remove it." in refused.stderr
    assert not Path("own.toml").exists()
    assert Path("objective.py").read_text() == "mine"


@pytest.mark.parametrize("fails", ["own.toml", "objective.py"])
def test_a_disk_that_is_full_for_one_of_two_files_leaves_none(search, monkeypatch, fails):
    write = search_files.write

    def full(document, path):
        if path.name == fails:
            raise StorageError(f"{path}: must be writable; got: No space left on device. Choose another place.")
        write(document, path)

    with monkeypatch.context() as patch:
        patch.setattr(search_files, "write", full)
        assert f"{fails}: must be writable" in search("init", "--template", "own", code=1).stderr
    assert not list(Path().glob("*own.toml")) + list(Path().glob("objective.py"))
    search("init", "--template", "own")
    assert {"own.toml", "objective.py"} <= {path.name for path in Path().iterdir()}


def test_a_file_that_is_there_as_it_would_be_written_is_kept(search):
    search("init", "--template", "own")
    Path("own.toml").unlink()
    lines = search("init", "--template", "own").stdout.splitlines()
    assert lines[:2] == ["Wrote own.toml.", "Kept objective.py."]


def test_another_folder_and_a_wrong_name(search):
    Path("sub folder").mkdir()
    lines = search("init", "sub folder/a.toml", "--template", "own").stdout.splitlines()
    assert lines[-1] == "Next:  cd 'sub folder' && search launch a.toml"
    assert "must end in .toml" in search("init", "study.yaml", code=1).stderr
    assert "nowhere/a.toml: must be writable" in search("init", "nowhere/a.toml", code=1).stderr


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "stopped", "pruned"), [(0, False, True), (0, True, False), (2, False, False)])
def test_the_callback_prunes_no_trial_that_has_ended(epoch, stopped, pruned):
    template = runpy.run_path(str(resources.files("search.commands") / "templates" / "own-keras.py"))
    reported = []
    trial = SimpleNamespace(report=lambda value, step: reported.append((value, step)), should_prune=lambda: True)
    callback = template["Report"](trial, "loss")
    callback.set_model(SimpleNamespace(stop_training=stopped))
    callback.set_params({"epochs": 3})
    with pytest.raises(optuna.TrialPruned) if pruned else contextlib.nullcontext():
        callback.on_epoch_end(epoch, {"loss": 0.5})
    assert reported == [(0.5, epoch)]


def flat(text):
    """Returns lines without their indentation: a page shows what stands inside a method."""
    return "\n".join(line.strip() for line in text.splitlines())


def test_what_the_page_on_keras_shows_is_what_init_writes():
    page = (ROOT / "docs" / "keras-fit.md").read_text()
    templates = resources.files("search.commands") / "templates"
    for language, name in (("python", "own-keras.py"), ("toml", "own-keras.toml")):
        blocks = re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)
        assert blocks
        written = flat((templates / name).read_text())
        assert [block for block in blocks if flat(block) not in written] == []
