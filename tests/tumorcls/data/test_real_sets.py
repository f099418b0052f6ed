"""What both public sets hold together, by one scan of them: the groups of a split, and the exact copies."""

import hashlib
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tumorcls.data.audit import Copies, audit
from tumorcls.data.prepare import PreparedData, prepare
from tumorcls.data.split import SplitSettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(public_sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare([*public_sets.values()], SplitSettings(), tmp_path_factory.mktemp("cache"))


def test_no_group_straddles(prepared: PreparedData) -> None:
    assert len(prepared.manifest.entries) == 8972
    assert np.bincount(prepared.groups).max() < 100  # no chain
    for group in np.unique(prepared.groups):
        assert len(set(prepared.parts[prepared.groups == group].tolist())) == 1
    sizes = {part: len(prepared.indices(part)) / 8972 for part in ("train", "validation", "test")}
    assert sizes["train"] == pytest.approx(0.70, abs=0.01)
    assert sizes["test"] == pytest.approx(0.15, abs=0.005)


def test_exact_copies_are_what_sha256sum_counts(prepared: PreparedData, public_sets: dict[str, Path]) -> None:
    report = audit(prepared, SplitSettings())
    command = ["find", *map(str, public_sets.values()), "-name", "*.jpg", "-exec", "sha256sum", "-b", "{}", "+"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    digests = Counter(line.split()[0].lstrip("\\") for line in lines)
    repeated = [count for count in digests.values() if count > 1]
    assert report.images == len(lines)
    assert report.files == Copies(len(repeated), sum(repeated), sum(repeated) - len(repeated))
    training = {line.split()[0] for line in lines if "/Training/" in line}
    testing = [line.split()[0] for line in lines if "/Testing/" in line]
    assert [twins.same_file for twins in report.twins] == [sum(digest in training for digest in testing)]
    assert hashlib.sha256(b"").hexdigest() not in digests
