"""docs/notebook.ipynb: kept without outputs, and run as a person would run it, without a network."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tumorcls import DISCLAIMER

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def cells(kind):
    return [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def text(cell):
    return "".join(cell["source"])


def test_it_is_kept_without_what_a_run_leaves():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert set(content["metadata"]) == {"kernelspec", "language_info"}
    for cell in cells("code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    assert all(cell["metadata"] == {} for cell in content["cells"])


def test_its_code_is_in_order():
    for cell in cells("code"):
        compile(text(cell), "cell", "exec")


def test_it_says_what_it_is_not_for_wherever_it_predicts():
    whole = [text(cell) for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]]
    assert DISCLAIMER in whole[0]
    (predicting,) = (number for number, source in enumerate(whole) if "tumorcls predict" in source)
    assert DISCLAIMER in whole[predicting - 1], "above it"
    assert "tumorcls.DISCLAIMER" in whole[predicting], "and with what it shows"


def test_its_links_lead_somewhere():
    links = [link for cell in cells("markdown") for link in re.findall(r"\]\((?!http)([^)#]+)", text(cell))]
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


def test_it_names_the_folders_of_colab_and_kaggle():
    where = "".join(map(text, cells("markdown")))
    for folder in ("/content/drive/MyDrive", "/kaggle/input", "/kaggle/working"):
        assert folder in where


@pytest.mark.parametrize("place", ["/kaggle/working", "/content", "docs"])
def test_the_first_cell_installs_what_is_not_there_and_leaves_the_repository_as_it_is(place, tmp_path, monkeypatch):
    for folder in ("repository/docs", "repository/tumorcls", "repository/.git"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "repository" / "setup.cfg").touch()
    repository = "/kaggle/input/tumorcls" if place == "/kaggle/working" else "/content/drive/MyDrive/tumorcls"
    code = text(cells("code")[0])
    if place == "docs":
        code = code.replace('"/kaggle', '"/no/kaggle').replace('"/content', '"/no/content')
    else:
        (tmp_path / "work").mkdir()
        for path, ours in ((repository, "repository"), (place, "work")):
            code = code.replace(f'"{path}"', f'"{tmp_path / ours}"')
    monkeypatch.chdir(tmp_path / "repository" / "docs")
    monkeypatch.setenv("TUMORCLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    installed = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: installed.append((command[-1], contents(command[-1]))))
    before = contents(tmp_path)
    exec(compile(code, "cell", "exec"), {})
    assert contents(tmp_path) == before
    ((source, content),) = installed
    if place == "docs":
        assert source == f"{tmp_path / 'repository'}[cpu]"
    else:
        assert (Path(source).exists(), content) == (False, ["docs", "setup.cfg", "tumorcls"]), (
            "a copy, gone when it is installed"
        )


def contents(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_runs_offline(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    shutil.copy(NOTEBOOK, tmp_path)
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody is there
    monkeypatch.setenv("TUMORCLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    paths = [str(NOTEBOOK.parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    notebook = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)
    nbclient.NotebookClient(notebook, timeout=PATIENCE_S, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "6/6 trials finished" in printed
    results = [out["data"] for cell in notebook.cells for out in cell.get("outputs", []) if out.output_type == "execute_result"]
    assert [data for data in results if "text/markdown" not in data] == [], "what a last line is worth, to nobody"
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    shown = [output.data for output in last.outputs if "data" in output]
    assert any(DISCLAIMER in data.get("text/markdown", "") for data in shown)
    assert any("image/png" in data for data in shown)
