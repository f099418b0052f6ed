"""What a model is measured under, for the commands that measure one on the test part."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tumorcls.config.train_config import TrainConfig
    from tumorcls.evaluation.evaluate import Plan
    from tumorcls.model.calibration import Calibration

_SEVERITIES: dict[str, tuple[int, ...]] = {"all": (1, 2, 3, 4, 5), "middle": (3,), "none": ()}

UNSEEN: Callable[[Any], Any] = click.option(
    "--unseen",
    type=click.Choice(list(_SEVERITIES)),
    default="middle",
    show_default=True,
    help="Severities of the corruptions that no training draws: all five, the third, or none. All take three times as long.",
)


def plan_of(config: "TrainConfig", calibration: "Calibration", unseen: str, *, clean_only: bool = False) -> "Plan":
    """Returns the noises that chose a model and, apart from them, what neither its training nor its search has seen."""
    from tumorcls.evaluation.evaluate import Plan
    from tumorcls.noise.unseen import unseen_kinds
    from tumorcls.training.validation import CORRUPTION_SEED

    return Plan(
        noises=() if clean_only else config.measured_noises,
        seed=CORRUPTION_SEED,
        threshold=calibration.threshold,
        sets=calibration.sets,
        unseen=() if clean_only else unseen_kinds((*config.noises, *config.measured_noises)),
        unseen_severities=_SEVERITIES[unseen],
    )
