"""docs/notebook.ipynb: kept without outputs, and run as a person would run it, without a network."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """Returns a function that runs the first two cells where nothing is installed, and returns what pip was asked for.

    `tmp_path` stands for the root of the disk; the notebook lies in `/docs` there, until a place is made.
    """
    code = re.sub(
        r'"(/(?:kaggle|content)[^"]*)"', lambda found: f'"{tmp_path}{found[1]}"', "\n".join(map(text, cells("code")[:2]))
    )
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    monkeypatch.setenv("TUMORCLS_CACHE", str(tmp_path / "cache"))

    def run(source="", backend=None, returncode=0, stderr=""):
        spec = SimpleNamespace(origin="tensorflow.py")
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == backend else None)
        installed = []

        def pip(command, **_):
            folder = re.sub(r"\[\w+\]$", "", command[-1])
            installed.append((command[-1], contents(folder) if Path(folder).is_dir() else None))
            return SimpleNamespace(returncode=returncode, stderr=stderr)

        monkeypatch.setattr(subprocess, "run", pip)
        exec(compile(code.replace('SOURCE = ""', f"SOURCE = {source!r}", 1), "cell", "exec"), {})
        ((wanted, content),) = installed
        return wanted, content

    return run


def write_repository(folder):
    for name in ("docs/notebook.ipynb", "tumorcls/cli.py", "search/cli.py", ".git/config", "setup.cfg", "data/1.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("place", ["", "docs/tumorcls", "content/drive/MyDrive/tumorcls", "kaggle/input/tumorcls"])
@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
@pytest.mark.parametrize(("backend", "extra"), [("tensorflow", ""), ("jax", ""), (None, "[cpu]")])
def test_the_first_cell_installs_what_is_not_there_and_leaves_the_repository_as_it_is(
    setup, place, named, backend, extra, tmp_path
):
    repository = write_repository(tmp_path / ("elsewhere" if named else place))
    before = contents(tmp_path)
    wanted, content = setup(str(repository) if named else "", backend)
    assert contents(tmp_path) == before
    assert content == ["search", "search/cli.py", "setup.cfg", "tumorcls", "tumorcls/cli.py"]
    assert wanted.endswith(f"/source{extra}")
    assert not Path(wanted.removesuffix(extra)).exists(), "a copy, gone when it is installed"


def test_the_code_may_be_an_archive_or_on_a_server(setup, tmp_path):
    (tmp_path / "tumorcls.zip").touch()
    assert setup(str(tmp_path / "tumorcls.zip"))[0] == f"{tmp_path}/tumorcls.zip[cpu]"
    assert setup("git+https://example.org/tumorcls", "jax")[0] == "tumorcls @ git+https://example.org/tumorcls"


def test_where_the_code_is_not_or_cannot_be_installed_is_said_without_a_traceback(setup, tmp_path):
    """`_render_traceback_` is what IPython shows in place of a traceback."""
    with pytest.raises(Exception, match=r"^The code is not where the table says: .* SOURCE") as none:
        setup()
    stopped: Any = none.value
    assert stopped._render_traceback_() == [str(stopped)]
    assert "\n" not in str(stopped)
    with pytest.raises(Exception, match=r"pip could not install .*example\.org.* SOURCE, .* no such host$"):
        setup("git+https://example.org/tumorcls", returncode=1, stderr="no such host\n")


@pytest.mark.parametrize(("place", "work"), [("content", "content"), ("kaggle/working", "kaggle/working"), ("docs", "docs")])
def test_it_works_where_a_session_keeps_files(setup, place, work, tmp_path):
    write_repository(tmp_path)
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    setup()
    assert Path.cwd() == tmp_path / work


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
    printed = re.sub(r"\x1b\[[\d;]*m", "", "".join(output.get("text", "") for output in outputs(notebook)))  # without colours
    assert "6/6 trials finished" in printed
    assert re.search(r"images +200\n", printed)
    assert re.search(r"different pictures +160\n", printed), "each copy is found, and nothing else"
    assert re.search(r"[23] in the (train|validation|test) part: .* copy\.jpg", printed)
    assert re.search(r"macro-F1 under noise [01]\.\d{3} ", printed)
    assert "loss by epoch: " in printed
    (compared,) = (out["data"]["text/markdown"] for out in outputs(notebook) if "less without" in str(out))
    assert re.search(r"\| macro-F1, mean over noises and severities \| [+-]0\.\d{3} \(", compared)
    assert re.search(r"\| trained without noise \| ([01]\.\d{3} \(.*?\) \| ?){4}", compared)
    pictures = [out for out in outputs(notebook) if "image/png" in out.get("data", {})]
    assert len(pictures) >= 3 + 1 + 1, "copies, noise, and maps"
    results = [out["data"] for out in outputs(notebook) if out.output_type == "execute_result"]
    assert [data for data in results if "text/markdown" not in data] == [], "what a last line is worth, to nobody"
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    shown = [output.data for output in last.outputs if "data" in output]
    assert any(DISCLAIMER in data.get("text/markdown", "") for data in shown)
    assert any("image/png" in data for data in shown)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]
