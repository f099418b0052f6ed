"""`train`, `evaluate` and `predict`, one after the other as a person would type them."""

import dataclasses
import json
import os
import re
import shutil
import zipfile
from types import SimpleNamespace

import cv2
import numpy as np
import optuna
import pytest
import tomli_w
from click.testing import CliRunner

import tumorcls
from tests.tumorcls.pictures import blob
from tumorcls import DISCLAIMER
from tumorcls.commands import (
    _progress,
    audit,
    baseline,
    card,
    evaluate,
    export_model,
    leave_one_source_out,
    predict,
    preview,
    train,
)
from tumorcls.commands.leave_one_source_out import file_names
from tumorcls.config.file import ConfigFile, read_config
from tumorcls.data.external import ExternalData
from tumorcls.data.labels import CLASSES, probability
from tumorcls.data.prepare import prepare
from tumorcls.data.sources import find_source
from tumorcls.errors import ConfigError, DataError
from tumorcls.evaluation.record import Evaluation
from tumorcls.inference import figure, measured
from tumorcls.model import saved_model
from tumorcls.model.calibration import Calibration
from tumorcls.model.conformal import ClassSets
from tumorcls.model.saved_model import load_model
from tumorcls.noise.unseen import UNSEEN
from tumorcls.objective import BrainTumourObjective
from tumorcls.training import ensemble
from tumorcls.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture(scope="module")
def workplace(settings, make_config, tmp_path_factory):
    """Returns a folder with an exported config and the model that was trained from it, and what training printed."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORCLS_CACHE", str(folder / "cache"))
        config = make_config().model_dump(mode="json")
        patch.setattr("tumorcls.model.backend.device_notes", lambda: ("there is a GPU",))
        recorded = {"device": "NVIDIA H200", "precision": "mixed"}
        provenance = {"seed": 12, "robust_f1": 0.25, "recorded": recorded}
        (folder / "best.toml").write_text(tomli_w.dumps({"config": config, "provenance": provenance}))
        done = CliRunner().invoke(
            train.command, ["--config", str(folder / "best.toml"), "-o", str(folder / "model.keras")], catch_exceptions=False
        )
        yield folder, done


@pytest.fixture(scope="module")
def models():
    """The models that this module's tests have loaded: by file and time."""
    return {}


@pytest.fixture
def loaded_once(models, monkeypatch):
    """Lets the commands of all tests share a model and its compiled functions, rather than load it anew each time."""

    def load(path):
        key = (path, path.stat().st_mtime_ns)
        if key not in models:
            models[key] = load_model(path)
        return models[key]

    monkeypatch.setattr(saved_model, "load_model", load)


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


def write_members(path, *configs, **provenance):
    members = [{"trial": number, "seed": number, "config": config} for number, config in enumerate(configs, start=7)]
    path.write_text(tomli_w.dumps({"config": configs[0], "provenance": {"seed": 7, **provenance}, "members": members}))
    return path


def test_a_file_with_members_becomes_one_model(workplace, make_config, monkeypatch, tmp_path):
    monkeypatch.setenv("TUMORCLS_CACHE", str(workplace[0] / "cache"))
    configs = [make_config(learning_rate=rate).model_dump(mode="json") for rate in (0.01, 0.003)]
    file = write_members(tmp_path / "best.toml", *configs)
    out = run(train.command, "--config", file, "-o", tmp_path / "model.keras").output
    assert "member 1/2, trial 7: robust_f1 " in out
    assert "member 2/2, trial 8: robust_f1 " in out
    assert "The averaged weights of trial " in out or "No average is better on validation images than trial " in out
    assert "trial " in load_model(tmp_path / "model.keras").provenance["averaged"]


@pytest.mark.slow  # compiles the last block
@pytest.mark.usefixtures("loaded_once")
def test_a_file_with_members_becomes_one_model_that_holds_them(workplace, make_config, monkeypatch, tmp_path):
    monkeypatch.setenv("TUMORCLS_CACHE", str(workplace[0] / "cache"))
    changed = {"trainable_from": "block7", "epochs": 1, "views": 1}
    configs = [make_config(**changed, learning_rate=rate).model_dump(mode="json") for rate in (0.01, 0.003)]
    file = write_members(tmp_path / "best.toml", *configs)
    monkeypatch.setattr(ensemble, "choose_greedily", lambda _, score_of: (score_of((0, 0, 1)), (0, 0, 1))[1])
    out = run(train.command, "--config", file, "-o", tmp_path / "model.keras", "--keep-members", "--final").output
    assert "The mean of the logits of trial " in out
    model = saved_model.load_model(tmp_path / "model.keras")
    assert model.members == 2
    assert re.fullmatch(r"trial [78] x 2, trial [78] x 1", model.provenance["held"])
    cv2.imwrite(str(tmp_path / "new.png"), blob(900))
    assert run(predict.command, tmp_path / "new.png", "--model", tmp_path / "model.keras").exit_code == 0


def test_members_are_kept_only_where_there_are_some_to_keep(workplace, make_config, monkeypatch, tmp_path):
    def asked(*_, keep):
        raise ConfigError(f"asked to keep: {keep}")

    monkeypatch.setattr(ensemble, "fit_members", lambda *_: ())
    monkeypatch.setattr(ensemble, "choose", asked)
    monkeypatch.setenv("TUMORCLS_CACHE", str(workplace[0] / "cache"))
    config = make_config().model_dump(mode="json")
    (tmp_path / "one.toml").write_text(tomli_w.dumps({"config": config}))
    with pytest.raises(ConfigError, match=r"one\.toml: --keep-members: needs members; got none\. Export with `search export "):
        run(train.command, "--config", tmp_path / "one.toml", "--keep-members")
    arguments = ["--config", str(write_members(tmp_path / "best.toml", config, config)), "--keep-members"]
    done = CliRunner().invoke(train.command, arguments)
    assert (
        "Where the head alone is trained, the average of the members' weights answers as all of them together." in done.output
    )
    assert str(done.exception) == "asked to keep: False"


def test_a_model_of_as_many_members_as_there_may_be_can_be_saved(untrained, tmp_path):
    averaged = ", ".join(f"trial {2**40 + number} x 3" for number in range(50))
    provenance = {**untrained.provenance, "averaged": averaged}
    dataclasses.replace(untrained, provenance=provenance).save(tmp_path / "model.keras")
    assert load_model(tmp_path / "model.keras").provenance["averaged"] == averaged


def test_a_file_of_a_source_has_a_name_that_a_disk_takes():
    [name] = file_names(["ü" * 300]).values()
    assert len(f".{name}.html".encode()) < 200


def test_sources_of_like_names_do_not_write_one_file():
    assert file_names(["a b", "a-b", "a/b", "c"]) == {"a b": "a-b", "a-b": "a-b-", "a/b": "a-b--", "c": "c"}


def test_members_that_make_no_one_model_are_refused(make_config, tmp_path):
    config = make_config().model_dump(mode="json")
    file = write_members(tmp_path / "best.toml", config, {**config, "image_size": 64})
    with pytest.raises(
        ConfigError, match=r"members\[1\]\.config\.image_size: members of one model must have the same; got 64 and 32"
    ):
        run(train.command, "--config", file)
    with pytest.raises(ConfigError, match=r"--seed: a file with members has the seed of each; got 3\. Leave it out\."):
        run(train.command, "--config", write_members(tmp_path / "best.toml", config, config), "--seed", 3)
    with pytest.raises(ConfigError, match=r"members: must be at most 50; got 51\. Remove some\."):
        run(train.command, "--config", write_members(tmp_path / "best.toml", *[config] * 51))
    (tmp_path / "best.toml").write_text(tomli_w.dumps({"config": config, "members": [{"trial": 1}]}))
    with pytest.raises(ConfigError, match=r"members\[0\]: must have a table config"):
        run(train.command, "--config", tmp_path / "best.toml")


def test_train_says_what_it_does(workplace, pretrained):
    folder, done = workplace
    assert done.exit_code == 0
    assert "epoch 2/2  loss " in done.output
    assert f"Next: tumorcls evaluate {folder / 'model.keras'}" in done.output
    assert DISCLAIMER in done.output
    assert ("from generated images alone" in done.output) == (pretrained["weights"] == "phantoms")


def test_train_says_and_records_what_it_computes_with(workplace):
    folder, done = workplace
    assert "note: there is a GPU\n" in done.stderr
    assert "note: " not in done.stdout
    made_on = load_model(folder / "model.keras").provenance["device"]
    told = f"need not come back: device was NVIDIA H200, and is {made_on}; precision was mixed, and is float32\n"
    assert told in done.stderr


def test_training_an_exported_trial_gives_its_scores_again(workplace, settings):
    _, done = workplace
    trial = optuna.create_study(direction="maximize").ask({"epochs": optuna.distributions.IntDistribution(2, 2)})
    trial.set_user_attr("seed", 12)
    value = BrainTumourObjective(**settings)(trial)
    last = next(line for line in done.output.splitlines() if line.startswith("epoch 2/2"))
    assert f"clean_f1 {trial.user_attrs['clean_f1']:.3f}" in last
    assert f"accuracy {trial.user_attrs['accuracy']:.3f}" in last
    assert f"\nrobust_f1 {value:.6f} on validation images; the exported trial had 0.250000\n" in done.stdout


@pytest.mark.parametrize(
    ("changed", "seed"),
    [
        ({}, 3),
        ({"robust_f1": None}, 12),
        ({"robust_f1": "0.25"}, 12),
        ({"seed": None}, 0),
        ({"recorded": {"repeats": 3}}, 12),
        ({"recorded": {"folds": 3}}, 12),
    ],
)
def test_no_score_stands_beside_that_of_another_run(make_config, capsys, changed, seed):
    scores = {"clean_f1": 0.5, "robust_f1": 0.4}
    trainer = SimpleNamespace(fit=lambda *_, **__: SimpleNamespace(scores=scores))
    config = make_config(score=("robust_f1", "clean_f1"))
    provenance = {"seed": 12, "robust_f1": 0.25, "recorded": {"device": "any"}}
    train._fit_trial(trainer, ConfigFile(config, {}, provenance), 12)
    own = "robust_f1 0.400000 on validation images{}\nclean_f1 0.500000 on validation images\n"
    assert capsys.readouterr().out == own.format("; the exported trial had 0.250000")
    train._fit_trial(trainer, ConfigFile(config, {}, {**provenance, **changed}), seed)
    assert capsys.readouterr().out == own.format("")


@pytest.mark.usefixtures("loaded_once")
def test_evaluate_prints_and_writes_the_test_part(workplace):
    folder, _ = workplace
    done = run(evaluate.command, folder / "model.keras", "-o", folder / "test.json", "--html", folder / "test.html")
    assert done.exit_code == 0
    for word in (
        "precision",
        "recall",
        "Confusion matrix",
        "accuracy",
        "glioma",
        "no_tumor",
        "Macro-F1 under noise",
        "never seen",
        DISCLAIMER,
    ):
        assert word in done.output
    evaluation, page = folder / "test.json", folder / "test.html"
    card_of = f"tumorcls card {folder / 'model.keras'} {evaluation}"
    assert done.stdout.endswith(f"look at recall by class and the worst mistakes in {page}, then {card_of}\n{DISCLAIMER}\n")
    progress = re.findall(
        r"^  \w+ [1-5]/5, (\d+) of (\d+) done(?:, (?:about \d+ min|less than a minute) left)?$", done.stderr, re.MULTILINE
    )
    written = json.loads((folder / "test.json").read_text())
    total = 1 + len(written["noisy"]) + len(written["unseen"])
    assert progress == [(str(number), str(total)) for number in range(1, total)]
    assert np.sum(written["clean"]["confusion"]) == len(written["labels"])
    assert len(written["noisy"]) == 15
    assert [(condition["noise"], condition["severity"]) for condition in written["unseen"]] == [
        (kind, 3) for kind in (*UNSEEN, "rician", "ghosting", "bias_field")
    ]
    assert written["sets"]["asked"] == 0.9
    assert written["gate_passes"]["value"] > 0.5
    assert "plotly" in (folder / "test.html").read_text()[:5_000_000].lower()
    again = run(evaluate.command, folder / "model.keras", "--reference", folder / "test.json", "--clean-only")
    assert again.exit_code == 0
    assert "gain over model, paired; " in again.stdout
    assert "  macro-F1, clean +0.000 (+0.000 to +0.000)\n" in again.stdout
    assert "\nNext: add -o test.json --html test.html" in again.stdout
    assert "note: there is a GPU" in again.stderr


def test_the_next_step_asks_for_nothing_that_was_written():
    model, page = "model.keras", "test.html"
    assert evaluate._next_step(model, None, page, external=False) == "add -o test.json to keep these figures."
    assert evaluate._next_step(model, None, None, external=False).startswith("add -o test.json --html test.html to keep ")


def test_the_time_that_is_left_is_reckoned_from_noisy_images():
    """The clean ones come first, and with them all that happens once."""
    assert _progress._done([100.0], 28) == "1 of 28 done"
    assert _progress._done([100.0, 110.0, 120.0], 28) == "3 of 28 done, about 4 min left"
    assert _progress._done([100.0, 101.0], 28) == "2 of 28 done, less than a minute left"


@pytest.mark.slow  # it measures all that the default does
@pytest.mark.usefixtures("loaded_once")
def test_a_reference_of_before_the_noise_of_mr_was_measured_is_one_still(workplace, monkeypatch, tmp_path):
    model, written = workplace[0] / "model.keras", tmp_path / "now.json"
    assert run(evaluate.command, model, "-o", written).exit_code == 0
    now = Evaluation.read(written)
    before = dataclasses.replace(now, name="before", unseen=tuple(one for one in now.unseen if one.noise != "rician"))
    (tmp_path / "before.json").write_text(before.to_json())
    monkeypatch.setattr(measured, "evaluate_model", lambda *_, **__: now)
    done = run(evaluate.command, model, "--reference", tmp_path / "before.json", "-o", written)
    assert "note: the reference was measured before rician was: all that is compared is without it" in done.stderr
    compared = Evaluation.read(written).relative
    assert [error.noise for error in compared.unseen] == [*UNSEEN, "ghosting", "bias_field", "mean"]


@pytest.mark.usefixtures("loaded_once")
def test_evaluate_wants_the_split_of_the_training(workplace, images):
    folder, _ = workplace
    added = next((images / "Training").iterdir()) / "new.jpg"
    picture = np.random.default_rng(5).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    added.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
    try:
        with pytest.raises(DataError, match="split must be the one of the training"):
            run(evaluate.command, folder / "model.keras")
    finally:
        added.unlink()


@pytest.mark.usefixtures("loaded_once")
def test_evaluate_finds_data_that_was_moved(workplace, images, tmp_path):
    folder, _ = workplace
    moved = tmp_path / "elsewhere" / "anything"
    shutil.copytree(images, moved)
    for path in list(moved.rglob("*.*")):
        path.rename(path.with_stem(f"renamed-{path.stem}"))
    here = run(evaluate.command, folder / "model.keras", "--clean-only")
    there = run(evaluate.command, folder / "model.keras", "--clean-only", "--data", moved)
    assert there.exit_code == 0
    assert there.output == here.output
    with pytest.raises(DataError, match="must exist"):
        run(evaluate.command, folder / "model.keras", "--data", tmp_path / "nowhere")


@pytest.mark.usefixtures("loaded_once")
def test_evaluate_leaves_out_of_other_data_what_the_model_may_have_seen(workplace, images, tmp_path):
    folder, _ = workplace
    other = tmp_path / "other"
    for number, path in enumerate(sorted(images.rglob("*.jpg"))):
        place = other / path.parent.name / f"copy {number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place), cv2.imread(str(path)))
    for number in range(8):
        cv2.imwrite(str(other / "no_tumor" / f"new {number}.png"), blob(900 + number))
    prepared = prepare([str(images)], load_model(folder / "model.keras").config.split, folder / "cache")
    learned = prepared.copies.images[np.isin(prepared.parts, ("train", "validation"))]
    seen = int(np.isin(prepared.copies.images, learned).sum())
    files = {name: folder / f"other.{name}" for name in ("json", "html", "md")}
    model = folder / "model.keras"
    done = run(evaluate.command, model, "--data", other, "-o", files["json"], "--html", files["html"], "--clean-only")
    everything = len(prepared.parts) + 8
    told = f"Of {everything} images the model may have seen {seen}, or copies of them, in its training: {seen} are left out."
    assert told in done.output
    assert told in files["html"].read_text()
    written = json.loads(files["json"].read_text())
    assert len(written["labels"]) == everything - seen
    assert written["external"]["images"] == everything
    both = [written["clean"]["macro_f1"], written["external"]["with_seen"]["macro_f1"]]
    assert both[0] != both[1]
    assert run(evaluate.command, model, "-o", folder / "own.json", "--clean-only").exit_code == 0
    run(card.command, model, folder / "own.json", "--external", files["json"], "-o", files["md"])
    shown = [f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})" for one in both]
    assert f"| other | {everything - seen} | {seen} | {shown[0]} | {shown[1]} |" in files["md"].read_text()
    assert "open: not tested" not in files["md"].read_text()
    for first, second in ((files["json"], folder / "own.json"), (files["json"], files["json"])):
        with pytest.raises(DataError, match="the first must be of the model's own test part"):
            run(card.command, model, first, "--external", second, "-o", files["md"])


@pytest.mark.usefixtures("loaded_once")
def test_other_data_needs_the_models_own(workplace, images, tmp_path):
    folder, _ = workplace
    (tmp_path / "other" / "no_tumor").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "other" / "no_tumor" / "a.png"), blob(900))
    arguments = (evaluate.command, folder / "model.keras", "--clean-only", "--data", tmp_path / "other")
    with pytest.raises(DataError, match="data is compared with the model's own, which must be there"):
        run(*arguments, "--trained-on", tmp_path / "gone")
    moved = tmp_path / "moved"
    shutil.copytree(images, moved)
    assert "Of 1 images the model may have seen 0" in run(*arguments, "--trained-on", moved).output


@pytest.mark.slow  # much memory
@pytest.mark.usefixtures("loaded_once")
def test_what_is_wrong_with_a_reference_or_an_image_is_told_before_anything_is_measured(workplace, monkeypatch, tmp_path):
    model, clean = workplace[0] / "model.keras", tmp_path / "clean.json"
    assert run(evaluate.command, model, "-o", clean, "--clean-only").exit_code == 0
    before = Evaluation.read(clean)
    (tmp_path / "other.json").write_text(dataclasses.replace(before, test_set_sha256="0" * 64).to_json())
    (tmp_path / "other" / "no_tumor").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "other" / "no_tumor" / "a.png"), blob(900))
    monkeypatch.setattr(measured, "evaluate_model", lambda *_, **__: pytest.fail("measured"))
    with pytest.raises(DataError, match="under every noise; got no bias_field 3"):
        run(evaluate.command, model, "--reference", clean)
    with pytest.raises(DataError, match="the same test images"):
        run(evaluate.command, model, "--reference", tmp_path / "other.json", "--clean-only")
    read = ExternalData.images
    usable = []

    def break_at_the_second(data, which, *size_and_cache):
        usable.append(which)
        if len(usable) == 2:
            raise DataError("a.png: cannot be read")
        return read(data, which, *size_and_cache)

    monkeypatch.setattr(ExternalData, "images", break_at_the_second)
    with pytest.raises(DataError, match="cannot be read"):
        run(evaluate.command, model, "--clean-only", "--data", tmp_path / "other")


@pytest.fixture(scope="module")
def two_sources(workplace, images, settings, tmp_path_factory):
    """Returns a config of a table that names two sources of 48 images each, of which the second repeats eight of the first."""
    folder = tmp_path_factory.mktemp("two")
    lines = ["path,label,source"]
    for label in CLASSES:
        paths = sorted(row.path for row in find_source(images).rows() if row.label == label)[:22]
        lines += [f"{path},{label},{'north' if number < 12 else 'south'}" for number, path in enumerate(paths)]
        for number, path in enumerate(paths[:2]):
            copy = folder / f"{label} {number}.png"
            cv2.imwrite(str(copy), cv2.imread(str(path)))
            lines.append(f"{copy},{label},south")
    (folder / "images.csv").write_text("\n".join(lines))
    config = {**settings, "data": [str(folder / "images.csv")]}
    (folder / "two.toml").write_text(tomli_w.dumps({"config": config}))
    return folder


@pytest.mark.slow
def test_each_source_is_measured_by_a_model_that_was_trained_without_it(two_sources, monkeypatch):
    monkeypatch.setattr("tumorcls.model.backend.device_notes", lambda: ("there is a GPU",))
    done = run(leave_one_source_out.command, "--config", two_sources / "two.toml", "-o", two_sources / "out", "--clean-only")
    assert done.exit_code == 0
    for name in ("north", "south"):
        written = json.loads((two_sources / "out" / f"{name}.json").read_text())
        left_out = written["external"]["seen_pictures"]
        assert written["external"]["images"] == 48
        assert left_out >= 8
        assert len(written["labels"]) == 48 - left_out
        told = f"{name}: Of 48 images the model may have seen {left_out}, or copies of them, in its training"
        assert told in done.output
        assert f"without {name}: epoch 2/2  loss " in done.output
        assert "without them" in (two_sources / "out" / f"{name}.html").read_text()
        assert written["provenance"]["precision"] == "float32"
        assert written["provenance"]["patients"] == "not named"
    assert "note: there is a GPU" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (audit, "missing", "--html"),
        *((baseline, "--config", "missing", option) for option in ("-o", "--model", "--html")),
        *((card, "missing", "missing", option) for option in ("-o", "--html")),
        *((evaluate, "missing", option) for option in ("-o", "--html")),
        (export_model, "missing", "-o"),
        *((predict, "missing", option) for option in ("-o", "--overlay")),
        (preview, "missing", "-o"),
        (train, "--config", "missing", "-o"),
    ],
    ids=lambda arguments: f"{arguments[0].__name__.rpartition('.')[2]} {arguments[-1]}",
)
def test_where_a_command_cannot_write_is_told_before_anything_is_read(arguments, tmp_path):
    (tmp_path / "file").touch()
    module, *words = arguments
    with pytest.raises(DataError, match=r"file/out.*: must be writable; got Not a directory\. Choose another place\."):
        run(module.command, *words, tmp_path / "file" / "out")


def test_where_it_cannot_write_is_told_before_anything_is_trained(two_sources, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(Trainer, "fit", lambda *_: pytest.fail("trained"))
    with pytest.raises(DataError, match=r"north\.json: must be writable; got Not a directory\. Choose another place\."):
        run(leave_one_source_out.command, "--config", two_sources / "two.toml", "-o", tmp_path / "file" / "out")


def test_a_source_of_which_nothing_is_new_is_told_before_anything_is_trained(
    workplace, images, settings, monkeypatch, tmp_path
):
    lines = ["path,label,source"]
    for label in CLASSES:
        paths = sorted(row.path for row in find_source(images).rows() if row.label == label)
        lines += [f"{path},{label},a" for path in paths]
        for path in paths[:8]:
            cv2.imwrite(str(tmp_path / f"{label} {path.stem}.png"), cv2.imread(str(path)))
            lines.append(f"{label} {path.stem}.png,{label},b")
    (tmp_path / "images.csv").write_text("\n".join(lines))
    (tmp_path / "two.toml").write_text(tomli_w.dumps({"config": {**settings, "data": [str(tmp_path / "images.csv")]}}))
    monkeypatch.setattr(Trainer, "fit", lambda *_: pytest.fail("trained"))
    with pytest.raises(DataError, match=r"^without b: other data: at least one image must be new to the model; got 32 images"):
        run(leave_one_source_out.command, "--config", tmp_path / "two.toml", "-o", tmp_path / "out")


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_class_that_a_part_lacks_is_told_before_anything_is_trained(images, settings, monkeypatch, tmp_path, part):
    """Of all images for a baseline, and of those of the other sources where one is left out, which have no test part."""
    lines = ["path,label,source,split"]
    for label in CLASSES:
        for number, row in enumerate([row for row in find_source(images).rows() if row.label == label][:16]):
            source, split = "ab"[number >= 8], ("train", "validation", "test", "train")[number % 4]
            lacks = label == "glioma" and split == part and (part == "test" or source == "b")
            lines.append(f"{row.path},{label},{source},{'left_out' if lacks else split}")
    (tmp_path / "images.csv").write_text("\n".join(lines))
    (tmp_path / "two.toml").write_text(tomli_w.dumps({"config": {**settings, "data": [str(tmp_path / "images.csv")]}}))
    monkeypatch.setattr(Trainer, "fit", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr("tumorcls.training.linear_probe.fit_linear_probe", lambda *_: pytest.fail("trained"))
    command, where = (baseline.command, "") if part == "test" else (leave_one_source_out.command, "without a: ")
    with pytest.raises(DataError, match=f"^{where}{part} part: every class must have images; none of glioma"):
        run(command, "--config", tmp_path / "two.toml", "-o", tmp_path / "out")


def test_one_source_is_not_enough_to_leave_one_out(workplace):
    folder, _ = workplace
    with pytest.raises(DataError, match="data must have two sources or more; got sartaj alone"):
        run(leave_one_source_out.command, "--config", folder / "best.toml")


def test_train_chooses_temperature_and_threshold(workplace):
    folder, done = workplace
    found = json.loads(zipfile.ZipFile(folder / "model.keras").read("tumorcls.json"))["calibration"]
    assert f"\nCalibrated on {found['images']} validation images (temperature {found['temperature']:.2f}).\n" in done.stdout
    threshold, cutoff = probability(found["threshold"]), probability(found["sets"]["cutoff"])
    assert f'\npredict says "uncertain" below a confidence of {threshold}: that is ' in done.stdout
    answered = round(found["coverage"] * found["images"])
    unsure = found["images"] - answered
    assert (
        f" that is {unsure} of these images ({unsure / found['images']:.1%}); of the other {answered} it gets " in done.stdout
    )
    assert f" it gets {round(found['error'] * answered)} wrong ({found['error']:.1%})." in done.stdout
    assert f"each class with a probability of {cutoff} or more, and the likeliest: 90% of " in done.stdout
    assert f"; from {found['images']} images in {found['groups']} groups, " in done.stdout
    assert 0 < found["groups"] <= found["images"]
    assert found["max_error"] == 0.05
    assert ("No confidence has at most 5% wrong, as was asked for." in done.output) is (found["error"] > 0.05)


def test_train_promises_what_so_many_images_can_tell():
    """28 of 48 images get an answer, and one of these is wrong; how often sets hold the true class, 16 groups hardly say."""

    def told(groups, asked=0.9):
        return train._describe(Calibration(1.0, 0.7, 0.05, 28 / 48, 1 / 28, 48, ClassSets(asked, 0.2), groups))[1:3]

    answers, lists = told(16)
    assert answers.endswith("that is 20 of these images (41.7%); of the other 28 it gets 1 wrong (3.6%).")
    assert lists.endswith("hold the true class; from 48 images in 16 groups, between 79.4% and 99.8% of them may.")
    assert told(8)[1].endswith("hold the true class; from 48 images in 8 groups, too few to promise it.")
    assert told(16, 0.99)[1].endswith(
        "99% of such lists should hold the true class; from 48 images in 16 groups, too few to promise it."
    )
    assert told(None)[1].endswith("90% of such lists should hold the true class."), "a model of before does not say how many"


@pytest.mark.parametrize(("cutoff", "asked", "more"), [(0.5, 0.9, None), (0.825, 0.9, "0.99"), (0.6, 0.99, "0.999")])
def test_train_says_where_no_set_has_two_classes_and_what_to_ask_for(cutoff, asked, more):
    _, _, lists, *told = train._describe(Calibration(1.0, 0.0, 0.05, 1.0, 0.03, 1339, ClassSets(asked, cutoff)))
    assert f"with a probability of {cutoff:.3f} or more, and the likeliest: {100 * asked:g}% of such lists" in lists
    assert [line.rpartition(", as ")[2] for line in told] == ([] if more is None else [f"{more}."])
    assert all("no set has more than one class" in line and "--coverage" in line for line in told)


@pytest.mark.parametrize("final", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_python_trains_the_command_s_model(workplace, tmp_path, monkeypatch, final):
    folder, _ = workplace
    monkeypatch.setenv("TUMORCLS_CACHE", str(folder / "cache"))
    written = folder / "model.keras"
    if final:
        written = tmp_path / "final.keras"
        run(train.command, "--config", folder / "best.toml", "-o", written, "--final")
    epochs = []
    config = read_config(folder / "best.toml").config
    ours, theirs = tumorcls.train(config, seed=12, final=final, on_epoch_end=epochs.append), load_model(written)
    assert [epoch.number for epoch in epochs] == [0, 1] * (1 + final)
    assert [0 < epoch.scores["clean_f1"] <= 1 for epoch in epochs[:2]] == [True, True]
    assert ours.sha256 == theirs.sha256
    assert (ours.calibration, ours.gate.limit, ours.config) == (theirs.calibration, theirs.gate.limit, theirs.config)
    np.testing.assert_array_equal(ours.gate.space, theirs.gate.space)
    assert {**ours.provenance, "exported": theirs.provenance["exported"]} == theirs.provenance
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3)).astype(np.uint8)
    said = [[(one.answer, one.class_set) for one in tumorcls.answer_images(model, images)] for model in (ours, theirs)]
    assert said[0] == said[1]
    ours.save(tmp_path / "ours.keras")
    assert load_model(tmp_path / "ours.keras").sha256 == ours.sha256


@pytest.mark.usefixtures("loaded_once")
def test_python_measures_what_the_command_does(workplace, images, monkeypatch, tmp_path):
    folder, _ = workplace
    monkeypatch.setenv("TUMORCLS_CACHE", str(folder / "cache"))
    written = tmp_path / "test.json"
    run(evaluate.command, folder / "model.keras", "--unseen", "none", "-o", written)
    model, theirs = saved_model.load_model(folder / "model.keras"), Evaluation.read(written)
    ours = tumorcls.evaluate(model, images, unseen="none", reference=theirs)
    assert dataclasses.replace(ours, relative=None) == theirs
    assert ours.relative.differences.noisy_f1.value == 0
    pictures = tumorcls.evaluation_images(model, images)
    assert (pictures.images[:].shape[1:], pictures.images[:].dtype) == ((32, 32, 3), np.uint8)
    assert tuple(pictures.labels.tolist()) == ours.labels
    with pytest.raises(ValueError, match="unseen: must be one of all, middle, none; got 'most'"):
        tumorcls.evaluate(model, unseen="most")
    with pytest.raises(DataError, match="the same test images"):
        tumorcls.evaluate(model, reference=dataclasses.replace(theirs, test_set_sha256="0" * 64))


@pytest.mark.slow  # what it builds stays in the process
def test_a_final_model_takes_the_calibration_over(workplace):
    folder, _ = workplace
    done = run(train.command, "--config", folder / "best.toml", "-o", folder / "final.keras", "--final")
    assert done.exit_code == 0
    assert "Once more, on training and validation images." in done.output
    first, final = (json.loads(zipfile.ZipFile(folder / f"{name}.keras").read("tumorcls.json")) for name in ("model", "final"))
    assert final["calibration"] == first["calibration"]
    assert final["provenance"]["validation"] == first["provenance"]["validation"]
    assert final["provenance"]["trained_on"] == "training and validation images"
    measured = run(evaluate.command, folder / "final.keras", "-o", folder / "final.json", "--clean-only")
    assert measured.exit_code == 0
    assert json.loads((folder / "final.json").read_text())["provenance"]["trained_on"] == "training and validation images"


@pytest.mark.usefixtures("loaded_once")
def test_a_card_is_written_from_model_and_evaluation(workplace):
    folder, _ = workplace
    assert run(evaluate.command, folder / "model.keras", "-o", folder / "own.json", "--clean-only").exit_code == 0
    done = run(
        card.command, folder / "model.keras", folder / "own.json", "-o", folder / "card.md", "--html", folder / "card.html"
    )
    assert done.exit_code == 0
    scores = json.loads((folder / "own.json").read_text())["clean"]["macro_f1"]
    text = f"{scores['value']:.3f} ({scores['low']:.3f} to {scores['high']:.3f})"
    assert f"| macro-F1 | {text} |" in (folder / "card.md").read_text()
    assert text in (folder / "card.html").read_text()
    with pytest.raises(DataError, match="readable JSON"):
        run(card.command, folder / "model.keras", folder / "none.json")


def test_predict_writes_tables_and_pictures_of_a_folder(workplace, images, tmp_path):
    folder, _ = workplace
    source = tmp_path / "scans"
    source.mkdir()
    for path in list(next((images / "Training").iterdir()).iterdir())[:6]:
        shutil.copy(path, source)
    options = ["-m", folder / "model.keras", "--threshold", "1"]
    done = run(predict.command, source, *options, "-o", tmp_path / "answers.csv", "--overlay", tmp_path / "maps")
    assert done.exit_code == 0
    assert DISCLAIMER in done.output
    rows = (tmp_path / "answers.csv").read_text().splitlines()
    assert len(rows) - 1 == len(list(source.iterdir())) == len(list((tmp_path / "maps").glob("*.png")))
    assert all(",uncertain," in row for row in rows[1:])


@pytest.mark.usefixtures("loaded_once")
def test_predict_answers_whatever_an_image_is_called(workplace, images, tmp_path):
    folder, _ = workplace
    good = next(images.rglob("*.jpg"))
    for name in ("x" * 250 + ".jpg", os.fsdecode(b"L\xe9sion.jpg")):
        shutil.copy(good, tmp_path / name)
        out = tmp_path / "answers.txt"
        done = run(predict.command, tmp_path / name, "-m", folder / "model.keras", "-o", out, "--overlay", tmp_path / "maps")
        assert (done.exit_code, done.stderr) == (0, "")
        answer, disclaimer, *limits = out.read_text().splitlines()
        assert (DISCLAIMER in answer, disclaimer, len(limits)) == (False, DISCLAIMER, 2)
    assert len(list((tmp_path / "maps").iterdir())) == 2


@pytest.mark.usefixtures("loaded_once")
def test_a_picture_that_cannot_be_written_costs_no_answer(workplace, images, monkeypatch, tmp_path):
    folder, _ = workplace
    good = next(images.rglob("*.jpg"))

    def fail(_):
        raise DataError("maps/0000-a.png: must be writable; got No space left on device. Choose another place.")

    monkeypatch.setattr(figure, "draw_answer", fail)
    done = run(predict.command, good, good, "-m", folder / "model.keras", "--overlay", tmp_path / "maps")
    assert done.exit_code == 1
    assert done.stderr.count("No space left on device") == 2
    assert len([line for line in done.stdout.splitlines() if line.startswith(str(good))]) == 2


def test_where_predict_cannot_write_is_told_before_it_loads_the_model(workplace, images, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(saved_model, "load_model", lambda _: pytest.fail("loaded"))
    for option in ("-o", "--overlay"):
        with pytest.raises(DataError, match="must be writable; got Not a directory"):
            run(predict.command, images, option, tmp_path / "file" / "place")


@pytest.mark.slow  # what it builds stays in the process
@pytest.mark.usefixtures("loaded_once")
def test_evaluate_takes_names_that_are_not_utf8(workplace, images, tmp_path):
    folder, _ = workplace
    other = tmp_path / os.fsdecode(b"h\xf4pital")
    for label, seed in (("glioma", 901), ("meningioma", 902)):  # two grey spots, of which a model gets one wrong or both
        (other / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "new.png"), blob(seed))
        (tmp_path / "new.png").rename(other / label / os.fsdecode(b"L\xe9sion.png"))
    shutil.copy(folder / "model.keras", tmp_path / (model := os.fsdecode(b"mod\xe8le.keras")))
    arguments = (tmp_path / model, "--data", other, "--clean-only", "-o", tmp_path / "e.json", "--html", tmp_path / "e.html")
    assert run(evaluate.command, *arguments).exit_code == 0
    found = Evaluation.read(tmp_path / "e.json")
    assert found.name == r"mod\xe8le"
    assert found.provenance["sources"] == r"h\xf4pital"
    assert {mistake.file for mistake in found.mistakes} <= {
        rf"h\xf4pital/{label}/L\xe9sion.png" for label in ("glioma", "meningioma")
    }
    assert found.mistakes


@pytest.mark.usefixtures("loaded_once")
def test_predict_answers_for_good_images_and_names_bad_ones(workplace, images, tmp_path):
    folder, _ = workplace
    good = next(images.rglob("*.jpg"))
    cut, text = tmp_path / "cut.jpg", tmp_path / "text.jpg"
    cut.write_bytes(good.read_bytes()[:-200])
    text.write_text("no picture")
    done = run(predict.command, "-m", folder / "model.keras", cut, good, text)
    assert done.exit_code == 1
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 2
    answer = next(line for line in done.stdout.splitlines() if line.startswith(str(good)))
    shares = [float(share) for share in re.findall(r" [<>]?([01]\.\d{3})\b", answer.removeprefix(str(good)))]
    assert len(shares) == 4
    assert sum(shares) == pytest.approx(1, abs=0.003)
    assert shares == sorted(shares, reverse=True)
    assert DISCLAIMER in done.stdout
    assert run(predict.command, "-m", folder / "model.keras", good).exit_code == 0


@pytest.mark.slow  # much memory
@pytest.mark.usefixtures("loaded_once")
def test_an_output_that_is_stdout_is_alone_there_whatever_else_is_written(workplace, images, capfd, tmp_path):
    """A document is written to the descriptor, and what is printed to `sys.stdout`, which the runner takes."""
    model, record = workplace[0] / "model.keras", tmp_path / "test.json"

    def written(command, *arguments):
        capfd.readouterr()
        done = run(command, *arguments)
        assert (done.exit_code, done.stdout) == (0, "")
        assert done.stderr
        return capfd.readouterr().out

    assert written(evaluate.command, model, "--clean-only", "-o", record, "--html", "-").endswith("</html>")
    assert json.loads(written(evaluate.command, model, "--clean-only", "-o", "/dev/stdout", "--html", tmp_path / "a.html"))
    assert written(card.command, model, record, "-o", tmp_path / "card.md", "--html", "-").endswith("</html>")
    page = tmp_path / "card.html"
    assert written(card.command, model, record, "-o", "-", "--html", page) == (tmp_path / "card.md").read_text()
    config = ["--config", workplace[0] / "best.toml", "--unseen", "none"]
    assert written(baseline.command, *config, "-o", record, "--html", "-").endswith("</html>")
    fitted = json.loads(written(baseline.command, *config, "-o", "-", "--model", tmp_path / "b.keras", "--html", page))
    assert fitted["provenance"].items() >= {"sources": "sartaj", "patients": "not named"}.items()
    assert written(audit.command, images, "--html", "-").endswith("</html>")


def test_a_config_that_is_missing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a config must exist; got no such file"):
        run(train.command, "--config", tmp_path / "missing.toml")


@pytest.mark.usefixtures("loaded_once")
def test_the_baseline_is_an_evaluation_and_a_reference(workplace):
    folder, _ = workplace
    written = ["-o", folder / "baseline.json", "--model", folder / "baseline.keras"]
    done = run(baseline.command, "--config", folder / "best.toml", *written, "--unseen", "none")
    assert done.exit_code == 0
    assert "Validation: robust_f1 0." in done.output
    assert DISCLAIMER in done.output
    assert "note: there is a GPU" in done.stderr
    assert "gaussian 1/5, 1 of " in done.stderr
    again = run(
        *(evaluate.command, folder / "baseline.keras", "--unseen", "none", "--reference", folder / "baseline.json"),
        *("-o", folder / "again.json"),
    )
    assert again.exit_code == 0
    first, second = (json.loads((folder / f"{name}.json").read_text()) for name in ("baseline", "again"))
    assert first["clean"] == second["clean"]
    assert second["relative"]["reference"] == "logistic regression"
    recorded, trained = (load_model(folder / f"{name}.keras").provenance for name in ("baseline", "model"))
    assert recorded.keys() - trained.keys() == {"method"}
    assert trained.keys() - recorded.keys() == {"exported"}
    assert (recorded["trained_on"], recorded["train_images"]) == ("training images", trained["train_images"])
    assert run(card.command, folder / "baseline.keras", folder / "again.json", "-o", folder / "baseline.md").exit_code == 0
    papers = (folder / "baseline.md").read_text()
    assert "| macro-F1, clean | +0.000 (+0.000 to +0.000) |" in papers
    assert "| method | logistic regression on standardised frozen features" in papers
    assert "| epochs |" not in papers
