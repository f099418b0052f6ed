import gc
import multiprocessing
import weakref

import keras
import numpy as np
import pytest
from keras.src.applications import efficientnet

from tumorcls.config.train_config import TrainConfig
from tumorcls.model import layers, pieces
from tumorcls.model.layers import VariableDropout
from tumorcls.model.pieces import PREDICT_BATCH
from tumorcls.model.program import TrainingProgram, is_mixed
from tumorcls.model.program_cache import _NOT_COMPILED, ProgramCache, program_key
from tumorcls.training.fit_gate import gate_extractor

ORDER = np.random.default_rng(1).permutation(20)


def data_for(program, config):
    """Returns 20 inputs that are of the program's kind, and their targets."""
    if program.takes_activations:
        shape = program.frozen.output.shape[1:]
        inputs = np.random.default_rng(2).normal(0, 1, (20, *shape)).astype(np.float16)
    else:
        inputs = np.random.default_rng(2).integers(0, 256, (20, config.image_size, config.image_size, 3)).astype(np.uint8)
    smoothing = config.label_smoothing
    return inputs, np.eye(4, dtype=np.float32)[np.arange(20) % 4] * (1 - smoothing) + smoothing / 4


def run(program, config, seed):
    """Trains two epochs and returns all that came out: losses and logits."""
    inputs, targets = data_for(program, config)
    program.reset(config, seed)
    program.set_learning_rate(config.learning_rate)
    losses = [program.train_epoch(inputs, targets, ORDER, config.batch_size) for _ in range(2)]
    return np.array(losses), program.predict_logits(inputs)


def in_fresh_process(connection, values, seed, blocks):
    efficientnet.DEFAULT_BLOCKS_ARGS = blocks
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


def test_the_frozen_part_is_compiled_once_for_images_and_views(programs, make_config, monkeypatch):
    program = programs.get(make_config(trainable_from="block7"))
    images = np.random.default_rng(3).integers(0, 256, (PREDICT_BATCH + 1, 32, 32, 3)).astype(np.uint8)
    program.set_view_recipe(make_config(trainable_from="block7", noise_intensity=1.0).view_recipe)
    traced = []
    run = type(program.folded).call
    monkeypatch.setattr(
        type(program.folded), "call", lambda model, *args, **kwargs: traced.append(model) or run(model, *args, **kwargs)
    )
    program.folded.predict_function = None  # another test may have used it
    views = [program.draw_view(images, seed) for seed in (1, 2)]
    clean = program.frozen_activations(images)
    assert sum(model is program.folded for model in traced) == 1
    assert (views[0] != views[1]).any()
    assert (views[0] != clean).any()
    np.testing.assert_array_equal(program.draw_view(images, 1), views[0])


@pytest.mark.parametrize(("image_size", "expected"), [(32, 64), (64, 64), (112, 32), (150, 16), (224, 8), (2000, 1)])
def test_on_a_cpu_as_many_images_go_through_the_network_together_as_its_caches_hold(monkeypatch, image_size, expected):
    monkeypatch.setattr(pieces, "is_tensorflow_on_cpu", lambda: True)
    assert pieces.images_together(image_size) == expected
    monkeypatch.setattr(pieces, "is_tensorflow_on_cpu", lambda: False)
    assert pieces.images_together(image_size) == PREDICT_BATCH


def test_images_in_parts_give_the_same_activations_and_the_same_views(programs, make_config, monkeypatch):
    config = make_config(noise_intensity=1.0)
    program = programs.get(config)
    program.set_view_recipe(config.view_recipe)
    images = np.random.default_rng(3).integers(0, 256, (PREDICT_BATCH + 9, 32, 32, 3)).astype(np.uint8)
    whole = program.draw_view(images, 1), program.frozen_activations(images)
    sizes = []
    run = program.folded.predict_on_batch
    monkeypatch.setattr(program.folded, "predict_on_batch", lambda batch: sizes.append(len(batch)) or run(batch))
    monkeypatch.setattr("tumorcls.model.program.images_together", lambda image_size: {32: 8}[image_size])
    parts = program.draw_view(images, 1), program.frozen_activations(images)
    assert sizes == 2 * [8] * 10, "of the second batch only two hold images"
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.slow  # what it builds stays in the process
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_so_does_one_with_another_optimizer_and_smoothed_labels(program, make_config, optimizer):
    plain, smoothed = (make_config(optimizer=optimizer, label_smoothing=smoothing) for smoothing in (0.0, 0.2))
    other = TrainingProgram(plain)
    fresh, changed, again = (run(other, config, 1)[1] for config in (plain, smoothed, plain))
    np.testing.assert_array_equal(again, fresh)
    assert (changed != fresh).any()
    assert (run(program, make_config(), 1)[1] != fresh).any(), "Adam takes other steps"


def test_so_does_one_that_averages_and_it_takes_the_same_steps(programs, program, make_config):
    config, other = (make_config(schedule="ema", dropout=dropout) for dropout in (0.5, 0.1))
    averaging = programs.get(config)
    (losses, logits), _, (losses_again, logits_again) = (run(averaging, c, 1) for c in (config, other, config))
    np.testing.assert_array_equal(losses_again, losses)
    np.testing.assert_array_equal(logits_again, logits)
    trained_losses, trained_logits = run(program, make_config(schedule="constant"), 1)
    np.testing.assert_array_equal(losses, trained_losses)
    assert (logits != trained_logits).any()
    averaging._average.swap()
    np.testing.assert_array_equal(averaging.predict_logits(data_for(averaging, config)[0]), trained_logits)


@pytest.mark.slow
@pytest.mark.parametrize(("start", "schedule"), [("block7", "cosine"), ("all", "cosine"), ("block7", "ema")])
def test_so_does_one_with_drop_connect_and_batch_norm_in_another_process(make_config, request, start, schedule):
    changed = request.getfixturevalue("five_blocks") if start == "all" else {}
    first = make_config(trainable_from=start, schedule=schedule, dropout=0.3, **changed)
    second = make_config(trainable_from=start, schedule=schedule, dropout=0.1, noise_intensity=1.0, **changed)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    given = there, first.model_dump(mode="json"), 5, efficientnet.DEFAULT_BLOCKS_ARGS
    process = context.Process(target=in_fresh_process, args=given)
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


def test_dropout_and_learning_rate_take_effect_without_a_new_program(program, make_config, monkeypatch):
    run(program, make_config(), 3)
    traces = []
    call = VariableDropout.call
    monkeypatch.setattr(VariableDropout, "call", lambda self, *given, **named: traces.append(1) or call(self, *given, **named))
    configs = [make_config(dropout=rate) for rate in (0.0, 0.4, 0.8)] + [make_config(dropout=0.8, learning_rate=0.3)]
    results = [run(program, config, 3)[0][1] for config in configs]
    assert len(set(results)) == 4
    assert traces == []


def one_step_at_a_time(program, inputs, targets, order, batch_size):
    """Trains as `train_epoch` does, but by Keras's own `train_on_batch`."""
    program._model.compile(program._optimizer, loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    batches = order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)
    return np.mean([float(program._model.train_on_batch(inputs[rows], targets[rows])) for rows in batches])


@pytest.mark.parametrize(
    "changed",
    [
        {"dropout": 0.5, "optimizer": "adamw"},
        pytest.param({"views": 0}, marks=pytest.mark.slow),
        pytest.param({"trainable_from": "block7", "batch_norm": "train"}, marks=pytest.mark.slow),
        pytest.param({"trainable_from": "all"}, marks=pytest.mark.slow),
    ],
    ids=lambda changed: "-".join(map(str, changed.values())),
)
def test_the_compiled_loop_gives_what_keras_gives_step_by_step(make_config, request, changed):
    if changed in ({"views": 0}, {"trainable_from": "all"}):  # then all blocks are part of what is compiled
        changed = {**changed, **request.getfixturevalue("five_blocks")}
    config = make_config(learning_rate=1e-3, **changed)
    program = TrainingProgram(config)
    inputs, targets = data_for(program, config)
    results = []
    for train in (TrainingProgram.train_epoch, one_step_at_a_time):
        program.reset(config, 3)
        program.set_learning_rate(config.learning_rate)
        losses = [train(program, inputs, targets, ORDER, 8) for _ in range(2)]
        results.append((losses, program.predict_logits(inputs)))
    (losses, logits), (expected_losses, expected_logits) = results
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-2, atol=1e-3 * np.abs(expected_logits).max())


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX compiles everything everywhere")
def test_a_gpus_steps_can_be_compiled(make_config, monkeypatch):
    """XLA compiles them, whatever is trained; that for CPUs stands in for that for GPUs."""
    from tumorcls.model import loop_tensorflow

    for module in (layers, loop_tensorflow, pieces):
        monkeypatch.setattr(module, "is_tensorflow_on_cpu", lambda: False)
    changed = {"batch_norm": "train", "precision": "mixed", "schedule": "ema", "optimizer": "adamw", "noise_intensity": 1.0}
    config = make_config(trainable_from="block7", views=0, **changed)
    losses, logits = run(TrainingProgram(config), config, 3)
    assert np.isfinite(losses).all()
    assert np.isfinite(logits).all()


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX compiles everything everywhere")
@pytest.mark.parametrize("said", ["0", "1"])
def test_nothing_on_a_gpu_is_compiled_where_the_user_says_so(make_config, monkeypatch, said):
    """TensorFlow and Keras are told of a GPU, and asked for no step on it."""
    import tensorflow as tf

    monkeypatch.setenv("TUMORCLS_XLA", said)
    gpu, listed = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU"), tf.config.list_physical_devices()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [gpu] if kind == "GPU" else [*listed, gpu])
    function, asked = tf.function, []
    monkeypatch.setattr(tf, "function", lambda *a, **options: asked.append(options["jit_compile"]) or function(*a, **options))
    program = TrainingProgram(make_config(trainable_from="block7", precision="float32"))
    compiled = said == "1"
    assert asked == [compiled, False], "of training, and of what predicts"
    gate = gate_extractor(program.classifier(0.0, 1.0))
    assert program.folded.jit_compile is program._view.jit_compile is gate.jit_compile is compiled


def test_rows_on_the_device_and_rows_in_pieces_give_the_same(program, make_config, monkeypatch):
    config = make_config(dropout=0.5)
    inputs, targets = data_for(program, config)
    results = []
    for rows, piece in ((program.place(inputs), 2**26), (inputs, 2**26), (inputs, 2 * 8 * 2560)):
        monkeypatch.setattr(pieces, "TRAINING_BYTES", piece)
        program.reset(config, 3)
        losses = [program.train_epoch(rows, targets, ORDER, 4) for _ in range(2)]
        results.append([*losses, *program.predict_logits(inputs).ravel()])
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_allclose(results[2], results[0], rtol=1e-5, atol=1e-6)  # the sum of losses is rounded otherwise


def test_parts_are_predicted_as_one_array(program, monkeypatch):
    inputs = np.random.default_rng(2).normal(0, 1, (300, 1280)).astype(np.float16)
    whole = program.predict_logits(inputs)
    parts = [inputs[:70], inputs[70:71], inputs[71:]]
    monkeypatch.setattr(pieces, "PREDICTION_BYTES", 128 * 2560)
    np.testing.assert_array_equal(program.predict_logits(*parts), whole)
    np.testing.assert_array_equal(program.predict_logits(program.place_parts(parts)), whole)


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


def test_a_setting_that_nobody_has_thought_of_makes_another_program(settings):
    class Grown(TrainConfig):
        width: float = 1.0

    assert program_key(Grown(**settings)) == program_key(Grown(**{**settings, "dropout": 0.1, "width": 1.0}))
    assert program_key(Grown(**settings)) != program_key(Grown(**settings, width=1.5))


def test_a_program_is_built_of_no_setting_that_its_key_lacks(noted):
    TrainingProgram(noted)
    assert {"image_size", "view_recipe"} <= noted.read
    assert not noted.read & _NOT_COMPILED


@pytest.mark.slow
def test_mixed_precision_rounds_training_steps_and_nothing_that_stays(make_config):
    config = make_config(trainable_from="block7", dropout=0.0)
    whole, mixed = (
        TrainingProgram(config),
        TrainingProgram(make_config(trainable_from="block7", precision="mixed", dropout=0.0)),
    )
    (losses, _), (rounded, _) = run(whole, config, 1), run(mixed, config, 1)
    assert (rounded != losses).all()
    np.testing.assert_allclose(rounded[0], losses[0], rtol=0.05)
    assert {array.dtype for array in mixed.state() if array.dtype.kind == "f"} == {np.dtype(np.float32)}
    assert {layer.compute_dtype for layer in mixed.classifier(0.0, 1.0).layers} == {"float32"}
    mixed.set_state(whole.state())
    inputs, _ = data_for(whole, config)
    np.testing.assert_array_equal(mixed.predict_logits(inputs), whole.predict_logits(inputs))


def test_precision_is_mixed_where_a_gpu_gains_by_it_and_blocks_are_trained(make_config, monkeypatch):
    def mixed(**changed):
        return is_mixed(make_config(**changed))

    assert not mixed(trainable_from="block7"), "there is no GPU here"
    assert mixed(trainable_from="block7", precision="mixed")
    monkeypatch.setattr("tumorcls.model.program.gains_by_bfloat16", lambda: True)
    assert mixed(trainable_from="block7")
    assert not mixed(trainable_from="head")
    assert not mixed(trainable_from="head", precision="mixed"), "it has nothing that would be rounded"
    assert not mixed(trainable_from="block7", precision="float32")
    keys = {program_key(make_config(trainable_from="block7", precision=each)) for each in ("auto", "mixed", "float32")}
    assert len(keys) == 2, "what is rounded is another program"
