"""How far a command is that trains or measures for minutes."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from tumorcls.commands.streams import tell

if TYPE_CHECKING:
    from tumorcls.config.train_config import TrainConfig
    from tumorcls.evaluation.evaluate import Plan
    from tumorcls.training.trainer import Fitted, Trainer
    from tumorcls.training.validation import Epoch


def fit_telling(trainer: "Trainer", config: "TrainConfig", seed: int, *, of: str = "", final: bool = False) -> "Fitted":
    """Trains, and tells of each epoch, with which run it is `of`."""
    from tumorcls.training.validation import describe_scores

    def on_epoch_end(epoch: "Epoch") -> None:
        tell(f"{of}epoch {epoch.number + 1}/{config.epochs}  loss {epoch.loss:.3f}  {describe_scores(epoch.scores)}")

    return trainer.fit(config, seed, on_epoch_end, final=final)


def telling_progress(plan: "Plan") -> Callable[[str, int], None]:
    """Returns what tells on standard error of each condition of a plan, as it is begun, how much is done and what is left."""
    total = 1 + len(plan.conditions) + len(plan.unseen_conditions)
    began: list[float] = []

    def on_condition(noise: str, severity: int) -> None:
        began.append(time.monotonic())
        click.echo(f"  {noise} {severity}/5, {_done(began, total)}", err=True)

    return on_condition


def _done(began: Sequence[float], total: int) -> str:
    """Returns how many of all conditions are done, the clean images before the first, and what the others will take.

    `began` is when each began, in seconds. How long the clean images took says little: the network is made ready in it.
    """
    done = len(began)
    if done == 1:
        return f"1 of {total} done"
    left_s = (began[-1] - began[0]) / (done - 1) * (total - done)
    left = f"about {left_s / 60:.0f} min" if left_s >= 60 else "less than a minute"
    return f"{done} of {total} done, {left} left"
