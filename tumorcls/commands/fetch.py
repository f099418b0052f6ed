"""`tumorcls fetch`: downloads a public data set and checks it."""

import shlex

import click


@click.command("fetch", short_help="Download a public data set from Kaggle and check it.")
@click.argument("name")
def command(name: str) -> None:
    """Download NAME (sartaj, nickparvar, brisc or br35h) from Kaggle, and compare it with what was published.

    Needs the extra: pip install "tumorcls[kaggle]". figshare 1512427 is downloaded by hand from its page,
    https://doi.org/10.6084/m9.figshare.1512427; unpack its archives into one folder.
    """
    from tumorcls.data.fetch import fetch

    fetched = fetch(name)
    click.echo(f"{fetched.images:,} images in {fetched.folder}")
    click.echo(f"sha256 of the files: {fetched.files_sha256}")
    for difference in fetched.differences:
        click.echo(f"differs from what was published: {difference}")
    click.echo(f"next: tumorcls prepare {shlex.quote(str(fetched.folder))}")
