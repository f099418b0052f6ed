"""``search submit``: send tasks of `search worker` to Slurm as a job array (extra submitit), and return at once."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.commands.shared import LAUNCHED_AS, STORAGE, STUDY, load_study, seconds

if TYPE_CHECKING:
    from search.driver.slurm import Cluster


@click.command("submit")
@STUDY
@click.option("--jobs", type=click.IntRange(min=1), required=True, help="Tasks of the job array.")
@click.option("--time", "time_limit", metavar="TIME", required=True, help="Wall time of each task (90m, 8h).")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials that a task runs at a time.")
@click.option("--gpus", type=click.IntRange(min=0), help="GPUs of each task.")
@click.option("--cpus", type=click.IntRange(min=1), help="CPUs of each task.")
@click.option("--mem", "memory", metavar="SIZE", help="Memory of each task, as Slurm writes it: 16G.")
@click.option("--partition", help="Partition of the cluster.")
@click.option("--slurm", "more", metavar="KEY=VALUE", multiple=True, help="Another option of sbatch: account=lab.")
@click.option("--logs", type=click.Path(path_type=Path), help="Folder of the tasks' logs; NAME.jobs by default.")
@click.option(
    "--cluster", type=click.Choice(["slurm", "local"]), default="slurm", show_default=True, help="local: run as processes here."
)
@LAUNCHED_AS
@STORAGE
def command(
    study: Path,
    jobs: int,
    time_limit: str,
    workers: int,
    gpus: int | None,
    cpus: int | None,
    memory: str | None,
    partition: str | None,
    more: tuple[str, ...],
    logs: Path | None,
    cluster: "Cluster",
    name: str | None,
    storage: str | None,
) -> None:
    """Send tasks of `search worker` to Slurm as a job array (extra submitit), and return at once.

    Every task must see the current folder, the study file and this Python.
    """
    from search.driver.slurm import Resources, parse_more
    from search.driver.slurm import submit as send
    from search.storage.reference import as_typed

    spec = load_study(study, name, imports=False)  # this machine only sends it
    logs = logs or Path(f"{spec.name}.jobs")
    resources = Resources(seconds(time_limit, "--time"), gpus, cpus, memory, partition, parse_more(more))
    ids = send(spec, resources, jobs=jobs, logs=logs, workers=workers, name=name, url=storage, cluster=cluster)
    if cluster == "slurm":
        job = ids[0].partition("_")[0]
        click.echo(f"Sent: job {job}, tasks: {jobs}. Their logs: {logs}/{job}_*")
        click.echo(f"Watch them:  squeue --job {job}")
    else:
        click.echo(f"Started here: processes {', '.join(ids)}. Their logs: {logs}")
    click.echo(f"The study:   search status {as_typed(f'{study}#{name}' if name else study, storage=storage)}")
