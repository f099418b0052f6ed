"""`search worker`: one more machine takes trials of a study that others may drive too."""

from dataclasses import replace

from rich.console import Console

from search.driver.launch import Launched, drive, sited, tell_whose_code
from search.driver.resume import Owner, check_identical
from search.driver.warm_start import check_whole
from search.errors import StudyError
from search.records.attributes import budget_of
from search.storage import open as storage
from search.study_file.load import StudySpec

_NOTICE_S = 20.0  # Slurm kills 30 s after its SIGTERM; Kubernetes too


def join(
    spec: StudySpec,
    *,
    timeout_s: float | None = None,
    workers: int = 1,
    url: str | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> Launched:
    """Runs trials of a study beside its other drivers, until none is left to start; begins the study where it is not there.

    Args:
        spec: The study file, which must be that of the launch.
        timeout_s: The wall time of this worker in seconds instead of the file's.
        workers: How many worker processes, and so trials, run here at the same time.
        url: The storage instead of the file's.
        quiet: Show no progress.
        console: Where progress goes; stdout by default.

    Raises:
        SearchError: In one line, what the user can mend.
    """
    url = url or spec.storage
    check_shareable(url)
    me = Owner.current()
    spec = replace(spec, policy=replace(spec.policy, timeout_s=timeout_s or spec.policy.timeout_s))
    joined = f"{me.host}-{me.pid}"
    with sited(spec, url, workers, quiet=quiet, console=console, joined=joined) as site, storage.storage_errors(url):
        study = storage.create_study(url, spec.name, spec.directions, spec.metrics)
        check_identical(study, spec)
        tell_whose_code(spec, site)
        check_whole(study)
        # The study's budget is one; a machine that joins does not bring its own.
        budget = budget_of(study) or spec.policy.trials
        spec = replace(spec, policy=replace(spec.policy, trials=budget))
        reason = drive(study, spec, me, site, waits=False, notice_s=_NOTICE_S)
    return Launched(study, reason, budget, ())


def check_shareable(url: str) -> None:
    """Sees to it that several drivers may use a storage.

    Raises:
        SearchError: It is a file, or of no kind that we know.
    """
    if storage.storage_file(url) is not None:
        raise StudyError(
            f"{storage.hide_password(url)}: the storage of a study that is joined must be a server, PostgreSQL or MySQL; "
            "got a file, which one driver writes to. Change study.storage, or add --storage."
        )
