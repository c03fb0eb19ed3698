"""``appliance settings``: the files that say how this system runs."""

import typer

from appliance.commands.session import fail, settings
from appliance.settings import SettingsError

app = typer.Typer(help="Check the settings.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Check the settings."""


@app.command()
def check() -> None:
    """Read appliance.yaml, models.yaml, plans.yaml and the texts that they name; exit status 1 if one is wrong."""
    from appliance.web.legal import read_legal_texts

    chosen = settings()
    try:
        read_legal_texts(chosen)
    except SettingsError as error:
        raise fail(str(error)) from None
    typer.echo(f"{len(chosen.models)} models, {len(chosen.plans)} plans: the settings can be used")
