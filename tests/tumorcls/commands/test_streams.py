import click
from click.testing import CliRunner

from tumorcls.commands.streams import tell_notes


def test_notes_are_lines_of_stderr_without_control_characters():
    told = CliRunner().invoke(click.Command("any", callback=lambda: tell_notes("a\x1b[2Jb", "two\nlines", "h\udcf4pital")))
    assert told.exit_code == 0
    assert told.stdout == ""
    assert told.stderr == "note: a\\x1b[2Jb\nnote: two\\nlines\nnote: h\\xf4pital\n"
