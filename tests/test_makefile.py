"""The Makefile: which Pythons it takes, and what it makes anew, with stand-ins for them that install nothing."""

import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
TAKEN = ["3.11", "3.12", "3.13"]

STAND_IN = r"""#!/bin/sh
echo "$0 $*" >> {log}
case "$1 $2" in
    -c*) exec {python} -c 'import sys; sys.version_info = ({version}, 0); exec(sys.argv[1])' "$2" ;;
    -V*) echo Python {version} ;;
    "-m venv")
        shift 2
        if [ "$1" = --clear ]; then shift; rm -rf "$1"; fi
        mkdir -p "$1/bin"
        [ -e "$1/bin/python" ] || cp "$0" "$1/bin/python"
        printf '#!/bin/sh\n[ "$3" != -o ] || echo written > "$4"\n' > "$1/bin/search"
        chmod +x "$1/bin/search" ;;
esac
"""


class Desk:
    """A folder with the Makefile and what it depends on."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "log"
        for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        (folder / "studies").mkdir()
        (folder / "studies" / "quickstart.toml").write_text("ours")

    def python(self, version):
        path = self.folder / f"python{version}"
        path.write_text(STAND_IN.format(log=self.log, python=sys.executable, version=version.replace(".", ", ")))
        path.chmod(0o755)
        return path

    def make(self, version, *targets, **environ):
        command = ["make", "--no-print-directory", *targets, f"PYTHON={self.python(version)}"]
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # not those of `make test`
        return subprocess.run(command, cwd=self.folder, env=ours | environ, capture_output=True, text=True)

    @property
    def of_venv(self):
        told = subprocess.run([self.folder / ".venv" / "bin" / "python", "-V"], capture_output=True, text=True).stdout
        return told.strip().removeprefix("Python ").replace(", ", ".")


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.10", *TAKEN, "3.14", "4.0"])
def test_the_pythons_that_it_takes_are_those_of_setup_cfg(desk, version):
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    made = desk.make(version, ".venv/installed")
    assert (made.returncode == 0) == SpecifierSet(setup["options"]["python_requires"]).contains(version)
    assert (version in TAKEN) == (made.returncode == 0)
    assert (desk.folder / ".venv").exists() == (made.returncode == 0), "what is refused leaves nothing"


@pytest.mark.parametrize(("targets", "again"), [(["test"], "test"), ([], "demo")])
def test_another_python_is_refused_in_a_line_that_says_what_to_type(desk, targets, again):
    made = desk.make("3.10", *targets)
    line = f"Python 3.11 to 3.13 is needed; got 3.10. Name one: make {again} PYTHON=python3.12"
    assert made.stderr.splitlines()[0] == line
    assert "Python 3.11 to 3.13" in (ROOT / "README.md").read_text()


def test_what_another_python_has_begun_is_made_anew(desk):
    subprocess.run([desk.python("3.10"), "-m", "venv", desk.folder / ".venv"], check=True)
    assert desk.of_venv == "3.10"
    assert desk.make("3.12", ".venv/installed").returncode == 0
    assert desk.of_venv == "3.12"


def test_what_is_installed_stays_and_is_only_added_to(desk):
    assert desk.make("3.12", ".venv/installed").returncode == 0
    (desk.folder / ".venv" / "kept").touch()
    desk.log.unlink()
    assert desk.make("3.12", ".venv/installed").returncode == 0
    assert not desk.log.exists(), "nothing to do"
    (desk.folder / ".venv" / "installed").unlink()
    assert desk.make("3.12", ".venv/installed").returncode == 0
    assert (desk.folder / ".venv" / "kept").exists()
    assert re.search(r"-m pip install .* --editable", desk.log.read_text())


def test_a_second_demo_keeps_what_was_edited_and_says_so(desk):
    demo = desk.folder / "demo"
    assert desk.make("3.12", "demo").returncode == 0
    made = {name: (demo / name).read_text() for name in ("quickstart.toml", "best.toml", "report.html")}
    assert made == {"quickstart.toml": "ours", "best.toml": "written\n", "report.html": "written\n"}
    for name in made:
        (demo / name).write_text("edited")
    again = desk.make("3.12", "demo")
    assert again.returncode == 0
    assert {name: (demo / name).read_text() for name in made} == dict.fromkeys(made, "edited") | {"report.html": "written\n"}
    said = [line for line in again.stdout.splitlines() if line.startswith("demo/") and "kept" in line]
    assert [line.split()[0] for line in said] == ["demo/quickstart.toml", "demo/best.toml"]


def test_a_demo_goes_on_where_a_full_disk_cut_the_study_file(desk):
    assert desk.make("3.12", ".venv/installed").returncode == 0
    cut = desk.folder / "full" / "cp"
    cut.parent.mkdir()
    cut.write_text('#!/bin/sh\nfor to; do :; done\n[ ! -d "$to" ] || to="$to/quickstart.toml"\nprintf o > "$to"\nexit 1\n')
    cut.chmod(0o755)
    assert desk.make("3.12", "demo", PATH=f"{cut.parent}:{os.environ['PATH']}").returncode != 0
    again = desk.make("3.12", "demo")
    assert again.returncode == 0
    assert "demo/quickstart.toml is kept" not in again.stdout
    assert {path.name for path in (desk.folder / "demo").iterdir()} == {"quickstart.toml", "best.toml", "report.html"}
    assert (desk.folder / "demo" / "quickstart.toml").read_text() == "ours"


def test_the_lowest_versions_are_those_that_setup_cfg_allows(desk):
    """Of all that a user installs; the tools of the tests, which need newer parts of it, are not held down."""
    assert desk.make("3.12", ".venv-lowest/installed").returncode == 0
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = {
        name: text for name, text in setup["options.extras_require"].items() if name not in ("notebook", "test", "dist", "dev")
    }
    lines = "\n".join([setup["options"]["install_requires"], *extras.values()]).splitlines()
    wanted = {Requirement(line) for line in lines if line and not line.startswith("#")}
    floors = {f"{one.name}=={bound.version}" for one in wanted for bound in one.specifier if bound.operator == ">="}
    pinned = (desk.folder / ".venv-lowest" / "constraints.txt").read_text().splitlines()
    assert set(pinned) == floors
    assert len({one.name for one in wanted}) == len(floors), "each has a lowest version, and one only"
    assert re.search(r"-m pip install .* --constraint .venv-lowest/constraints.txt --editable", desk.log.read_text())
