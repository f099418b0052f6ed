import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorcls.data.split import split_groups

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


@given(data=st.data())
def test_no_group_ever_straddles(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 80))
    groups = np.array(data.draw(st.lists(st.integers(0, 20), min_size=n, max_size=n)), np.int64)
    strata = data.draw(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xy")), min_size=n, max_size=n))
    validation = data.draw(st.floats(0, 0.5))
    test = data.draw(st.floats(0, 0.49))
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    parts = split_groups(groups, strata, shares, data.draw(st.integers(0, 1000)))
    assert len(parts) == n
    assert set(parts.tolist()) <= {name for name, share in shares.items() if share > 0}
    for group in set(groups.tolist()):
        assert len(set(parts[groups == group].tolist())) == 1


@pytest.mark.parametrize("seed", range(5))
def test_every_stratum_is_shared_as_asked(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.choice(1200, 3000, p=rng.dirichlet(np.full(1200, 0.5)))
    strata = [(("a", "b", "c", "d")[g % 4], ("x", "y")[int(rng.random() < 0.3)]) for g in groups]
    parts = split_groups(groups.astype(np.int64), strata, SHARES, seed)
    sizes = Counter(strata)
    found = Counter(zip(strata, parts.tolist(), strict=True))
    for stratum, size in sizes.items():
        for part, share in SHARES.items():
            assert abs(found[stratum, part] - share * size) <= max(3, 0.02 * size)


@pytest.mark.parametrize("seed", range(5))
def test_single_images_even_out_what_large_groups_left(seed: int) -> None:
    groups = np.concatenate([np.repeat(np.arange(10), 8), np.arange(10, 30)])
    found = Counter(split_groups(groups, ["a"] * 100, SHARES, seed).tolist())
    assert all(abs(found[part] - share * 100) <= 1.001 for part, share in SHARES.items())


def test_every_part_has_its_share_of_the_large_groups() -> None:
    groups = np.concatenate([np.repeat(np.arange(20), 4), np.arange(20, 140)])
    parts = split_groups(groups, ["a"] * 200, SHARES, 0)
    assert Counter(parts[:80:4].tolist()) == {"train": 14, "validation": 3, "test": 3}


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_stratum_is_shared_as_evenly_as_a_frequent_one(seed: int) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), rng.integers(1, 12, 60))
    strata = rng.choice(["a", "b", "c"], len(groups), p=[0.8, 0.15, 0.05]).tolist()
    found = Counter(zip(strata, split_groups(groups, strata, SHARES, seed).tolist(), strict=True))
    for (stratum, part), count in found.items():
        assert abs(count - SHARES[part] * strata.count(stratum)) <= 1.5


def test_the_seed_fixes_the_split() -> None:
    groups = np.arange(200) // 2
    strata = [("a", "x")] * 200
    first = split_groups(groups, strata, SHARES, 1)
    assert np.array_equal(first, split_groups(groups, strata, SHARES, 1))
    assert not np.array_equal(first, split_groups(groups, strata, SHARES, 2))


MANY_TIES = """
import numpy as np
from tumorcls.data.split import split_groups
for seed in range(40):
    rng = np.random.default_rng(seed)
    groups, strata = rng.integers(0, 100, 200), rng.integers(0, 6, 200).tolist()
    print(*split_groups(groups, strata, dict.fromkeys("abcde", 0.2), seed))
"""


def test_the_split_is_the_same_on_every_processor() -> None:
    """An old one lacks what NumPy has for this one, and is what OpenBLAS takes it for; to another BLAS both are this one."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    old_one = {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": " ".join(extensions)}
    here, old = (
        subprocess.run([sys.executable, "-c", MANY_TIES], env=os.environ | kernels, capture_output=True, check=True).stdout
        for kernels in ({}, old_one)
    )
    assert here == old


def test_a_share_of_zero_gets_nothing() -> None:
    parts = split_groups(np.arange(50), ["a"] * 50, {"train": 0.8, "validation": 0.2, "test": 0.0}, 0)
    assert Counter(parts.tolist()) == {"train": 40, "validation": 10}
