"""This project's objective as a worker of `search launch` has it, which writes down when each value was there."""

import json
import os
import time
from pathlib import Path
from typing import Any

from tumorcls.objective import BrainTumourObjective

LOG = "SEARCH_QUALITY_LOG"
"""The variable that names the file."""


class Launched(BrainTumourObjective):
    def __call__(self, trial: Any) -> float | tuple[float, ...]:
        value = super().__call__(trial)
        line = {"ended": time.perf_counter(), "value": value, "params": trial.params, "seed": trial.user_attrs["training_seed"]}
        with Path(os.environ[LOG]).open("a") as file:
            file.write(json.dumps(line) + "\n")
        return value
