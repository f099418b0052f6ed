"""The figures of tutorial and first study: `docs/figures.py` makes all of them, and puts each in its place."""

import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

import search.cli
import tumorcls.cli
from search.driver import launch
from tests.in_process import run_in_process, sharing
from tests.inline import InlineExecutor
from tumorcls.commands.train import _describe as describe_calibration
from tumorcls.data.labels import CLASSES
from tumorcls.data.phantom import write_dataset
from tumorcls.inference.predict import Prediction, as_text
from tumorcls.model.backend import select_backend
from tumorcls.model.calibration import MAX_ERROR, Calibration
from tumorcls.model.conformal import ClassSets

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def figures():
    spec = importlib.util.spec_from_file_location("figures", DOCS / "figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kept(figures, page):
    """Returns the figures that a page has now."""
    return {mark["name"]: mark[0].partition("-->")[2].removesuffix("<!--/-->") for mark in figures.MARK.finditer(page)}


@pytest.mark.parametrize("name", ["tutorial", "first-study"])
def test_a_page_with_its_own_figures_is_the_page_and_every_place_is_closed(figures, name):
    page = (DOCS / f"{name}.md").read_text()
    assert len(re.findall(r"<!--[a-z0-9_]+-->", page)) == page.count("<!--/-->") == len(figures.MARK.findall(page)) > 5
    assert figures.rewrite(page, kept(figures, page)) == page


def test_both_pages_agree(figures):
    tutorial, study = (kept(figures, (DOCS / f"{name}.md").read_text()) for name in ("tutorial", "first-study"))
    shared = tutorial.keys() & study.keys()
    assert {"images", "block7_f1"} <= shared
    assert {name: " ".join(tutorial[name].split()) for name in shared - {"when"}} == {
        name: " ".join(study[name].split()) for name in shared - {"when"}
    }


def test_what_train_and_predict_print_is_quoted_as_they_print_it(figures):
    """The numbers of each line, and the words that the commands of now put around them."""
    quoted = kept(figures, (DOCS / "tutorial.md").read_text())
    told = quoted["head_trained"].strip().splitlines()[-4:-1]
    numbers = list(map(float, re.findall(r"\d+(?:\.\d+)?", " ".join(told))))
    images, temperature, threshold, _, _, answered, wrong, _, cutoff, asked, _, groups, *_ = numbers
    sets = ClassSets(asked / 100, cutoff)
    counted = answered / images, wrong / answered
    found = Calibration(temperature, threshold, MAX_ERROR, *counted, int(images), sets, int(groups))
    assert describe_calibration(found) == told
    for line in quoted["predicted"].strip().splitlines()[1:-1]:
        path, answer, shares, named = re.fullmatch(r"(\S+): (\w+)  \((.*)\)  not ruled out: (.*)", line).groups()
        probabilities = {name: float(share) for name, share in re.findall(r"(\w+) ([\d.]+)", shares)}
        found = Prediction(Path(path), answer, probabilities, class_set=tuple(named.split(", ")))
        assert as_text([found], CLASSES).splitlines()[0] == line
        assert set(probabilities) == set(CLASSES)


def test_a_place_without_a_figure_is_an_error(figures):
    with pytest.raises(KeyError, match="wrong_name"):
        figures.rewrite("<!--wrong_name-->1<!--/-->", {"right": "2"})
    assert (
        figures.rewrite("a <!--x-->1\n2<!--/--> b <!--y--><!--/-->", {"x": "3", "y": "4"})
        == "a <!--x-->3<!--/--> b <!--y-->4<!--/-->"
    )


@pytest.fixture
def one_process(figures, monkeypatch):
    """Has the script run its commands and their workers in this process, which compiles a network once for all of them."""
    mains = {"search": search.cli.main, "tumorcls": tumorcls.cli.main}
    select_backend()
    from tumorcls.model.program_cache import ProgramCache

    monkeypatch.setattr(launch, "LocalExecutor", InlineExecutor)

    def run(command, **_):
        done = run_in_process(mains[command[2]], *command[2:], COLUMNS="120")
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done

    monkeypatch.setattr(figures, "subprocess", SimpleNamespace(run=run, PIPE=subprocess.PIPE))
    with sharing(ProgramCache()):
        yield


@pytest.mark.slow
def test_the_script_makes_every_figure_of_the_pages_and_no_other(figures, one_process, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUMORCLS_DATA", str(tmp_path))
    monkeypatch.setenv("TUMORCLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TUMORCLS_WEIGHTS", "phantoms")
    write_dataset(tmp_path / "sartaj", images=96, seed=1)
    shutil.copytree(tmp_path / "sartaj" / "Training" / "no_tumor", tmp_path / "sartaj" / "Testing" / "no_tumor")
    study = tomllib.loads(figures.STUDY.read_text())
    study["space"]["epochs"] = {"type": "int", "low": 2, "high": 4, "step": 2}
    study["enqueue"][0]["epochs"] = 2
    study["pruner"] |= {"n_startup_trials": 1, "n_warmup_steps": 1}
    study["objective"] |= {"image_size": 32, "noisy_images": 16, "views": 1}
    made = figures.setting() | figures.tutorial(study) | figures.first_study(study)
    wanted = set()
    for page in figures.PAGES:
        wanted |= kept(figures, page.read_text()).keys()
        assert figures.rewrite(page.read_text(), made)
    assert all(made[name].strip() for name in wanted)
    assert "Winner: " in made["finalists"]
    assert made["six_trials"].count("\n| ") == 7
    assert re.fullmatch(r"1?\.\d{3} \(1?\.\d{3} to 1?\.\d{3}\)", made["block7_f1"])
