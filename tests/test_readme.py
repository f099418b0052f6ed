"""The README can be followed to the letter: its commands are run, in its order, on phantoms and with small numbers."""

import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
import urllib.request
from importlib import metadata
from pathlib import Path

import click
import optuna
import pytest
import tomli_w
from PIL import Image

from search.cli import cli as search
from search.records.attributes import FINALIST_KEY, config_of
from tests.patience import PATIENCE_S
from tumorcls import DISCLAIMER
from tumorcls.cli import COMMANDS
from tumorcls.cli import cli as tumorcls
from tumorcls.data.phantom import write_dataset

REPOSITORY = Path(__file__).parents[1]
GROUPS = {"search": search, "tumorcls": tumorcls}
README = (REPOSITORY / "README.md").read_text()
PATHS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PAGES = {path.name: path.read_text() for path in PATHS}


def commands(page):
    """Returns the lines of a page's `sh` blocks and, where they stand in between, the commands in its text that are whole."""
    found = []
    for block, inline in re.findall(r"```sh\n(.*?)```|(?<!`)`([^`\n]+)`(?!`)", page, flags=re.DOTALL):
        lines = [line.split(" #")[0].strip() for line in block.splitlines()]
        found += [line for line in lines if line]
        if re.fullmatch(r"(search|tumorcls|optuna) [a-z-]+( [^A-Z .]\S*)+", inline):
            found.append(inline)
    return found


PIP = re.compile(r"pip install ([^`#\n]+)")
COMMANDS_OF_PAGES = [(name, line) for name, page in PAGES.items() for line in commands(page)]


@pytest.mark.parametrize(("page", "line"), [(page, line) for page, line in COMMANDS_OF_PAGES if line.split()[0] in GROUPS])
def test_a_command_line_of_a_page_is_one_that_we_take(page, line):
    program, *arguments = shlex.split(line)
    group = GROUPS[program]
    context = click.Context(group)
    name, command, rest = group.resolve_command(context, arguments)
    command.make_context(name, list(rest), parent=context)  # raises for an unknown option or a missing argument


@pytest.mark.parametrize(("page", "line"), [(page, line) for page, line in COMMANDS_OF_PAGES if line.startswith("python -m")])
def test_a_module_that_a_page_runs_exists(page, line):
    assert importlib.util.find_spec(line.split()[2])


def test_every_command_is_in_the_readme_or_the_docs():
    named = [f"search {name}" for name in search.commands] + [f"tumorcls {name}" for name in COMMANDS]
    assert [name for name in named if not any(name in page for page in PAGES.values())] == []


def test_make_targets_extras_and_files_of_the_readme_exist():
    targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
    assert {line.split()[1] for line in commands(README) if line.startswith("make ")} <= set(targets)
    extras = (REPOSITORY / "setup.cfg").read_text().partition("[options.extras_require]")[2]
    named = re.findall(r"pip install '.\[(.*?)\]'|extra `(\w+)`", README)
    assert named
    assert [name for pair in named for name in pair if name and f"\n{name} =" not in extras] == []
    links = re.findall(r"\]\((?!http)([^)#]+)", README) + re.findall(r"studies/[a-z-]+\.toml", README)
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def anchors(page):
    """Returns what `#` may name in a page, as GitHub makes it of a heading."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page",
    [
        *(REPOSITORY / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY")),
        *(REPOSITORY / "benchmarks").rglob("*.md"),
        *PATHS,
    ],
    ids=lambda path: path.name,
)
def test_links_between_pages_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = [link.partition("#") for link in re.findall(r"\]\((?!http)([^)\s]+)\)", text)]
    there = [(page.parent / file if file else page, anchor) for file, _, anchor in links]
    assert [(path, anchor) for path, anchor in there if not path.exists()] == []
    assert [(path, anchor) for path, anchor in there if anchor and anchor not in anchors(path.read_text())] == []


def test_every_page_is_in_the_index_and_leads_back_to_it():
    index = PAGES["index.md"]
    pages = {name: page for name, page in PAGES.items() if name not in ("README.md", "index.md")}
    assert [name for name in pages if f"]({name})" not in index] == []
    assert [name for name, page in pages.items() if not re.match(r"# .+\n\n\[All pages\]\(index\.md\)\n\n", page)] == []


def test_a_page_with_figures_of_recovered_weights_links_to_what_they_are():
    told = {name: page for name, page in PAGES.items() if re.search(r"\brecovered\b", page) and name != "index.md"}
    assert "README.md" in told
    assert [name for name, page in told.items() if "index.md#recovered-weights" not in page] == []


def test_how_many_times_as_many_trials_is_what_the_page_about_speed_measured():
    measured = re.search(r"^\| `optuna_keras` \| (.*)$", PAGES["speed.md"], re.MULTILINE)[1]
    every, block7, head = (f"{float(f'{float(times):.2g}'):g}" for times in re.findall(r"\(([\d.]+)\)", measured))
    said = re.search(
        r"from block 7 on (\d+) times as many, of the whole network (\d+) times, of a head (\d+) times",
        " ".join(README.split()),
    )
    assert said.groups() == (block7, every, head)


def test_the_readme_can_be_read_in_a_terminal_of_80_columns():
    """But for addresses, and for tables and pictures, which are looked at elsewhere."""
    long = [line for line in README.splitlines() if len(line) > 80 and not re.match(r"!|\| ", line) and "](" not in line]
    assert long == []


def test_no_text_calls_a_split_free_of_leaks():
    """Copies are kept together; slices of patients whom nobody names are not."""
    files = [path for folder in ("docs", "tumorcls", "search", "benchmarks") for path in (REPOSITORY / folder).rglob("*.*")]
    texts = {path: path.read_text() for path in [*PATHS, *files] if path.suffix in (".md", ".py", ".toml", ".html", ".ipynb")}
    assert [path for path, text in texts.items() if re.search("leak[- ]free", text, re.IGNORECASE)] == []


def test_what_a_page_installs_is_published_or_the_checkout():
    """Nothing of this project's name is published: pip takes `tumorcls[...]`, as messages say, only where it is installed."""
    installed = [(name, word) for name, page in PAGES.items() for command in PIP.findall(page) for word in shlex.split(command)]
    assert (len(installed) > 10, ("README.md", ".[cpu]") in installed) == (True, True)
    assert [(name, word) for name, word in installed if re.match(r"tumorcls\b", word)] == []


@pytest.mark.slow
def test_an_extra_that_a_message_names_is_found_without_an_index():
    try:
        metadata.version("tumorcls")
    except metadata.PackageNotFoundError:
        pytest.skip("tumorcls is not installed here")
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--dry-run", "tumorcls[ray]"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (found.returncode, "already satisfied: tumorcls[ray]" in found.stdout) == (0, True), found.stderr


PICTURES = [
    (text, (page.parent / name).relative_to(REPOSITORY).as_posix())
    for page in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
    for text, name in re.findall(r"!\[([^]]*)\]\(([^)]+)\)", page.read_text())
]


@pytest.mark.parametrize(("text", "name"), PICTURES)
def test_a_picture_is_small_whole_and_described(text, name):
    path = REPOSITORY / name
    assert path.stat().st_size <= 40_000
    with Image.open(path) as picture:
        picture.load()
        assert picture.width <= 900
    assert len(text) > 40


def test_all_pictures_are_shown():
    kept = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs" / "pictures").glob("*.webp")}
    assert kept == {name for _, name in PICTURES}


@pytest.fixture
def desk(tmp_path):
    """Returns a folder as a reader has it: the study file, with small numbers, and the sets under the home folder."""
    sartaj = tmp_path / "home" / "data" / "sartaj"
    write_dataset(sartaj, images=96, seed=0, size=96)
    (sartaj / "Testing" / "meningioma_tumor").mkdir(parents=True)
    min((sartaj / "Training" / "meningioma_tumor").iterdir()).rename(sartaj / "Testing" / "meningioma_tumor" / "image(2).jpg")
    folder = tmp_path / "desk"
    (folder / "studies").mkdir(parents=True)
    study = tomllib.loads((REPOSITORY / "studies" / "brain-mri.toml").read_text())
    study["study"]["trials"] = 3
    study["space"]["epochs"] = {"type": "int", "low": 2, "high": 4, "step": 2}
    study["enqueue"][0]["epochs"] = 2
    study["pruner"] |= {"n_startup_trials": 1, "n_warmup_steps": 1}
    study["objective"] |= {"image_size": 32, "trainable_from": "head", "batch_norm": "train", "noisy_images": 16, "views": 1}
    (folder / "studies" / "brain-mri.toml").write_text(tomli_w.dumps(study))
    return folder


class Reader:
    """Types command lines into a shell, as they stand, and keeps what they print."""

    def __init__(self, folder, home):
        self.folder = folder
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TUMORCLS_")}
        ours = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PATH": programs, "PYTHONPATH": str(REPOSITORY)}
        self.environment = kept | ours | {"TUMORCLS_WEIGHTS": "none"}
        self.printed = {}

    def type_in(self, line):
        if line.startswith("export "):
            name = line.split()[1].partition("=")[0]
            self.environment[name] = self._run(f'{line} && echo "${name}"').strip()
        elif line.startswith(("search dashboard", "tumorcls serve")):
            self.printed[line] = self._served(line)
        else:
            self.printed[line] = self._run(line)

    def _start(self, line):
        return subprocess.Popen(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _run(self, line):
        done = self._start(line)
        out, err = done.communicate(timeout=PATIENCE_S)
        if line.startswith("tumorcls export-model") and importlib.util.find_spec("onnx") is None:
            assert done.returncode == 1
            return err
        assert done.returncode == 0, f"{line}\n{out}{err}"
        return out

    def _served(self, line):
        """Returns the page at the address that the command prints; ^C then ends it."""
        server = self._start(f"exec {line}")
        address = None
        while address is None:
            told = server.stdout.readline()
            assert told, server.stderr.read()
            address = re.search(r"http://\S+", told)
        with urllib.request.urlopen(address[0]) as response:
            page = response.read().decode()
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=PATIENCE_S)
        return page


def of_small_numbers(code):
    """Returns the code of a notebook with two small trials; where its images are is left to it."""
    small = 'data=data, weights="none", batch_norm="train", image_size=32, trainable_from="head", views=1'
    code, found = re.subn(r'data=data, trainable_from="block7"', small, code)
    code, trials = re.subn(r"n_trials=20", "n_trials=2", code)
    assert (found, trials) == (1, 1), code
    return code


@pytest.mark.slow
def test_the_readme_is_followed_to_the_letter(desk, tmp_path):
    reader = Reader(desk, tmp_path / "home")
    lines = commands(README)
    codes = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (desk / "mine.py").write_text("\n".join(map(of_small_numbers, codes)))
    reader.type_in("python mine.py")  # whose study is shown and exported below
    for line in lines:
        # These two install; test_makefile.py has the one, and test_end_to_end.py the study of the other.
        if line.split()[0] not in ("make", "pip"):
            reader.type_in(line)
    printed = {line.split()[1]: text for line, text in reader.printed.items()}
    assert {"launch", "finalists", "train", "evaluate", "predict", "serve"} <= set(printed)

    assert "Budget reached: 3/3 trials." in printed["launch"]
    assert "brain-mri" in printed["status"]
    storage = f"sqlite:///{desk}/studies/brain-mri.db"  # beside the study file
    study = optuna.load_study(study_name="brain-mri", storage=storage)
    assert len(study.trials) == 3
    assert all(trial.intermediate_values and trial.duration for trial in study.trials)
    assert all(str(trial.value)[:6] in printed["trials"] for trial in study.trials if trial.value is not None)

    exported = tomllib.loads((desk / "best.toml").read_text())
    assert exported["config"] == config_of(study.best_trial)
    assert exported["provenance"]["trial"] == study.best_trial.number
    assert len(exported["provenance"]["recorded"]["manifest_sha256"]) == 64
    mine = tomllib.loads((desk / "mine.toml").read_text())
    assert set(mine["config"]) == set(exported["config"]), "a whole config, which train takes"
    finalists = optuna.load_study(study_name="brain-mri-finalists", storage=storage)
    assert {trial.user_attrs[FINALIST_KEY] for trial in finalists.trials} >= {0, study.best_trial.number}
    score = f"{study.best_trial.value:.6f}"
    again = f"robust_f1 {score} on validation images; the exported trial had {score}"
    assert again in printed["train"].splitlines(), "the trial over again"

    measured = json.loads((desk / "test.json").read_text())
    assert exported["provenance"]["study_file_sha256"] in (desk / "card.md").read_text()
    assert f"{measured['clean']['accuracy']['value']:.3f}" in (desk / "card.md").read_text()
    assert re.search(r"pituitary [<>]?0\.", printed["predict"])
    for page in ("test.html", "card.html", "report.html", "audit.html"):
        assert (desk / page).read_text().rstrip().endswith("</html>")
    for page in ((desk / "card.md").read_text(), (desk / "test.html").read_text(), printed["serve"], printed["predict"]):
        assert DISCLAIMER in page
    assert "<title>Optuna Dashboard</title>" in printed["dashboard"]
    assert list((desk / "maps").iterdir())
    assert (desk / "noise.png").read_bytes().startswith(b"\x89PNG")
    if importlib.util.find_spec("onnx"):
        assert (desk / "model.onnx").exists()
        assert (desk / "model.tflite").exists()
    else:
        assert "pip install 'tumorcls[export]'" in printed["export-model"]
