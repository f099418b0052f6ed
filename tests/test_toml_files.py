"""What `search run` and `tumorcls train` read is TOML by the same rules, each with its own reader: neither knows the other."""

import time

import pytest

from search.study_file.limits import Unreadable, read_toml
from tumorcls.config.file import _read_toml
from tumorcls.errors import ConfigError

READERS = pytest.mark.parametrize(
    ("read", "error"), [(read_toml, Unreadable), (_read_toml, ConfigError)], ids=["study", "config"]
)
TOO_DEEP = "nested 20 deep"
PARTS = 10_000  # so many take tomllib some seconds
MOST_S = 1.0


@READERS
@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (".".join(["x"] * PARTS) + " = 1", TOO_DEEP),
        (" \t. ".join(["x-y"] * PARTS) + " = 1", TOO_DEEP),
        ("a = 1\n[" + ".".join(["'a.b'"] * PARTS) + "]", TOO_DEEP),
        ("[[" + ".".join(['"a b"'] * PARTS) + "]]", TOO_DEEP),
        (".".join([r'"\""'] * PARTS) + " = 1", TOO_DEEP),
        (".".join([r'"\\\""'] * PARTS) + " = 1", TOO_DEEP),
        ("x = {y = {" + ".".join(["x"] * PARTS) + " = 1}}", TOO_DEEP),
        ("x = " + "[" * PARTS + "]" * PARTS, TOO_DEEP),
        ("x = " + "{x = " * PARTS + "1" + "}" * PARTS, TOO_DEEP),
        ("[" + ".".join("x" * 20) + "]\nx.x = 1", TOO_DEEP),
        ('"' + r"\"" * 100_000, "must be TOML"),
        ("x = " + "1" * 100_000, "must be TOML"),
        ("x = " + "1" * 4000, "one of 4000 digits"),
        (f"x = {2**63}", "must fit in 64 bits"),
        ("x = 1\nx = 2", "must be TOML"),
        ("x = " + "y" * 10_000, "must be TOML"),
        ("x = \0", "must be TOML"),
        (b"x = '\xff'", "UTF-8"),
        ("x = 1".encode("utf-16"), "UTF-8"),
    ],
)
def test_both_refuse_it_at_once_in_one_line(tmp_path, read, error, content, rule):
    path = tmp_path / "any.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    begun = time.process_time()
    with pytest.raises(error) as caught:
        read(path)
    assert time.process_time() - begun < MOST_S
    assert rule in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400 + len(str(path))


@READERS
@pytest.mark.parametrize(
    "content",
    [
        ".".join("x" * 20) + " = 1",
        f"x = {'[' * 20}{']' * 20}",
        "\ufeffx = 1",
        f"x = [{2**63 - 1}, {-(2**63)}]",
        r'"\"".x = "\\"',
        f"# {'.'.join('x' * 30)}\nx = ['{'.'.join('1' * 30)}', \"{'.'.join('x' * 30)}\"]",
        f"x = {{y = '{'.'.join('1' * 30)}', z = 1.5}}",
    ],
)
def test_both_read_it(tmp_path, read, error, content):
    path = tmp_path / "any.toml"
    path.write_text(content, encoding="utf-8")
    assert read(path)
