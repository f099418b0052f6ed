"""A run that is taken up again gives bit for bit what it would have given."""

import contextlib
import errno

import numpy as np
import pytest

from tumorcls.model.program import TrainingProgram
from tumorcls.training.checkpoint import Checkpoints
from tumorcls.training.trainer import Trainer


class Lost(Exception):
    """Stands for the death of a worker."""


@pytest.fixture
def fresh(make_config, tmp_path, shared_cache):
    """Returns a function that makes a trainer as a new process has one."""
    return lambda config: Trainer.open(config, shared_cache)


def lose_after(count, epochs):
    def on_epoch_end(epoch):
        epochs.append(epoch)
        if len(epochs) == count:
            raise Lost

    return on_epoch_end


def told(epochs):
    return [(epoch.number, epoch.loss, dict(epoch.scores)) for epoch in epochs]


def end_of(fitted):
    return [*told([fitted.last]), dict(fitted.scores), fitted.last.measured.noisy_f1]


@pytest.mark.parametrize(
    "start", ["head", pytest.param("block7", marks=pytest.mark.slow), pytest.param("all", marks=pytest.mark.slow)]
)
def test_what_was_lost_goes_on_as_if_nothing_had_happened(fresh, make_config, tmp_path, monkeypatch, start):
    config = make_config(trainable_from=start, epochs=4)
    trainer, whole, before = fresh(config), [], []
    last = trainer.fit(config, 5, whole.append).last
    with pytest.raises(Lost):
        trainer.fit(config, 5, lose_after(2, before), checkpoints=Checkpoints(tmp_path))
    trained = []
    train_epoch = TrainingProgram.train_epoch
    monkeypatch.setattr(TrainingProgram, "train_epoch", lambda self, *given: trained.append(1) or train_epoch(self, *given))
    after = []
    fitted = fresh(config).fit(config, 5, after.append, checkpoints=Checkpoints(tmp_path))
    assert len(trained) == 2, "the first two were not trained again"
    assert told(after) == told(whole)
    assert told([fitted.last]) == told([last])
    np.testing.assert_array_equal(fitted.last.measured.confusion, last.measured.confusion)
    assert fitted.last.measured.noisy_f1 == last.measured.noisy_f1


@pytest.mark.parametrize(
    "changed",
    [
        {"schedule": "ema"},
        pytest.param({"schedule": "constant"}, marks=pytest.mark.slow),
        pytest.param({"schedule": "ema", "trainable_from": "block7", "batch_norm": "train"}, marks=pytest.mark.slow),
    ],
    ids=lambda changed: "-".join(changed.values()),
)
def test_a_run_with_pauses_is_one_run_straight_through(trainer, make_config, tmp_path, monkeypatch, changed):
    configs = [make_config(**changed, dropout=0.5, epochs=epochs) for epochs in (1, 2, 4)]
    straight = [end_of(trainer.fit(config, 5, lambda epoch: None)) for config in configs]
    state = trainer.programs.get(configs[0]).state()
    trained, heard = [], []
    train_epoch = TrainingProgram.train_epoch
    monkeypatch.setattr(TrainingProgram, "train_epoch", lambda self, *given: trained.append(1) or train_epoch(self, *given))
    for config, end in zip(configs, straight, strict=True):
        trainer.fit(make_config(**changed, epochs=1), 6, lambda epoch: None)  # another trial in between
        fitted = trainer.fit(config, 5, heard.append, checkpoints=Checkpoints(tmp_path, each_epoch=False, paused=True))
        assert end_of(fitted) == end
    assert [epoch.number for epoch in heard] == [0, 1, 2, 3]
    assert len(trained) == 4 + len(configs), "no epoch twice"
    for found, expected in zip(fitted.program.state(), state, strict=True):
        np.testing.assert_array_equal(found, expected)


def paused(trainer, config, folder):
    return end_of(trainer.fit(config, 5, lambda epoch: None, checkpoints=Checkpoints(folder, each_epoch=False, paused=True)))


def straight(trainer, config):
    return end_of(trainer.fit(config, 5, lambda epoch: None))


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(flip_a_weight(path.read_bytes()))])
def test_a_paused_run_without_its_checkpoint_begins_anew_and_gives_the_same(trainer, make_config, tmp_path, harm):
    short, long = (make_config(schedule="ema", epochs=epochs) for epochs in (1, 2))
    paused(trainer, short, tmp_path)
    [path] = tmp_path.glob("*.npz")
    harm(path)
    assert paused(trainer, long, tmp_path) == straight(trainer, long)


def test_a_checkpoint_is_of_no_use_to_a_shorter_run_and_none_to_a_longer_one_on_a_cosine(trainer, make_config, tmp_path):
    for schedule, files in (("ema", 1), ("cosine", 3)):
        short, long = (make_config(schedule=schedule, epochs=epochs) for epochs in (1, 2))
        paused(trainer, long, tmp_path)
        assert paused(trainer, short, tmp_path) == straight(trainer, short)
        assert len(list(tmp_path.glob("*.npz"))) == files


def test_a_run_that_was_lost_between_two_pauses_reports_what_nobody_has_heard(trainer, make_config, tmp_path):
    short, long = (make_config(schedule="ema", epochs=epochs) for epochs in (1, 4))
    paused(trainer, short, tmp_path)
    heard = []
    for lose in (lose_after(1, heard), lose_after(2, heard), heard.append):
        with contextlib.suppress(Lost):
            fitted = trainer.fit(long, 5, lose, checkpoints=Checkpoints(tmp_path, paused=True))
    assert [epoch.number for epoch in heard] == [1, 1, 1, 2, 3]
    assert end_of(fitted) == straight(trainer, long)


def test_what_was_to_be_longer_is_measured_as_the_last_epoch_is(trainer, make_config, tmp_path):
    short, long = (make_config(schedule="ema", epochs=epochs) for epochs in (1, 2))
    with pytest.raises(Lost):
        trainer.fit(long, 5, lose_after(1, []), checkpoints=Checkpoints(tmp_path))
    assert paused(trainer, short, tmp_path) == straight(trainer, short)


def test_a_checkpoint_is_that_of_one_run(trainer, make_config, tmp_path):
    config = make_config(epochs=2, dropout=0.1)
    reported = []
    for changed, seed in ((config, 5), (config, 6), (make_config(epochs=2, dropout=0.6), 5)):
        epochs = []
        with pytest.raises(Lost):
            trainer.fit(changed, seed, lose_after(1, epochs), checkpoints=Checkpoints(tmp_path))
        reported.append(epochs[0].loss)
    assert len(list(tmp_path.glob("*.npz"))) == 3
    assert len(set(reported)) == 3, "none went on from another's"


def flip_a_weight(content):
    return content[:2000] + bytes([content[2000] ^ 1]) + content[2001:]


@pytest.mark.parametrize(
    "harm", [lambda content: content[:999], lambda content: b"", lambda content: b"no archive", flip_a_weight]
)
def test_a_checkpoint_that_cannot_be_read_is_done_without(trainer, make_config, tmp_path, capfd, harm):
    config = make_config(epochs=2)
    whole = []
    trainer.fit(config, 5, whole.append, checkpoints=Checkpoints(tmp_path))
    [path] = tmp_path.glob("*.npz")
    path.write_bytes(harm(path.read_bytes()))
    again = []
    trainer.fit(config, 5, again.append, checkpoints=Checkpoints(tmp_path))
    assert told(again) == told(whole)
    assert "dropped and computed again" in capfd.readouterr().err


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(trainer, make_config, tmp_path, monkeypatch, capfd):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    config = make_config(epochs=2)
    monkeypatch.setattr(np, "savez", full)
    epochs = []
    trainer.fit(config, 5, epochs.append, checkpoints=Checkpoints(tmp_path))
    assert len(epochs) == 2
    assert list(tmp_path.iterdir()) == []
    assert "no checkpoint after epoch 0" in capfd.readouterr().out


def test_a_state_of_another_structure_changes_nothing(programs, make_config):
    program = programs.get(make_config())
    before = program.state()
    with pytest.raises(ValueError, match="same structure"):
        program.set_state(before[1:])
    for old, new in zip(before, program.state(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_there_is_none_at_first(make_config, tmp_path):
    assert Checkpoints(tmp_path).of(make_config(), 0, "data").restore(None, 4) == []
