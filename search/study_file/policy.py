"""The keys of `[study]` that say how its trials are run: budgets, faults, and how long a worker lives."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from search.study_file.base import Table
from search.study_file.limits import MAX_COUNT, MAX_NAME, MAX_TRIALS, MAX_WORKERS
from search.study_file.rule_errors import rule_error
from search.study_file.units import parse_duration, parse_size
from search.text import show


def _check_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    sound = re.fullmatch(r"[^\s/]+", host) and re.fullmatch(r"[0-9]{1,5}", port) and int(port) < 2**16
    if address != "auto" and not (sound and address.isprintable() and len(address) <= MAX_NAME):
        raise rule_error('must be "auto" or HOST:PORT', got=show(address), remedy="Write what `ray start` has printed.")
    return address


class RayResources(Table):
    """What one worker takes of a Ray cluster.

    Attributes:
        kind: Of the executor.
        address: ``"auto"``, which is the cluster that this machine is a node of, or ``HOST:PORT``.
        gpus_per_trial: Whole GPUs, or a fraction of one.
        cpus_per_trial: Ray counts them; a fraction is allowed.
    """

    kind: Literal["ray"]
    address: Annotated[str, AfterValidator(_check_address)] = "auto"
    gpus_per_trial: Annotated[float, Field(ge=0, le=MAX_WORKERS, allow_inf_nan=False)] = 0.0
    cpus_per_trial: Annotated[float, Field(gt=0, le=MAX_WORKERS, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.gpus_per_trial > 1 and self.gpus_per_trial != int(self.gpus_per_trial):
            remedy = "Write a number up to 1, or a whole one."
            raise rule_error("a trial takes a part of one GPU or whole ones", got=show(self.gpus_per_trial), remedy=remedy)
        return self


_Seconds = Annotated[float, BeforeValidator(parse_duration)]
_Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]


@dataclass(frozen=True)
class Policy:
    """How trials are run. None stands for no limit.

    Attributes:
        trials: The budget: COMPLETE and PRUNED trials, over all launches.
        timeout_s: Wall time of one launch in seconds.
        max_reports: Reports, which mostly are epochs, of all trials over all launches.
        max_device_time_s: Seconds that trials ran, over all launches; a trial that shares its device counts for its share.
        patience: So many finished trials in a row without a better one end a launch.
        max_failures: So many failed trials in a row end a launch; one that is tried again has not failed yet.
        max_retries: How often a trial is tried again after its worker died or hung, ran out of memory, or lost its device.
        report_timeout_s: A worker that has been silent for so many seconds, in a trial, hangs and is killed.
        worker_memory: A worker that uses more bytes after a trial is started anew.
        worker_trials: A worker that has run so many trials is started anew.
        workers_per_device: How many workers share a GPU of this machine.
        executor: The Ray cluster that runs the workers; None is this machine.
        device_share: The part of a device that a trial of this launch takes; several devices count as many times.
    """

    trials: int
    timeout_s: float | None = None
    max_reports: int | None = None
    max_device_time_s: float | None = None
    patience: int | None = None
    max_failures: int = 3
    max_retries: int = 1
    report_timeout_s: float | None = None
    worker_memory: int | None = None
    worker_trials: int | None = None
    workers_per_device: int = 1
    executor: RayResources | None = None
    device_share: float = 1.0


class PolicyKeys(Table):
    """The keys as the file writes them."""

    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)]
    timeout_s: _Seconds | None = Field(None, alias="timeout")
    max_reports: _Count | None = None
    max_device_time_s: _Seconds | None = Field(None, alias="max_device_time")
    patience: _Count | None = None
    max_failures: _Count = 3
    max_retries: Annotated[int, Field(ge=0, le=MAX_COUNT)] = 1
    report_timeout_s: _Seconds | None = Field(None, alias="report_timeout")
    worker_memory: Annotated[int, BeforeValidator(parse_size)] | None = None
    worker_trials: _Count | None = None
    workers_per_device: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = 1
    executor: RayResources | None = None

    @model_validator(mode="after")
    def _check_sharing(self) -> Self:
        if self.executor is not None and self.workers_per_device > 1:
            rule = "workers_per_device must not be given with an executor, which deals out devices itself"
            remedy = f"Write executor.gpus_per_trial = {1 / self.workers_per_device:.2g} instead."
            raise rule_error(rule, got=show(self.workers_per_device), remedy=remedy)
        return self

    def policy(self) -> Policy:
        """Returns the policy that these keys ask for."""
        keys = {name: getattr(self, name) for name in PolicyKeys.model_fields}
        return Policy(**keys, device_share=(self.executor and self.executor.gpus_per_trial) or 1.0)
