import pytest

from benchmarks import driver_overhead
from search.storage.open import open_study


@pytest.mark.slow
def test_a_long_study_is_made_and_gone_on_with(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(driver_overhead, "_TRIALS", 6)
    monkeypatch.setattr(driver_overhead, "_LONG", 12)
    driver_overhead.growth(tmp_path, "median")
    assert "pruner median: " in capsys.readouterr().out
    trials = open_study(f"sqlite:///{tmp_path}/long-median.db", "long-median").trials
    assert [trial.number for trial in trials] == list(range(18))
    assert trials[9].intermediate_values == trials[3].intermediate_values
    assert len(trials[17].intermediate_values) >= 1


def test_a_database_is_opened_by_both(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(driver_overhead, "_OPENED", 1)
    driver_overhead.opening(tmp_path)
    assert [line.split(":")[0].strip() for line in capsys.readouterr().out.splitlines()[1:]] == ["new", "there"]
    assert {path.name for path in tmp_path.iterdir()} == {"RDBStorage0.db", "search0.db"}
