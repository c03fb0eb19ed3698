"""``appliance usage``: what was used, newest first."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.account import AsJson, resolve
from appliance.commands.session import as_document, print_json, print_table, transact
from billing.usage import Usage, list_usage

app = typer.Typer(help="Look at what was used.", no_args_is_help=True)

COLUMNS = {
    "request_id": "REQUEST", "time": "TIME", "account_id": "ACCOUNT", "model": "MODEL", "endpoint": "ENDPOINT",
    "prompt_tokens": "PROMPT", "cached_tokens": "CACHED", "completion_tokens": "COMPLETION",
    "cost_nanodollars": "NANO-DOLLARS", "ended": "ENDED",
}  # fmt: skip


@app.callback()
def group() -> None:
    """Look at what was used."""


@app.command("list")
def list_all(
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 20,
    account: Annotated[str | None, typer.Option(help="Only this account's: id or name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Requests, newest first: tokens, cost, how the answer ended. Never content."""

    async def work(connection: AsyncConnection) -> list[Usage]:
        owner = None if account is None else (await resolve(connection, account)).id
        return await list_usage(connection, limit, owner)

    documents = [as_document(row) for row in transact(work)]
    if as_json:
        print_json(documents)
    else:
        print_table(COLUMNS, documents)
