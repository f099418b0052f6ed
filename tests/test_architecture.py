"""docs/architecture.md and CONTRIBUTING.md name what there is."""

import ast
import configparser
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NOT_MODULES = {"__init__", "__main__", "__pycache__"}
MOST_AT_THE_TOP = 15
MOST_LINES = 320


def section(package):
    return re.search(rf"## The rooms of `{package}`, top first\n(.*?)\n## ", ARCHITECTURE, re.DOTALL)[1]


@pytest.mark.parametrize("package", ["search", "tumorcls"])
def test_the_table_of_rooms_is_that_of_the_folders(package):
    """Each folder with the first line of its `__init__`, and each module at the top, once, in an order that the layers have."""
    rows = dict(re.findall(r"^\| (`.*?`) \| (.*) \|$", section(package), re.MULTILINE))
    names = [name for row in rows for name in re.findall(r"`(\w+)/?`", row)]
    top = {path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(names) == sorted(top - NOT_MODULES)
    assert len(names) <= MOST_AT_THE_TOP
    for row, answer in rows.items():
        if row.endswith("/`"):
            source = (ROOT / package / row.strip("`") / "__init__.py").read_text(encoding="utf-8")
            assert ast.get_docstring(ast.parse(source)).splitlines()[0] == answer
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in settings if contract.get("containers") == [package])
    level = {name: number for number, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}
    rooms = [level[row.strip("`/")] for row in rows if row.endswith("/`")]
    assert rooms == sorted(rooms)


@pytest.mark.parametrize("page", [ARCHITECTURE, CONTRIBUTING], ids=["architecture", "contributing"])
def test_files_that_are_named_exist(page):
    named = {path for path in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|md|yaml|toml))`", page) if "NAME" not in path}
    assert named
    places = (ROOT, ROOT / "search", ROOT / "tumorcls")
    assert [path for path in sorted(named) if not any((place / path).exists() for place in places)] == []


@pytest.mark.parametrize("package", ["search", "tumorcls"])
def test_each_room_says_in_one_line_what_it_is(package):
    for path in (ROOT / package).rglob("__init__.py"):
        lines = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()
        assert lines, path
        assert 20 < len(lines[0]) <= 128, path


@pytest.mark.parametrize("package", ["search", "tumorcls"])
def test_what_is_no_module_is_installed_too(package):
    """Templates of pages and study files: a wheel holds only what setup.cfg names."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = setup["options.package_data"][package].split(",")
    found = {path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert found <= {path for pattern in named for path in (ROOT / package).glob(pattern.strip())}


def test_of_the_quick_tiers_processes_only_that_for_networks_imports_keras(request):
    """All modules of this process are imported by now: one that imports Keras belongs in `KERAS` of tests/conftest.py."""
    if getattr(request.config, "workerinput", {}).get("networks") is not False:
        pytest.skip("only the quick tier, --dist each, has such processes")
    assert "keras" not in sys.modules


@pytest.mark.parametrize("package", ["search", "tumorcls"])
def test_no_module_is_long(package):
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / package).rglob("*.py")}
    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}


def test_optunas_names_of_attributes_stand_in_one_module_which_imports_nothing():
    home = ROOT / "search" / "records" / "optuna_keys.py"
    assert f"`{home.relative_to(ROOT / 'search')}`" in section("search")
    tree = ast.parse(home.read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.value.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)}
    assert names
    found = set()
    for path in (ROOT / "search").rglob("*.py"):
        texts = {node.value for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)}
        found |= {(path.stem, name) for name in names & texts}
    assert found - {("optuna_keys", name) for name in names} == {("export", "constraints")}, "which is a key of its provenance"


def test_private_names_of_keras_are_used_by_one_module():
    """No contract can say so: import-linter knows of another package only as a whole."""
    sources = [path for package in ("search", "tumorcls") for path in (ROOT / package).rglob("*.py")]
    using = [path.relative_to(ROOT).as_posix() for path in sources if re.search(r"keras\W+src\b", path.read_text("utf-8"))]
    assert using == ["tumorcls/model/keras_internals.py"]
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    (capped,) = [line for line in setup["options"]["install_requires"].splitlines() if re.match(r"keras\b", line)]
    assert re.fullmatch(r"keras>=[\d.]+,<4", capped)


def test_the_commands_that_open_the_test_part_are_those_that_are_named():
    """Whoever loads it, and whoever asks those for it."""
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tumorcls").rglob("*.py")}
    opening = {path.stem for path, text in sources.items() if re.search(r'load_part\([^)]*"test"', text)}
    assert "measured" in opening
    users = {path.stem for path, text in sources.items() if re.search(r"import .*\bmeasured_images", text)}
    assert users
    commands = (opening - {"measured"}) | users
    for page in (ARCHITECTURE, (ROOT / "README.md").read_text(encoding="utf-8")):
        named = re.search(r"No search and no training opens.*? measure on", page, re.DOTALL | re.IGNORECASE)[0]
        assert set(re.findall(r"`(?:tumorcls )?(\w+)`", named)) == commands
