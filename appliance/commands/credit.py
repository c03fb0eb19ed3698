"""``appliance credit``: credit that the operator gives."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.account import AccountArgument, AsJson, describe, resolve
from appliance.commands.session import fail, print_json, transact
from billing import accounts, ledger
from billing.accounts import Account
from billing.clock import system_clock
from billing.money import format_dollars, parse_dollars

app = typer.Typer(help="Give credit.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Give credit."""


@app.command()
def grant(
    account: AccountArgument,
    dollars: Annotated[str, typer.Argument(help='For example "10.00".')],
    reason: Annotated[str, typer.Option(help="Kept with the credit.")] = "granted by the operator",
    as_json: AsJson = False,
) -> None:
    """Grant credit to an account."""
    try:
        amount = parse_dollars(dollars)
        if amount <= 0:
            raise ValueError("an amount of credit must be above zero")
    except ValueError as error:
        raise fail(str(error)) from None

    async def work(connection: AsyncConnection) -> Account:
        found = await resolve(connection, account)
        await ledger.add_credit(connection, found.id, amount, "grant", reason, system_clock)
        return await accounts.get_account(connection, found.id)

    after = transact(work)
    if as_json:
        print_json(describe(after))
    else:
        balance = format_dollars(after.balance_nanodollars)
        typer.echo(f"{format_dollars(amount)} granted to {after.name}; the balance is {balance}")
