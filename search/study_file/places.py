"""The key `executor` of `[study]`: which engine runs a study's workers where this machine does not, and what each may take."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from search.study_file.limits import MAX_NAME, MAX_WORKERS
from search.study_file.rule_errors import broken
from search.text import show


@dataclass(frozen=True)
class RayPlaces:
    """What one worker takes of a Ray cluster.

    Attributes:
        address: ``"auto"``, which is the cluster that this machine is a node of, or ``HOST:PORT``.
        gpus_per_trial: Whole GPUs, or a fraction of one.
        cpus_per_trial: Ray counts them; a fraction is allowed.
    """

    address: str
    gpus_per_trial: float
    cpus_per_trial: float


def _check_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    sound = re.fullmatch(r"[^\s/]+", host) and re.fullmatch(r"[0-9]{1,5}", port) and int(port) < 2**16
    if address != "auto" and not (sound and address.isprintable() and len(address) <= MAX_NAME):
        raise broken('must be "auto" or HOST:PORT', got=show(address), remedy="Write what `ray start` has printed.")
    return address


class RayKeys(BaseModel):
    """The keys as the file writes them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["ray"]
    address: Annotated[str, AfterValidator(_check_address)] = "auto"
    gpus_per_trial: Annotated[float, Field(ge=0, le=MAX_WORKERS, allow_inf_nan=False)] = 0.0
    cpus_per_trial: Annotated[float, Field(gt=0, le=MAX_WORKERS, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.gpus_per_trial > 1 and self.gpus_per_trial != int(self.gpus_per_trial):
            remedy = "Write a number up to 1, or a whole one."
            raise broken("a trial takes a part of one GPU or whole ones", got=show(self.gpus_per_trial), remedy=remedy)
        return self

    def places(self) -> RayPlaces:
        """Returns what these keys ask for."""
        return RayPlaces(self.address, self.gpus_per_trial, self.cpus_per_trial)
