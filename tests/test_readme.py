"""What the README tells people to type must exist. The commands themselves are run, in this order, by `test_end_to_end.py`."""

import re
import shlex
from pathlib import Path

import click
import pytest

from search.cli import cli as search
from tumorcls.cli import COMMANDS
from tumorcls.cli import cli as tumorcls

REPOSITORY = Path(__file__).parents[1]
GROUPS = {"search": search, "tumorcls": tumorcls}
README = (REPOSITORY / "README.md").read_text()
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL))
LINES = [line.split("#")[0].strip() for line in BLOCKS.splitlines()]


@pytest.mark.parametrize("line", [line for line in LINES if line.split(" ")[0] in GROUPS])
def test_a_command_line_of_the_readme_is_one_that_we_take(line):
    program, *arguments = shlex.split(line)
    group = GROUPS[program]
    context = click.Context(group)
    name, command, rest = group.resolve_command(context, arguments)
    command.make_context(name, list(rest), parent=context)  # raises for an unknown option or a missing argument


def test_every_command_is_in_the_readme_or_the_docs():
    pages = README + "".join(path.read_text() for path in (REPOSITORY / "docs").glob("*.md"))
    named = [f"search {name}" for name in search.commands] + [f"tumorcls {name}" for name in COMMANDS]
    assert [name for name in named if name not in pages] == []


def test_make_targets_and_files_of_the_readme_exist():
    targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
    assert {line.split()[1] for line in LINES if line.startswith("make ")} <= set(targets)
    links = re.findall(r"\]\((?!http)([^)#]+)", README) + re.findall(r"studies/[a-z-]+\.toml", README)
    assert [link for link in links if not (REPOSITORY / link).exists()] == []
