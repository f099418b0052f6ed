import gc
import multiprocessing
import weakref

import numpy as np
import pytest

from tumorcls.config.train_config import TrainConfig
from tumorcls.model.program import PREDICT_BATCH, ProgramCache, TrainingProgram

ORDER = np.random.default_rng(1).permutation(20)


def run(program, config, seed):
    """Trains two epochs and returns all that came out: losses and logits."""
    if program.takes_activations:
        shape = program.frozen.output.shape[1:]
        inputs = np.random.default_rng(2).normal(0, 1, (20, *shape)).astype(np.float16)
    else:
        inputs = np.random.default_rng(2).integers(0, 256, (20, config.image_size, config.image_size, 3)).astype(np.uint8)
    smoothing = config.label_smoothing
    targets = np.eye(4, dtype=np.float32)[np.arange(20) % 4] * (1 - smoothing) + smoothing / 4
    program.reset(config, seed)
    program.set_learning_rate(config.learning_rate)
    losses = [program.train_epoch(inputs, targets, ORDER, config.batch_size) for _ in range(2)]
    return np.array(losses), program.predict_logits(inputs)


def in_fresh_process(connection, values, seed):
    config = TrainConfig.parse(values, where="test")
    connection.send(run(TrainingProgram(config), config, seed))


@pytest.fixture(scope="module")
def program(make_config):
    return TrainingProgram(make_config())


def test_a_reset_program_gives_bit_for_bit_what_a_fresh_one_gives(program, make_config):
    configs = [make_config(dropout=0.5), make_config(learning_rate=0.1, dropout=0.0), make_config(batch_size=4)]
    fresh = [run(TrainingProgram(config), config, seed) for seed, config in enumerate(configs)]
    for order in ([0, 1, 2], [2, 0, 1]):
        for index in order:
            losses, logits = run(program, configs[index], index)
            np.testing.assert_array_equal(losses, fresh[index][0])
            np.testing.assert_array_equal(logits, fresh[index][1])
    assert len({tuple(losses) for losses, _ in fresh}) == 3, "the configs do differ"


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_so_does_one_with_another_optimizer_and_smoothed_labels(program, make_config, optimizer):
    plain, smoothed = (make_config(optimizer=optimizer, label_smoothing=smoothing) for smoothing in (0.0, 0.2))
    other = TrainingProgram(plain)
    fresh, changed, again = (run(other, config, 1)[1] for config in (plain, smoothed, plain))
    np.testing.assert_array_equal(again, fresh)
    assert (changed != fresh).any()
    assert (run(program, make_config(), 1)[1] != fresh).any(), "Adam takes other steps"


@pytest.mark.slow
@pytest.mark.parametrize("start", ["block7", "all"])
def test_so_does_one_with_drop_connect_and_batch_norm_in_another_process(make_config, start):
    first = make_config(trainable_from=start, dropout=0.3)
    second = make_config(trainable_from=start, dropout=0.1, noise_intensity=1.0)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=in_fresh_process, args=(there, first.model_dump(mode="json"), 5))
    process.start()
    program = TrainingProgram(second)
    run(program, second, 4)
    losses, logits = run(program, first, 5)
    fresh_losses, fresh_logits = here.recv()
    process.join()
    np.testing.assert_array_equal(losses, fresh_losses)
    np.testing.assert_array_equal(logits, fresh_logits)


def test_the_seed_matters(program, make_config):
    config = make_config(dropout=0.5)
    assert (run(program, config, 1)[0] != run(program, config, 2)[0]).any()


def test_dropout_and_learning_rate_take_effect_without_a_new_program(program, make_config):
    traces = program._model.make_train_function() or program._model.train_function
    results = [run(program, make_config(dropout=rate), 3)[0][0] for rate in (0.0, 0.4, 0.8)]
    assert len(set(results)) == 3
    assert (program._model.make_train_function() or program._model.train_function) is traces


def test_arrays_are_let_go(program, make_config):
    inputs = np.random.default_rng(2).normal(0, 1, (20, 1280)).astype(np.float16)
    alive = weakref.ref(inputs)
    program.reset(make_config(), 0)
    program.train_epoch(inputs, np.eye(4, dtype=np.float32)[np.arange(20) % 4], ORDER, 8)
    program.predict_logits(inputs)
    del inputs
    gc.collect()
    assert alive() is None


def test_predictions_do_not_depend_on_how_many_rows_are_asked_for(program):
    inputs = np.random.default_rng(2).normal(0, 1, (PREDICT_BATCH + 3, 1280)).astype(np.float16)
    whole = program.predict_logits(inputs)
    assert whole.shape == (PREDICT_BATCH + 3, 4)
    np.testing.assert_array_equal(program.predict_logits(inputs[:5]), whole[:5])


def test_a_view_is_fixed_by_its_seed(program, make_config):
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    program.set_view_recipe(make_config(noise_intensity=1.0).view_recipe)
    first = program.draw_view(images, seed=1)
    program.reset(make_config(noise_intensity=1.0), 9)
    np.testing.assert_array_equal(program.draw_view(images, seed=1), first)
    assert (program.draw_view(images, seed=2) != first).any()


def test_programs_are_shared_by_structure_and_the_oldest_goes_first(make_config):
    programs = ProgramCache(capacity=1)
    first = programs.get(make_config(dropout=0.1))
    assert programs.get(make_config(dropout=0.5, learning_rate=0.5, epochs=9, noise_intensity=0.0)) is first
    assert programs.get(make_config(optimizer="sgd")) is not first
    assert programs.get(make_config()) is not first
