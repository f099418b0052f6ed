"""Which configs share a compiled program, and those programs that are kept for the next trial."""

from collections import OrderedDict
from collections.abc import Hashable

from tumorcls import activity
from tumorcls.config.train_config import TrainConfig
from tumorcls.model.device_memory import USED_ELSEWHERE, naming_what_must_fit
from tumorcls.model.program import TrainingProgram, is_mixed

_NOT_COMPILED = frozenset(
    {
        *("data", "slices", "epochs", "batch_size", "learning_rate", "dropout", "label_smoothing"),
        *("noise_intensity", "rotation_degrees", "width_shift", "height_shift", "horizontal_flip"),
        *("score", "measured_noises", "noisy_images", "mirror_average"),
    }
)
"""Settings that change no program: it is given them in each trial, or never sees them. Any other makes another one."""


def program_key(config: TrainConfig) -> Hashable:
    """Returns what of a config is part of the compiled graph: configs with equal keys share a program."""
    decided = {
        "split": len(config.classes),
        "views": config.cached_views > 0,
        "precision": is_mixed(config),
        "schedule": config.schedule == "ema",
    }
    return tuple((name, decided.get(name, value)) for name, value in config if name not in _NOT_COMPILED)


class ProgramCache:
    """Programs by their key; the least recently used one goes first, because each keeps its compiled code in memory."""

    def __init__(self, capacity: int = 2) -> None:
        self._capacity = capacity
        self._programs: OrderedDict[Hashable, TrainingProgram] = OrderedDict()

    def get(self, config: TrainConfig) -> TrainingProgram:
        """Returns the program for a config's key, built where there is none.

        Raises:
            DeviceMemoryError: The device's memory does not hold it.
            WeightsError: The weights cannot be had.
        """
        activity.finish_call()
        key = program_key(config)
        if key not in self._programs:
            activity.tell("building the network")
            while len(self._programs) >= self._capacity:
                self._programs.popitem(last=False)
            with naming_what_must_fit("the network", USED_ELSEWHERE):
                self._programs[key] = TrainingProgram(config)
        self._programs.move_to_end(key)
        return self._programs[key]
