"""Random numbers inside compiled programs: a hash of a counter, cheap on every device and the same on every backend.

The generators of JAX and TensorFlow withstand far more than a dropout mask asks of them, and on a CPU they took most of a
training step of the head. Here number i of a draw is i, mixed with two keys that the layer's seed and the draw's number fix.
"""

import math
from typing import Any

from keras import KerasTensor, ops


def random_bits(key: KerasTensor, count: Any) -> KerasTensor:
    """Returns `count` uniform 32-bit numbers, uint32 (count,).

    The key is the state that `keras.random.SeedGenerator.next` returns, two integers: the seed, and which draw it is.
    """
    seed, draw = (ops.cast(key[i], "uint32") for i in range(2))
    first, second = _mix(seed + _mix(draw)), _mix(draw ^ _mix(seed + _word(0x9E3779B9)))
    return _mix(_mix(ops.cast(ops.arange(count, dtype="int32"), "uint32") + first) ^ second)


def random_uint16(key: KerasTensor, shape: tuple[Any, ...]) -> KerasTensor:
    """Returns uniform 16-bit numbers, two from each hash: uint16 of a shape whose last size is even."""
    *rows, columns = shape
    words = random_bits(key, math.prod(rows) * (columns // 2))
    return ops.view(ops.reshape(words, (*rows, columns // 2)), "uint16")


def random_uniform(key: KerasTensor, shape: tuple[Any, ...]) -> KerasTensor:
    """Returns float32 of a shape, uniform in [0, 1), multiples of 2**-24."""
    bits = ops.right_shift(random_bits(key, math.prod(shape)), _word(8))
    return ops.reshape(ops.cast(bits, "float32") * 2.0**-24, shape)


def random_normal(key: KerasTensor, shape: tuple[Any, ...]) -> KerasTensor:
    """Returns float32 of a shape, standard normal: the inverse of its distribution function at uniform numbers in (0, 1)."""
    bits = ops.right_shift(random_bits(key, math.prod(shape)), _word(9))
    uniform = (ops.cast(bits, "float32") + 0.5) * 2.0**-22 - 1.0
    return ops.reshape(math.sqrt(2.0) * ops.erfinv(uniform), shape)


def _mix(bits: KerasTensor) -> KerasTensor:
    """Returns a permutation of the 32-bit numbers in which each bit of the input changes half of the output's.

    The finaliser of MurmurHash3 (A. Appleby, public domain).
    """
    bits = (bits ^ ops.right_shift(bits, _word(16))) * _word(0x85EBCA6B)
    bits = (bits ^ ops.right_shift(bits, _word(13))) * _word(0xC2B2AE35)
    return bits ^ ops.right_shift(bits, _word(16))


def _word(value: int) -> KerasTensor:
    return ops.convert_to_tensor(value, dtype="uint32")
