import warnings

import optuna
import pytest

from benchmarks.search_quality import __main__ as command
from benchmarks.search_quality import contenders
from benchmarks.search_quality.contenders import CONTENDERS, Record, write_study
from benchmarks.search_quality.records import Task
from benchmarks.search_quality.runs import SYNE_TUNE_THERE, contenders_of

NAME = "syne_tune_bohb"


def test_a_contender_that_is_not_there_is_named_with_those_that_are(monkeypatch, capsys):
    asked = ["--contender", "syne_tune_hyperband", "--data", "phantoms:8", "--output", "nowhere"]
    monkeypatch.setattr("sys.argv", ["search_quality", *asked])
    with pytest.raises(SystemExit):
        command.main()
    assert f"--contender: must be one of {', '.join(contenders_of('same'))}; got syne_tune_hyperband" in capsys.readouterr().err


def test_syne_tune_takes_part_where_it_is_installed():
    assert set(contenders_of("same")) == {*CONTENDERS, *([NAME] if SYNE_TUNE_THERE else [])}


@pytest.mark.slow
@pytest.mark.skipif(not SYNE_TUNE_THERE, reason="Syne Tune is not installed: see the top of syne_tune_peer.py")
def test_what_syne_tune_stops_has_counted_and_goes_no_further(monkeypatch, tmp_path):
    record = Record(seconds=3600.0)
    asked = []

    def objective(trial):
        asked.append(dict(trial.params))
        if len(asked) == 20:
            record.seconds = 0.0
        for epoch in range(trial.params["epochs"]):
            trial.report(trial.params["dropout"] + epoch / 100, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    monkeypatch.setattr(contenders, "record", record)
    monkeypatch.setattr(contenders, "build", lambda settings: objective)
    spec = write_study(tmp_path, Task({"data": ["phantoms:8"]}, 3600.0), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas and statsmodels
        contenders_of("same")[NAME](spec, tmp_path)
    assert record.begun == 20
    epochs = [max(trial.params["epochs"] for trial in record.finished if trial.seed == seed) for seed in range(19)]
    assert set(epochs) <= {2, 6, 16}, "a trial ends at a rung, or at the last epoch"
    assert {2, 16} <= set(epochs)
    assert all(set(params) == set(spec.space) and params["epochs"] == 16 for params in asked)
