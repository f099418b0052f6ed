"""A brain-tumour MRI classifier that has to work on noisy scans: its data, noise, model, training and evaluation.

For research and education only, never for diagnosis.

The names below load on first use, so that ``import tumorcls`` imports neither NumPy nor a backend.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tumorcls.config.train_config import TrainConfig
    from tumorcls.inference.measured import evaluate, evaluation_images
    from tumorcls.inference.predict import answer_files, answer_images
    from tumorcls.model.saved_model import load_model
    from tumorcls.objective import BrainTumourObjective
    from tumorcls.training.assemble import train

    __version__: str
__all__ = [
    "DISCLAIMER",
    "BrainTumourObjective",
    "TrainConfig",
    "answer_files",
    "answer_images",
    "evaluate",
    "evaluation_images",
    "load_model",
    "train",
]

DISCLAIMER = "Research and education only. Not a medical device; never use it for diagnosis."

_HOMES = {
    "BrainTumourObjective": "tumorcls.objective",
    "TrainConfig": "tumorcls.config.train_config",
    "answer_files": "tumorcls.inference.predict",
    "answer_images": "tumorcls.inference.predict",
    "evaluate": "tumorcls.inference.measured",
    "evaluation_images": "tumorcls.inference.measured",
    "load_model": "tumorcls.model.saved_model",
    "train": "tumorcls.training.assemble",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("tumorcls")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("evaluate", "evaluation_images", "load_model", "train"):  # their homes import Keras
        import_module("tumorcls.model.backend").select_backend()
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
