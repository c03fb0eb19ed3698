"""``appliance account``: who has credit here."""

from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.session import as_document, fail, print_json, print_table, transact
from billing import accounts
from billing.accounts import Account, Limits
from billing.clock import system_clock
from billing.money import format_dollars

app = typer.Typer(help="Create and look at accounts.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AccountArgument = Annotated[str, typer.Argument(help="The account's id or name.")]
Limit = Annotated[int | None, typer.Option(min=1, max=2**31 - 1)]

COLUMNS = {
    "id": "ID", "name": "NAME", "role": "ROLE", "status": "STATUS", "balance": "BALANCE", "held": "HELD",
    "open_holds": "RUNNING",
}  # fmt: skip


async def resolve(connection: AsyncConnection, account: str) -> Account:
    """An account by its id, or by its name. Ends the command if there is none."""
    found = await accounts.find_account(connection, account)
    if found is None and account.isascii() and account.isdigit() and len(account) < 19:
        return await accounts.get_account(connection, int(account))
    if found is None:
        raise fail(f"there is no account {account!r}")
    return found


def describe(account: Account) -> dict[str, Any]:
    document = as_document(account)
    document["balance"] = format_dollars(account.balance_nanodollars)
    document["held"] = format_dollars(account.held_nanodollars)
    return document


@app.command()
def create(
    name: str,
    operator: Annotated[bool, typer.Option(help="An operator's account, not a customer's.")] = False,
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
    concurrent_requests: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Create an account. It has no credit and no key yet."""
    limits = Limits(requests_per_minute, tokens_per_minute, concurrent_requests)
    role = "operator" if operator else "customer"
    account = transact(lambda connection: accounts.create_account(connection, name, role, system_clock, limits))
    if as_json:
        print_json(describe(account))
    else:
        typer.echo(f"account {account.id} ({account.name}) created")


@app.command()
def show(account: AccountArgument, as_json: AsJson = False) -> None:
    """One account: standing, balance, limits."""
    document = describe(transact(lambda connection: resolve(connection, account)))
    if as_json:
        print_json(document)
        return
    for field, value in document.items():
        typer.echo(f"{field:22} {'-' if value is None else value}")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """All accounts."""
    documents = [describe(account) for account in transact(accounts.list_accounts)]
    if as_json:
        print_json(documents)
    else:
        print_table(COLUMNS, documents)


@app.command()
def suspend(account: AccountArgument) -> None:
    """Refuse the account's requests, from the next one on."""
    _set_status(account, "suspended")


@app.command()
def resume(account: AccountArgument) -> None:
    """Lift a suspension."""
    _set_status(account, "active")


def _set_status(account: str, status: str) -> None:
    async def change(connection: AsyncConnection) -> Account:
        found = await resolve(connection, account)
        return await accounts.set_status(connection, found.id, status)

    changed = transact(change)
    typer.echo(f"account {changed.id} ({changed.name}) is {changed.status}")
