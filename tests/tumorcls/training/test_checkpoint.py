"""A run that is taken up again gives bit for bit what it would have given."""

import contextlib
import errno
from dataclasses import replace

import numpy as np
import pytest

from tumorcls.evaluation.mistakes import Mistake
from tumorcls.model.program import TrainingProgram
from tumorcls.training.checkpoint import Checkpoint, Checkpoints
from tumorcls.training.trainer import Trainer
from tumorcls.training.validation import Epoch, ValidationScores

MODULE = "tumorcls.training.checkpoint"


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
def test_what_was_lost_goes_on_as_if_nothing_had_happened(fresh, make_config, tmp_path, monkeypatch, request, start):
    changed = request.getfixturevalue("five_blocks") if start == "all" else {}
    config = make_config(trainable_from=start, epochs=4, **changed)
    trainer, whole, before = fresh(config), [], []
    undisturbed = trainer.fit(config, 5, whole.append)
    last, state = undisturbed.last, undisturbed.program.state()
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
    for found, expected in zip(fitted.program.state(), state, strict=True):
        np.testing.assert_array_equal(found, expected)


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


def test_a_device_that_computes_in_another_precision_goes_on_from_no_others_checkpoint(make_config, tmp_path, monkeypatch):
    def path(precision):
        return Checkpoints(tmp_path).of(make_config(trainable_from="block7", precision=precision), 5, "data").path

    on_cpu = {precision: path(precision) for precision in ("auto", "float32", "mixed")}
    monkeypatch.setattr("tumorcls.model.program.gains_by_bfloat16", lambda: True)
    assert path("auto") not in (on_cpu["auto"], on_cpu["float32"])
    assert [path("float32"), path("mixed")] == [on_cpu["float32"], on_cpu["mixed"]], "they do not depend on a device"


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


def test_another_config_seed_data_backend_or_version_has_another_one(make_config, tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    one, other = (make_config(schedule="cosine", epochs=epochs) for epochs in (1, 2))
    found = [
        checkpoints.of(config, seed, data).path
        for config, seed, data in ((one, 0, "a"), (other, 0, "a"), (one, 1, "a"), (one, 0, "b"))
    ]
    versions = {
        "keras.backend.backend": lambda: "another",
        "keras.__version__": "4",
        "tumorcls.training.checkpoint._VERSION": 0,
    }
    for place, value in versions.items():
        monkeypatch.setattr(place, value)
        found.append(checkpoints.of(one, 0, "a").path)
    assert len(set(found)) == len(found)
    short, long = (make_config(schedule="ema", epochs=epochs) for epochs in (1, 2))
    assert checkpoints.of(short, 0, "a") == checkpoints.of(long, 0, "a")


class Number:
    """A program whose state is a number."""

    def __init__(self, value):
        self.value = value

    def state(self):
        return [np.array([self.value])]

    def set_state(self, arrays):
        [[self.value]] = arrays


def epochs_of(count):
    """Returns so many epochs, the last one measured as such."""
    mistakes = (Mistake(3, "key", 1, 2, 0.75, file="a.png"),)
    scores, curves = {"robust_f1": 0.5}, {"gaussian": (0.5, 0.25)}
    before = [
        Epoch(number, 1 / (number + 1), ValidationScores(scores, np.eye(2, dtype=int), curves)) for number in range(count)
    ]
    return [
        *before[:-1],
        replace(before[-1], measured=ValidationScores(scores, np.eye(2, dtype=int), curves, mistakes, {"robust_f1": 0.25})),
    ]


def test_all_that_was_measured_comes_back(tmp_path):
    checkpoint, epochs, program = Checkpoint(tmp_path / "a.npz"), [*epochs_of(2), Epoch(2, 0.1, None)], Number(0)
    checkpoint.write(Number(7), epochs)
    found = checkpoint.restore(program, 3)
    assert program.value == 7
    assert [(one.number, one.loss, one.is_final) for one in found] == [(0, 1.0, False), (1, 0.5, True), (2, 0.1, False)]
    for one, other in zip(found[:2], epochs, strict=False):
        assert vars(one.measured) | {"confusion": 0} == vars(other.measured) | {"confusion": 0}
        np.testing.assert_array_equal(one.measured.confusion, other.measured.confusion)
    assert found[2].measured is None


def test_what_has_gone_on_for_longer_is_of_no_use_and_changes_nothing(tmp_path):
    checkpoint, program = Checkpoint(tmp_path / "a.npz"), Number(0)
    checkpoint.write(Number(7), epochs_of(3))
    assert (checkpoint.restore(program, 2), program.value) == ([], 0)
    assert (len(checkpoint.restore(program, 3)), program.value) == (3, 7)


def test_the_state_of_another_program_is_done_without(tmp_path, capfd):
    class Two(Number):
        def state(self):
            return 2 * super().state()

    checkpoint, program = Checkpoint(tmp_path / "a.npz"), Number(0)
    checkpoint.write(Two(7), epochs_of(3))
    assert (checkpoint.restore(program, 3), program.value) == ([], 0)
    assert f"checkpoint {checkpoint.path} cannot be used: " in capfd.readouterr().out


@pytest.mark.parametrize(
    ("each_epoch", "paused", "kept"), [(True, False, 1), (True, True, 1), (False, True, 3), (False, False, 4)]
)
def test_a_state_is_kept_after_each_epoch_or_where_a_run_pauses(tmp_path, each_epoch, paused, kept):
    checkpoint = Checkpoint(tmp_path / "a.npz", each_epoch, paused)
    first = next((n for n in range(1, 4) if checkpoint.keep(Number(0), epochs_of(n), 3) or checkpoint.path.exists()), 4)
    assert first == kept
