"""What a benchmark has kept counts only for what was asked of it, and a documented command measures anew."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from benchmarks import anytime, cached_views, kept, recipe
from benchmarks.search_defaults import curves
from benchmarks.search_quality import __main__ as search_quality
from benchmarks.search_quality.records import Run as Search
from benchmarks.search_quality.report import Report
from tumorcls.config.train_config import TrainConfig

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results"
COMMON = ["--data", "/home/somebody/sartaj", "--weights", "/home/somebody/weights.h5"]


def keep_anytime(path, arguments):
    run = anytime.Run(anytime.Cell("head", 1e-3, 2, "ema", 0), dict.fromkeys(anytime.SCORES, 0.5), 1.0)
    kept.write_runs(path, anytime.asked_of(anytime.config_of(arguments)), [run])
    return path


def keep_cached_views(path, arguments):
    run = cached_views.Run("head", 4, 0, 1.0, dict.fromkeys(cached_views.SCORES, 0.5))
    cached_views.write(path, [run], cached_views.config_of(arguments))
    return path


def keep_recipe(path, arguments):
    asked = recipe.asked_of(recipe.config_of(arguments), arguments.parts, arguments.unseen)
    recipe.write(path, [recipe.Run("base", 0, {"test clean": 0.5}, 1.0)], asked)
    return path.with_suffix(".json")


def keep_search_quality(path, arguments):
    Report(search_quality.task_of(arguments), (Search("tumorcls", 0, 1),)).write_runs(path)
    return path / "search_quality.json"


BENCHMARKS = {
    "anytime": (anytime, keep_anytime, []),
    "cached_views": (cached_views, keep_cached_views, [["--epochs", "3"]]),
    "recipe": (
        recipe,
        keep_recipe,
        [["--epochs", "3"], ["--start", "head"], ["--mirrored"], ["--unseen"], ["--parts", "test"]],
    ),
    "search_quality": (search_quality, keep_search_quality, [["--seconds", "5"], ["--stacks", "own"]]),
}
OTHERS = [["--image-size", "64"], ["--data", "phantoms:80"], ["--weights", "phantoms"]]


@pytest.mark.parametrize(
    ("name", "other"), [(name, other) for name, (*_, others) in BENCHMARKS.items() for other in OTHERS + others]
)
def test_runs_of_other_settings_are_refused_and_left_as_they_are(name, other, tmp_path, monkeypatch):
    module, keep, _ = BENCHMARKS[name]
    asked = [*COMMON, "--output", str(tmp_path / "kept")]
    monkeypatch.setattr(sys, "argv", ["benchmark", *asked])
    file = keep(tmp_path / "kept", module.parse())
    before = file.read_bytes()
    assert b"somebody" not in before
    changed = [*asked, *other] if name != "search_quality" or "--data" not in other else [*asked[2:], *other]
    monkeypatch.setattr(sys, "argv", ["benchmark", *changed])
    with pytest.raises(SystemExit) as refused:
        module.main()
    assert re.fullmatch(rf"{re.escape(str(file))}: was made with \S+ .+; got .+\. Name another --output\.", str(refused.value))
    assert file.read_bytes() == before


def test_runs_of_the_same_settings_are_taken_and_counted(tmp_path, capsys):
    file = tmp_path / "kept.json"
    asked = {"settings": kept.named({"data": ["here/sartaj"], "weights": "here/w.h5", "image_size": 64}), "parts": ["test"]}
    kept.write_runs(file, asked, [Search("a", 0, 1), Search("a", 1, 1)])
    elsewhere = {**asked, "settings": kept.named({"data": ["there/sartaj"], "weights": "there/w.h5", "image_size": 64})}
    assert [run["seed"] for run in kept.read_runs(file, elsewhere)] == [0, 1]
    assert capsys.readouterr().out == f"2 runs of before are taken from {file}\n"


def test_a_setting_that_a_file_does_not_know_had_its_default(tmp_path):
    file, config = tmp_path / "kept.json", TrainConfig(data=("sartaj",))
    asked = {"settings": kept.named(config.model_dump(mode="json"))}
    kept.write_runs(file, asked, [Search("a", 0, 1)])
    document = json.loads(file.read_text())
    del document["settings"]["mirror_average"], document["settings"]["split"]["binary"]
    file.write_text(json.dumps(document))
    assert kept.read_runs(file, asked)
    for changed in ({"mirror_average": True}, {"split": config.split.model_copy(update={"binary": True})}):
        now = kept.named(config.model_copy(update=changed).model_dump(mode="json"))
        with pytest.raises(SystemExit, match=r"was made with (mirror_average|split\.binary) false; got true\."):
            kept.read_runs(file, {"settings": now})


def test_a_file_that_does_not_say_what_it_was_made_with_is_refused(tmp_path):
    file = tmp_path / "kept.json"
    file.write_text(json.dumps({"config": {"image_size": 150}, "runs": []}))
    with pytest.raises(SystemExit, match=r"Name another --output\."):
        kept.read_runs(file, {"settings": {"data": ["sartaj"], "weights": "w.h5"}})


def test_simulated_curves_are_kept_for_each_first_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TUMORCLS_CACHE", str(tmp_path))
    recorded = []
    task = curves.Task("a task", "", lambda count: recorded.append(count) or [], "a-task")
    monkeypatch.setitem(curves.TASKS, "a task", task)
    for weights, times in (("here/a.h5", 1), ("there/a.h5", 1), ("here/b.h5", 2)):
        monkeypatch.setenv("TUMORCLS_WEIGHTS", weights)
        curves.read_curves("a task", 3)
        assert len(recorded) == times


def test_no_benchmark_takes_runs_of_before_but_by_the_one_rule():
    texts = {
        path.relative_to(REPOSITORY / "benchmarks"): path.read_text() for path in (REPOSITORY / "benchmarks").rglob("*.py")
    }
    assert [str(path) for path, text in texts.items() if '["runs"]' in text] == ["kept.py"]
    taking = {path.parts[0].removesuffix(".py") for path, text in texts.items() if "kept.read_runs(" in text}
    assert taking == BENCHMARKS.keys()


def documented():
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "benchmarks").rglob("*.py")]
    command = re.compile(rf"(?<!\")python (?:-m benchmarks[.]|benchmarks/)({'|'.join(BENCHMARKS)})\b([^`#\n]*)")
    for page in pages:
        for name, arguments in command.findall(page.read_text().replace("\\\n", " ")):
            if "..." not in arguments:
                yield pytest.param(name, arguments.strip(), id=f"{page.stem}: {name} {arguments.strip()}")


COMMANDS = list(documented())


@pytest.mark.parametrize(("name", "arguments"), COMMANDS)
def test_a_documented_command_measures_and_takes_nothing_of_the_shipped_results(name, arguments):
    assert re.search(r"--output (?!benchmarks/)\S", arguments)


def test_the_documented_commands_ask_what_the_shipped_runs_were_made_with(monkeypatch):
    monkeypatch.setenv("TUMORCLS_WEIGHTS", "/home/somebody/efficientnetb0_notop_recovered.h5")
    found = set()
    for name, arguments in (command.values for command in COMMANDS):
        monkeypatch.setattr(sys, "argv", ["benchmark", *shlex.split(arguments)])
        module, given = BENCHMARKS[name][0], BENCHMARKS[name][0].parse()
        file = RESULTS / given.output.with_suffix(".json").name
        if name != "search_quality" and file.exists():
            more = [given.parts, given.unseen] if name == "recipe" else []
            asked = module.asked_of(module.config_of(given), *more)
            assert kept.read_runs(file, asked) == json.loads(file.read_text())["runs"]
            assert "/" not in "".join(asked["settings"]["data"]) + asked["settings"]["weights"]
            found.add(file.name)
    shipped = {file.name for name in ("anytime", "cached_views", "recipe") for file in RESULTS.glob(f"{name}*.json")}
    assert found == shipped
