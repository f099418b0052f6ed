"""Every random number of a study comes from its seed and a trial's index in it."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a seed is for; two streams never share numbers."""

    SAMPLER = 0
    TRIAL = 1
    GRID = 2
    FINALIST = 3
    DESIGN = 4
    PRUNER = 5


def derive(study_seed: int, stream: Stream, trial_index: int = 0) -> int:
    """Returns a seed in [0, 2**31) that is fixed by its arguments alone.

    31 bits, because every library that an objective may seed takes them: NumPy, Python, Keras, TensorFlow and C alike. The
    index counts the trials that are no retries, from zero.
    """
    state = np.random.SeedSequence(study_seed, spawn_key=(stream, trial_index)).generate_state(1, np.uint32)
    return int(state[0] >> 1)
