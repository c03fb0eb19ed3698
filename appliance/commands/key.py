"""``appliance key``: API keys, shown once."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance import secrets
from appliance.commands.account import AccountArgument, AsJson, resolve
from appliance.commands.session import as_document, fail, print_json, print_table, settings, transact
from billing.clock import system_clock
from billing.customers import keys
from billing.customers.keys import Key

app = typer.Typer(help="Create, revoke and list API keys.", no_args_is_help=True)

COLUMNS = {
    "id": "ID", "account_id": "ACCOUNT", "name": "NAME", "hint": "KEY", "purpose": "FOR", "created_at": "CREATED",
    "revoked_at": "REVOKED", "expires_at": "EXPIRES",
}  # fmt: skip


@app.command()
def create(
    account: AccountArgument,
    name: Annotated[str, typer.Option(help="What it is for.")] = "default",
    as_json: AsJson = False,
) -> None:
    """Create a key for an account. This is the only time that it is shown."""
    try:
        pepper = secrets.read(settings().secrets).key_pepper
    except secrets.SecretsError as error:
        raise fail(str(error)) from None

    async def work(connection: AsyncConnection) -> tuple[Key, str]:
        owner = await resolve(connection, account)
        return await keys.create_key(connection, owner.id, name, pepper, system_clock)

    key, text = transact(work)
    if as_json:
        print_json(as_document(key) | {"key": text})
    else:
        typer.echo(text)


@app.command()
def revoke(key_id: int) -> None:
    """Refuse a key from the next request on."""
    transact(lambda connection: keys.revoke_key(connection, key_id, system_clock))
    typer.echo(f"key {key_id} is revoked")


@app.command("list")
def list_all(
    account: Annotated[str | None, typer.Option(help="Only this account's: id or name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Keys, without the keys."""

    async def work(connection: AsyncConnection) -> list[Key]:
        owner = None if account is None else (await resolve(connection, account)).id
        return await keys.list_keys(connection, owner)

    documents = [as_document(key) for key in transact(work)]
    if as_json:
        print_json(documents)
    else:
        print_table(COLUMNS, documents)
