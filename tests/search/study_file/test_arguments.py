import math
from pathlib import Path

import numpy as np
import pytest

from search.driver import launch as driver
from search.driver.launch import join, launch
from search.errors import SearchError
from search.results.finalists import run_finalists
from search.study_file.arguments import asked
from search.study_file.load import load

COUNTS = [0, -1, 1.5, True, math.nan, "2"]
SECONDS = [0, -5, True, math.nan, math.inf, "20m"]


def refused(call, spec, monkeypatch, **arguments):
    """Returns the message of a call, which must not come as far as to begin a study."""
    monkeypatch.setattr(driver, "open_runtime", lambda *_, **__: pytest.fail("goes on"))
    with pytest.raises(SearchError) as raised:
        call(spec, **arguments)
    assert len(raised.value.lines) == 1
    assert [path.name for path in Path().iterdir() if path.suffix != ".py"] == ["demo.toml"]
    return str(raised.value)


@pytest.mark.parametrize("value", COUNTS)
@pytest.mark.parametrize(
    ("call", "keyword", "rule"),
    [
        (launch, "trials", "search.launch: trials must be a whole number from 1; got "),
        (launch, "workers", "search.launch: workers must be a whole number from 1; got "),
        (join, "workers", "join: workers must be a whole number from 1; got "),
        (run_finalists, "top", "run_finalists: top must be a whole number from 1; got "),
        (run_finalists, "seeds", "run_finalists: seeds must be a whole number from 2; got "),
        (run_finalists, "workers", "run_finalists: workers must be a whole number from 1; got "),
    ],
)
def test_what_counts_nothing_is_refused_before_a_study_begins(write, monkeypatch, call, keyword, rule, value):
    others = {"top": 1, "seeds": 2} if call is run_finalists else {}
    assert refused(call, load(write()), monkeypatch, **{**others, keyword: value}).startswith(rule)


@pytest.mark.parametrize("value", SECONDS)
@pytest.mark.parametrize(("call", "name"), [(launch, "search.launch"), (join, "join")])
def test_what_is_no_time_is_refused_before_a_study_begins(write, monkeypatch, call, name, value):
    rule = f"{name}: timeout_s must be a number of seconds above 0, at most 315360000; got "
    assert refused(call, load(write()), monkeypatch, timeout_s=value).startswith(rule)


def test_what_a_call_gives_stands_in_the_place_of_the_files(write):
    spec = load(write(study={"trials": "8", "timeout": '"20m"'}))
    assert asked(spec, 2, "launch") == (spec, 2)
    given, workers = asked(spec, np.int64(3), "launch", trials=np.int64(5), timeout_s=np.float32(0.5))
    assert (given.policy.trials, given.policy.timeout_s, workers) == (5, 0.5, 3)
    assert {type(given.policy.trials), type(workers)} == {int}, "a storage keeps no number of NumPy's"
