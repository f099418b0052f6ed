import re

import pytest

from benchmarks import many_workers
from search.storage.open import open_study


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["none", "median"])
def test_a_few_workers_report_as_often_as_they_should(tmp_path, monkeypatch, capsys, pruner):
    for name, value in {"_EPOCH_S": 0.1, "_EPOCHS": 5, "_SETTLE_S": 0.2, "_SECONDS": 2.0}.items():
        monkeypatch.setattr(many_workers, name, value)
    many_workers.measure(f"sqlite:///{tmp_path}/many.db", tmp_path, 2, pruner)
    printed = capsys.readouterr().out
    rate = float(re.search(r"pruner \w+ *: +([\d.]+) of +20 reports a second", printed)[1])
    assert 2 <= rate <= 22
    trials = open_study(f"sqlite:///{tmp_path}/many.db", None).trials
    ended = [trial for trial in trials if trial.state.is_finished()]
    assert all(trial.intermediate_values for trial in ended)
    assert len(ended) >= 2
    assert trials[0].intermediate_values.keys() == set(range(5)), "the first worker's first trial is whole"
