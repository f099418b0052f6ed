import json
import os
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import optuna
import pytest

from search.cli import main
from tests.patience import PATIENCE_S


@pytest.fixture(scope="module")
def finished(tmp_path_factory, environment, toml):
    """A folder with a study that has reached its budget."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(Path(__file__).with_name("objectives.py"), folder)
    (folder / "demo.toml").write_text(toml(study={"trials": "4"}))
    command = [sys.executable, "-m", "search", "launch", "demo.toml", "--quiet"]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout + done.stderr == ""
    return folder


@pytest.fixture
def launched(finished, folder):
    for path in finished.glob("demo.*"):
        shutil.copy(path, folder)


def test_help_answers_at_once(search_process):
    def seconds():
        """Of CPU: a busy machine takes longer."""
        before = os.times()
        search_process("--help")
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(3)) < 1.0


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        ("search, search.cli", {"optuna", "numpy", "sqlalchemy", "pydantic", "rich"}),
        ("search.driver.launch, search.results.export, search.results.status, search.results.dashboard", set()),
        ("search.workers.process, search.workers.consult", {"optuna", "numpy", "pydantic.main"}),  # once for each worker
    ],
)
def test_what_is_not_imported(environment, modules, unwanted):
    unwanted |= {"tensorflow", "keras", "jax", "torch", "tumorcls"}
    code = f"import {modules}, sys; found = {unwanted!r} & set(sys.modules); sys.exit(str(found) if found else 0)"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_the_public_names():
    import search as package

    assert sorted(package.__all__) == package.__all__
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = package.nothing


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("lunch",), "No such command 'lunch'. Did you mean 'launch'? Try search --help."),
        (("launch", "--trails", "3"), "No such option '--trails'. (Did you mean one of: '--as', '--trials'?)"),
        (("launch",), "Missing argument 'STUDY.toml'."),
        (("launch", "none.toml"), "none.toml: the study file must exist"),
        (("launch", "demo.toml", "--trials", "0"), "0 is not in the range x>=1."),
        (("launch", "demo.toml", "--timeout", "soon"), '--timeout: must be a positive time; got "soon".'),
        (("launch", "demo.toml", "--timeout", ""), '--timeout: must be a positive time; got "".'),
        (("worker", "demo.toml", "--timeout", ""), '--timeout: must be a positive time; got "".'),
        (("launch", "demo.toml", "--storage", "sqlite:///none/x.db"), "the folder must exist; got no folder none"),
        (("launch", "demo.toml", "--storage", "x.db"), "must be a URL such as sqlite:///"),
        (("status", "demo.toml"), "the study must have been launched; got no such file. Run search launch first."),
        (("export", "demo.toml"), "the study must have been launched"),
        (("dashboard", "demo.toml"), "the study must have been launched"),
        (("report", "demo.toml"), "the study must have been launched"),
        (("report", "sqlite:///none.db#demo"), "the study must have been launched"),
        (("compare", "demo.toml"), "the study must have been launched"),
        (("finalists", "demo.toml"), "the study must have been launched"),
        (("finalists", "demo.toml", "--seeds", "1"), "1 is not in the range x>=2."),
        (("compare",), "compare: needs at least two studies or labels; got 0."),
    ],
)
def test_mistakes_are_one_line_and_exit_code_1(write, monkeypatch, capsys, arguments, expected):
    write()
    monkeypatch.setattr(sys, "argv", ["search", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert expected in err


def test_status(launched, search):
    lines = search("status", "demo.toml").stdout.splitlines()
    assert lines[0] == "demo: 4/4 trials finished (4 complete)"
    assert len(lines) == 7


def test_export_prints_or_writes(launched, search):
    document = tomllib.loads(search("export", "demo.toml").stdout)
    assert document["provenance"]["study"] == "demo"
    assert search("export", "demo.toml", "-o", "best.toml").stdout == "Wrote best.toml.\n"
    assert tomllib.loads(Path("best.toml").read_text()) == document


@pytest.mark.parametrize("study", ["demo.toml", "sqlite:///demo.db#demo"])
def test_report_of_a_study_file_and_of_a_url(launched, monkeypatch, capsys, study):
    monkeypatch.setattr(sys, "argv", ["search", "report", study, "-o", "page.html"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    assert capsys.readouterr().out == "Wrote page.html.\n"
    assert "<h1>Study demo</h1>" in Path("page.html").read_text()


@pytest.mark.parametrize("arguments", [("report", "demo.toml"), ("compare", "demo.toml", "sqlite:///plain.db#one")])
def test_a_page_leaves_those_beside_it_as_they_are(launched, plain, search, arguments):
    search(*arguments, "-o", "first.html")
    first = Path("first.html").read_bytes()
    os.mkfifo("pipe.html")  # which nobody writes to
    search(*arguments, "-o", "second.html")
    assert Path("first.html").read_bytes() == first
    assert "first.html" not in Path("second.html").read_text()


@pytest.fixture
def plain():
    """Two studies of plain Optuna, as a side of a comparison."""
    for name in ("one", "two"):
        study = optuna.create_study(study_name=name, storage="sqlite:///plain.db", direction="maximize")
        study.add_trial(optuna.trial.create_trial(value=1.0))
    return "sqlite:///plain.db#one,sqlite:///plain.db#two"


def test_compare_prints_a_table_and_writes_a_page(launched, plain, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["search", "compare", "demo.toml", f"plain={plain}", "-o", "page.html"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    out = capsys.readouterr().out
    assert "plain" in out
    assert out.endswith("Wrote page.html.\n")
    assert "<h1>demo against plain</h1>" in Path("page.html").read_text()


def test_a_page_that_goes_to_stdout_is_alone_there(launched, plain, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["search", "compare", "demo.toml", f"plain={plain}", "-o", "-"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    out, err = capfd.readouterr()
    assert out.startswith("<!doctype html>")
    assert out.rstrip().endswith("</html>")
    assert "plain" in err


def test_another_storage(write, search):
    write(study={"trials": "1"})
    done = search("launch", "demo.toml", "--storage", "sqlite:///other.db")
    assert "search export demo.toml --storage sqlite:///other.db -o best.toml" in done.stdout
    assert not Path("demo.db").exists()
    search("status", "demo.toml", "--storage", "sqlite:///other.db")


def test_a_changed_file_is_refused(launched, write, search):
    write(study={"trials": "4"}, space={"x": '{ type = "float", low = 0.0, high = 1.0 }'})
    assert "demo.toml: space.x: must stay as it was" in search("launch", "demo.toml", code=1).stderr


def test_a_larger_budget_goes_on(launched, search):
    assert "Budget reached: 6/6 trials." in search("launch", "demo.toml", "--trials", 6).stdout
    assert search("status", "demo.toml").stdout.startswith("demo: 6/6 trials finished ")


def test_the_optuna_command_reads_the_study(launched):
    def optuna(*arguments):
        command = [Path(sys.executable).with_name("optuna"), *arguments, "--storage", "sqlite:///demo.db", "-f", "json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert [study["name"] for study in optuna("studies")] == ["demo"]
    assert len(optuna("trials", "--study-name", "demo")) == 4
    assert optuna("best-trial", "--study-name", "demo")["state"] == "COMPLETE"


def test_the_dashboard_answers(launched, start, search):
    server = start("dashboard", "demo.toml", "--port", 0)
    address = server.stdout.readline().split()[0]
    assert address.startswith("http://127.0.0.1:")
    root = address.partition("/dashboard")[0]

    def get(path):
        with urllib.request.urlopen(root + path, timeout=PATIENCE_S) as answer:  # its first takes long where others compute
            return json.load(answer)

    studies = get("/api/studies")["study_summaries" if "study_summaries" in get("/api/studies") else "studies"]
    assert [study["study_name"] for study in studies] == ["demo"]
    assert Path("demo.artifacts").is_dir()
    number = address.rpartition("/")[2]
    shown = get(f"/api/studies/{number}?after=0")
    assert len(shown["trials"]) == 4
    assert "| x | -10 to 10 |" in shown["note"]["body"]
    assert {chart["id"] for chart in shown["plotly_graph_objects"]} == {"workers", "best-so-far-and-baseline"}
    port = root.rpartition(":")[2]
    taken = search("dashboard", "demo.toml", "--port", port, code=1)
    assert f"127.0.0.1:{port}: must be free to listen on; got: Address already in use." in taken.stderr
    os.kill(server.pid, 2)
    assert server.wait(timeout=PATIENCE_S) == 130


def test_status_for_other_programs(write, search):
    write(study={"trials": "2"})
    search("launch", "demo.toml")
    table = search("status", "demo.toml", "--format", "csv").stdout
    assert table.startswith("trial,state,step,score,seconds,began,note,worker,params.x\n0,complete,3,")
    assert json.loads(search("status", "demo.toml", "--format", "json").stdout)["finished"] == 2
    assert "--watch needs a terminal" in search("status", "demo.toml", "--watch", code=1).stderr
    assert "only one of" in search("status", "demo.toml", "--watch", "--by", "x", code=1).stderr
