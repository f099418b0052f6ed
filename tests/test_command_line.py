"""What a person sees who types a command bare, with -h, or wrongly, on a terminal of 80 columns."""

import importlib
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic_core import SchemaError

import search.cli
import tumorcls.cli

PACKAGES = {"search": search.cli, "tumorcls": tumorcls.cli}
COMMANDS = [(name, command) for name, module in PACKAGES.items() for command in module.COMMANDS]


def typed(module, *arguments):
    return CliRunner(env={"COLUMNS": "80"}).invoke(module.cli, arguments, prog_name=module.__name__.partition(".")[0])


def run(*arguments):
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", PACKAGES.values(), ids=PACKAGES)
@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_help_of_all(module, arguments):
    """Bare is a question too. Every command with all of its help, in the order of use."""
    done = typed(module, *arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "..." not in done.stdout.replace("[ARGS]...", "")
    listed = " ".join(done.stdout.partition("Commands:")[2].split())
    wanted = " ".join(f"{name} {help_}" for name, (help_, *_) in module.COMMANDS.items())
    assert listed == wanted


class Interrupted:
    def __set_name__(self, *_):
        raise KeyboardInterrupt


def in_pydantic(*_, **__):
    raise SchemaError('Error building "literal" validator:\n  KeyboardInterrupt: ')


def in_python(*_, **__):
    type("Table", (), {"field": Interrupted()})


@pytest.mark.parametrize("build", [in_pydantic, in_python])
@pytest.mark.parametrize("module", PACKAGES.values(), ids=PACKAGES)
def test_an_interrupt_while_a_class_is_built_is_one(module, build, monkeypatch, capsys):
    """Each of the two makes an error of its own of it, Python before 3.12."""
    monkeypatch.setattr(module.cli, "main", build)
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_an_interrupt_while_a_connection_is_closed_leaves_no_traceback():
    """SQLAlchemy would log one, on standard error where nobody has set up a log."""
    close = (
        "import sqlite3, sqlalchemy, search.cli\n"
        "class Connection(sqlite3.Connection):\n"
        "    def close(self): raise KeyboardInterrupt\n"
        "def work(**_):\n"
        "    engine = sqlalchemy.create_engine('sqlite:///:memory:', connect_args={'factory': Connection})\n"
        "    engine.connect().invalidate()\n"
        "search.cli.cli.main = work\n"
        "search.cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", close], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(("package", "command"), COMMANDS)
def test_help_of_one(package, command, monkeypatch):
    module = importlib.import_module(f"{package}.commands.{command.replace('-', '_')}")
    # Click keeps the help option of the first context, which was one without -h where a test called the command alone.
    monkeypatch.setattr(module.command, "_help_option", None)
    done = typed(PACKAGES[package], command, "-h")
    assert (done.exit_code, done.stderr) == (0, "")
    lines, examples = done.stdout.splitlines(), PACKAGES[package].COMMANDS[command][1:]
    assert max(len(line) for line in lines if line.strip() not in examples) <= 80
    assert [line.strip() for line in lines[lines.index("  Examples:") + 1 :]] == list(examples)
    assert "TODO" not in done.stdout
    assert "\\" not in done.stdout, "Click takes no mark of a raw docstring for its own"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_help_waits_for_what_only_work_needs(package):
    """All commands in one process: what none imports is imported for none."""
    modules = ", ".join(f"{name}.commands.{command.replace('-', '_')}" for name, command in COMMANDS if name == package)
    heavy = {"numpy", "scipy", "PIL", "rich", "pydantic", "optuna", "sqlalchemy", "keras", "tensorflow", "jax", "torch"}
    code = f"import sys, {package}.cli, {modules}; sys.exit(' '.join({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(("package", "command"), COMMANDS)
def test_examples_are_commands(package, command):
    """Each is parsed, with its options and their types; nothing runs."""
    for example in PACKAGES[package].COMMANDS[command][1:]:
        program, name, *arguments = shlex.split(example)
        assert (program, name) == (package, command)
        module = importlib.import_module(f"{package}.commands.{command.replace('-', '_')}")
        with module.command.make_context(name, arguments):
            pass


@pytest.mark.parametrize("package", PACKAGES)
def test_version(package):
    """It stands in setup.cfg, and where the software is cited."""
    assert importlib.import_module(package).__version__ == "0.1.0"
    for name in ("setup.cfg", "CITATION.cff"):
        lines = (Path(__file__).parents[1] / name).read_text(encoding="utf-8").splitlines()
        assert [line.split()[-1] for line in lines if line.startswith(("version =", "version:"))] == ["0.1.0"]
    assert typed(PACKAGES[package], "--version").stdout == f"{package}, version 0.1.0\n"


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("statsu", "prediction"), "No such command '{}'. Did you mean"),
        (("--versoin", "--versoin"), "No such option '--versoin'. Did you mean '--version'?"),
        (("status", "card"), "Missing argument '"),
        (("status --al x.toml", "predict --modle m.keras x.png"), "Did you mean "),
    ],
)
def test_a_typo_is_one_line_with_a_remedy(package, wrong, said):
    text = dict(zip(PACKAGES, wrong, strict=True))[package]
    done = run(package, *text.split())
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {package}")
    assert said.format(text) in line
    assert line.endswith(" --help.")


@pytest.mark.parametrize("package", PACKAGES)
def test_completion(package):
    """As click offers it; docs/index.md says how."""
    variable = f"_{package.upper()}_COMPLETE"
    done = CliRunner(env={variable: "bash_complete", "COMP_WORDS": f"{package} e", "COMP_CWORD": "1"}).invoke(
        PACKAGES[package].cli, prog_name=package, complete_var=variable
    )
    offered = [line.partition(",")[2] for line in done.stdout.splitlines()]
    assert offered == [name for name in PACKAGES[package].COMMANDS if name.startswith("e")]
