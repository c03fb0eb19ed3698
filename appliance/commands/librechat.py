"""``appliance librechat``: the chat that customers use on the same account."""

from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.session import fail, settings_of_first_node, transact
from appliance.librechat.configuration import NotRendered
from appliance.librechat.rendering import chat_models
from appliance.librechat.rendering import render as write
from appliance.secrets import SecretsError
from billing.clock import system_clock
from billing.prices.rates import Prices, price_list

app = typer.Typer(help="LibreChat, where customers chat on the same account.", no_args_is_help=True)


@app.command()
def render(
    folder: Annotated[
        Path | None, typer.Argument(help="Where the files go; $APPLIANCE_HOME/librechat if not given.")
    ] = None,
) -> None:
    """Write LibreChat's librechat.yaml and .env by the settings, the models that run and today's prices."""
    chosen = settings_of_first_node()
    into = folder or chosen.home / "librechat"

    async def prices(connection: AsyncConnection) -> dict[str, Prices]:
        listed = await price_list(connection, system_clock)
        return {model: one.current.prices for model, one in listed.items()}

    try:
        changed = write(chosen, chat_models(chosen, transact(prices)), into)
    except (NotRendered, SecretsError) as error:
        raise fail(f"nothing was written: {error}") from None
    except OSError as error:
        raise fail(f"{into} cannot be written: {error.strerror}") from None
    if changed:
        typer.echo(f"{' and '.join(changed)} in {into}: new; LibreChat reads them when it starts")
    else:
        typer.echo(f"{into}: as it was")
