import csv
import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.tumorcls.pictures import blob, kaggle_folder, write
from tumorcls.commands import audit, fetch, prepare
from tumorcls.data.fetch import DATASETS
from tumorcls.data.manifest import Manifest
from tumorcls.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = kaggle_folder(tmp_path / "set", 5)
    write(root / "Training" / "glioma" / "copy.jpg", blob(0), 60)
    return root


@pytest.mark.parametrize("option", ["-o", "--output", "--out"])
def test_prepare_writes_manifest_split_and_summary(folder: Path, tmp_path: Path, option: str) -> None:
    out = tmp_path / "out"
    arguments = [str(folder), "--cache-dir", str(tmp_path / "c"), option, str(out), "--seed", "3"]
    result = CliRunner().invoke(prepare.command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    manifest = Manifest.read(out / "manifest.csv")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["manifest_sha256"] == manifest.sha256
    assert summary["settings"]["seed"] == 3
    with (out / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [entry.name for entry in manifest.entries]
    for part, count in summary["parts"].items():
        assert re.search(rf"^{part} +{count} images$", result.output, re.MULTILINE)
    assert sorted(path.name for path in out.iterdir()) == ["images.csv", "manifest.csv", "split.csv", "summary.json"]


def test_prepare_counts_what_the_official_test_part_moved_out(folder: Path, tmp_path: Path) -> None:
    write(folder / "Training" / "glioma" / "twin.jpg", blob(20), 60)
    arguments = [str(folder), "--official-test", "--cache-dir", str(tmp_path / "c"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(prepare.command, arguments, catch_exceptions=False)
    assert "1 of those left out have a copy, or their patient, in a part that is given" in result.output


def test_audit_prints_and_writes_a_page(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    arguments = [str(folder), "--cache-dir", str(tmp_path / "c"), "--html", str(page)]
    result = CliRunner().invoke(audit.command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "Twins across the official split" in result.output
    assert re.search(r"^images +41$", result.output, re.MULTILINE)
    end = " ".join(result.output.rpartition("\nVerdict\n")[2].split())
    assert "This split keeps copies apart; in a random one " in end
    assert "Twins across" not in end
    assert page.stat().st_size > 10_000


def test_a_folder_may_have_a_name_that_is_not_utf8(folder: Path, tmp_path: Path) -> None:
    named = folder.rename(tmp_path / os.fsdecode(b"h\xf4pital"))
    page = tmp_path / os.fsdecode(b"\xe9tat.html")
    arguments = [str(named), "--cache-dir", str(tmp_path / "c")]
    for command, more in ((audit.command, ["--html", str(page)]), (prepare.command, ["--out", str(tmp_path / "out")])):
        result = CliRunner().invoke(command, [*arguments, *more], catch_exceptions=False)
        assert result.exit_code == 0


def test_a_share_out_of_range_names_the_option(folder: Path) -> None:
    result = CliRunner().invoke(audit.command, [str(folder), "--validation", "1.5"])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith("--validation: ")


def test_the_help_of_fetch_names_each_set_that_it_knows() -> None:
    told = CliRunner().invoke(fetch.command, ["--help"]).output
    assert set(re.findall(r"\w+", told[told.index("(") + 1 : told.index(")")])) == {*DATASETS, "or"}


def test_fetch_of_an_unknown_name_fails() -> None:
    result = CliRunner().invoke(fetch.command, ["imagenet"])
    assert isinstance(result.exception, DataError)
