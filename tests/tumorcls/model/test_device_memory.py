import platform

import pytest

from search.workers.memory import is_out_of_memory
from tumorcls.errors import ConfigError, DeviceMemoryError
from tumorcls.model.backend import keras_runs_on_jax
from tumorcls.model.device_memory import naming_what_must_fit
from tumorcls.model.program import loop_of_backend


def run_out(*_):
    """Asks the backend, in a compiled loop as training is, for more than a process can address."""
    if keras_runs_on_jax():
        import jax

        jax.block_until_ready(jax.jit(lambda: jax.numpy.ones((10_000_000, 10_000_000)))())
    import tensorflow as tf

    def step(number, total):
        return number + 1, total + tf.reduce_sum(tf.sort(tf.fill([side, side], 1.0)))

    side = tf.constant(10_000_000)
    tf.function(
        lambda: tf.while_loop(lambda number, _: number < 2, step, (tf.constant(0), tf.constant(0.0))), autograph=False
    )()


def say_that_memory_ran_out(*_):
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes.")


@pytest.mark.slow  # TensorFlow waits 20 s for memory that others may free
def test_memory_that_runs_out_in_training_is_one_line_which_a_driver_takes_for_what_it_is(trainer, make_config, monkeypatch):
    monkeypatch.setattr(loop_of_backend(), "train", run_out)
    with pytest.raises(DeviceMemoryError) as caught:
        trainer.fit(make_config(batch_size=16), 0, lambda epoch: None)
    line = str(caught.value)
    named = f"CPU, {platform.machine()}: its memory must hold a training step with batch_size = 16; got: "
    assert line.startswith(
        (f"{named}OOM when allocating tensor with shape[10000000,10000000]", f"{named}RESOURCE_EXHAUSTED: Out")
    )
    assert line.endswith(
        ". Lower batch_size or image_size, train fewer blocks (trainable_from), or see what else uses its memory."
    )
    assert "\n" not in line
    assert len(line) < 500, "it has no word of where the network was traced"
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        "Out of memory while trying to allocate 8589934592 bytes.\nBufferAssignment OOM Debugging.\nmany lines",
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes.",
        "INTERNAL: failed to call cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    ],
)
def test_what_a_gpus_allocator_says_is_recognised(said):
    with (
        pytest.raises(DeviceMemoryError, match=r"must hold it; got: .*memory[^\n]*\. Close others\.$"),
        naming_what_must_fit("it", "Close others"),
    ):
        raise RuntimeError(said)


def test_only_a_step_has_a_batch_size_to_lower(trainer, make_config, monkeypatch):
    monkeypatch.setattr(loop_of_backend(), "predict", say_that_memory_ran_out)
    with pytest.raises(DeviceMemoryError, match=r"images in a prediction; got: .*\. Lower image_size, or see what else"):
        trainer.fit(make_config(), 0, lambda epoch: None)


@pytest.mark.parametrize("error", [ValueError("shapes must be equal"), ConfigError("out of memory: is no name")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, naming_what_must_fit("it"):
        raise error
    assert caught.value is error
