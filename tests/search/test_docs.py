"""docs/study-files.md says what the code does."""

import hashlib
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from search.errors import StudyFileError
from search.study_file import load as study_file
from search.study_file import pruners, samplers, tables
from search.study_file.policy import RayResources
from search.workers.hooks import take_defaults, take_fingerprint, take_misfits

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "study-files.md").read_text(encoding="utf-8")


def test_the_example_loads(folder):
    Path("example.toml").write_text(re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1])
    assert study_file.load("example.toml").enqueue == ({"epochs": 20, "learning_rate": 1e-3},)


@pytest.mark.parametrize(
    "name", [*samplers._KINDS, *pruners._KINDS, *tables._written(tables.StudyTable), *tables._written(RayResources)]
)
def test_every_name_is_documented(name):
    assert f"`{name}`" in PAGE


def test_of_every_sampler_it_is_said_what_it_makes_of_constraints():
    table = (DOCS / "reading-a-study.md").read_text(encoding="utf-8").partition("| what it makes of constraints |")[2]
    cells = re.findall(r"^\| (`.+?`) \|", table.partition("\n\n")[0], re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(cells))
    assert {*named, "none"} == {*samplers._KINDS}


def test_the_errors_are_real(write):
    """The first error shown is produced letter for letter."""
    Path("studies").mkdir()
    space = {"x": None, "learning_rate": '{ type = "float", low = 0.0, high = 1.0, log = true }'}
    path = write("studies/x.toml", space=space)
    with pytest.raises(StudyFileError) as caught:
        study_file.load(path)
    assert f"error: {caught.value}\n" in PAGE


def test_your_own_model(search):
    """The page's files are written, its commands typed, its last lines run."""
    page = (DOCS / "search-your-own-model.md").read_text(encoding="utf-8")
    module, fingerprint, knows, plain = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    Path("objective.py").write_text(module)
    Path("wave.toml").write_text(re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1])
    commands = re.search(r"```console\n(.*?)```", page, re.DOTALL)[1].splitlines()
    for command in commands[:3]:
        search(*command.split()[1:])
    assert "height" in Path("best.toml").read_text()
    scope: dict[str, Any] = {"__name__": "notebook", "hashlib": hashlib, "Path": Path}
    exec(module + plain, scope)
    assert len(scope["study"].trials) == 15
    exec(f"class Fingerprinted:\n{fingerprint}", scope)
    Path("train.csv").write_text("data")
    assert take_fingerprint(scope["Fingerprinted"]()) == {"data": hashlib.sha256(b"data").hexdigest()}
    exec(f"class Knows:\n{textwrap.indent(knows, '    ')}", scope)
    assert take_misfits(scope["Knows"], {"x": {}, "y": {}}, [], {}) == ("space.y: must be x; got another name.",)
    assert take_misfits(scope["Knows"], {"x": {}}, [], {}, ["maximize"]) == ()
    [line] = take_misfits(scope["Knows"], {"x": {}}, [], {}, ["minimize"])
    assert line == 'study.direction: must be "maximize" for this objective; got ["minimize"]. Write direction = "maximize".'
    assert take_defaults(scope["Knows"], {"x": 2.0}, ["x"]) == {"x": 2.0}


def test_the_script_for_slurm(environment):
    """What Slurm does with it: bash runs it, `srun` runs the command, on a machine that has the data and the cache."""
    page = (DOCS / "cluster.md").read_text(encoding="utf-8")
    script = re.search(r"```bash\n(.*?)```", page, re.DOTALL)[1]
    options = [line.split()[1] for line in script.splitlines() if line.startswith("#SBATCH")]
    assert options, "sbatch reads them before the first command"
    assert script.startswith("#!/bin/bash\n#SBATCH")
    programs = {
        "srun": '[ -z "$ENDS_WITH" ] || exit "$ENDS_WITH"\necho "$TUMORCLS_DATA $1"\nshift 2\nexec python -m search "$@"',
        "scontrol": 'echo "$@"',
    }
    for name, does in programs.items():
        Path(name).write_text(f"#!/bin/sh\n{does}\n")
        Path(name).chmod(0o755)
    Path("job.sh").write_text(script)
    path = os.pathsep.join([str(Path.cwd()), str(Path(sys.executable).parent), os.environ["PATH"]])
    task = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_CPUS_PER_TASK": "4"}
    given = {"PATH": path, "USER": "me", "SLURM_JOB_ID": "7", **task}

    def run(ends_with):
        env = {**environment, **given, "ENDS_WITH": ends_with}
        return subprocess.run(["bash", "-eu", "job.sh"], env=env, capture_output=True, text=True)

    done = run("")
    assert done.stdout == "/shared/data --cpus-per-task=4\n", "srun does not take it from sbatch"
    assert "error: studies/brain-mri.toml: the study file must exist" in done.stderr, "the command line was understood"
    assert done.returncode == 1
    told = run("130")
    assert (told.stdout, told.stderr, told.returncode) == ("requeue 7_3\n", "", 130)
    ended = run("0")
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", "", 0)
