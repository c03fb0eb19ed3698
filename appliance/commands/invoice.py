"""``appliance invoice``: what postpaid accounts have not paid yet, and what came by bank."""

from datetime import datetime
from typing import Annotated

import typer
from msgspec import to_builtins
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.account import AsJson, Reason
from appliance.commands.owing import act_on_debts, act_on_invoices
from appliance.commands.session import actor, dollars, fail, print_json, print_table, transact
from billing.clock import system_clock
from billing.payments.bank_refunds import BankRefunds
from billing.payments.invoices import BankTransfers, Unpaid, unpaid
from billing.prices.money import NANODOLLARS_PER_CENT, format_dollars

app = typer.Typer(help="Invoices of postpaid accounts.", no_args_is_help=True)

COLUMNS = {"name": "INVOICE", "account_id": "ACCOUNT", "due_on": "DUE", "gross": "AMOUNT", "left": "UNPAID"}


@app.command("list")
def list_unpaid(as_json: AsJson = False) -> None:
    """Those that are not paid, or not wholly, the one that is due first first."""

    async def work(connection: AsyncConnection) -> list[Unpaid]:
        return list(await unpaid(connection))

    found = transact(work)
    if as_json:
        print_json([to_builtins(one) for one in found])
        return
    rows = [
        to_builtins(one) | {"gross": _dollars(one.gross_cents), "left": _dollars(one.left_cents)} for one in found
    ]
    print_table(COLUMNS, rows)


@app.command()
def paid(
    number: Annotated[str, typer.Argument(help="As it is written on the invoice.")],
    on: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Day of the payment, of your bank.")],
    amount: Annotated[str | None, typer.Option(help="In dollars; all that is left without it.")] = None,
) -> None:
    """Note a payment that came by bank. One by card is noted by itself."""
    cents = _cents(amount)
    left = act_on_invoices(
        lambda database, credit: BankTransfers(database, credit, system_clock).note(
            number, on.date(), cents, actor()
        )
    )
    rest = "paid" if left is None else f"{_dollars(left.left_cents)} is left"
    typer.echo(f"invoice {number}: {rest}")


@app.command()
def credit(
    number: Annotated[str, typer.Argument(help="As it is written on the invoice.")],
    reason: Reason,
    amount: Annotated[str | None, typer.Option(help="In dollars, with tax; all that is left without it.")] = None,
) -> None:
    """An unpaid invoice is wrong, or is not to be paid: it is credited. The worker sends the credit note."""
    cents = _cents(amount)
    credited = act_on_debts(lambda debts: debts.credit_invoice(number, cents, actor(), reason))
    typer.echo(f"{_dollars(credited)} of invoice {number} credited")


@app.command("paid-back")
def paid_back(
    number: Annotated[str, typer.Argument(help="As it is written on the invoice.")],
    on: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Day on which you paid it back.")],
    reason: Reason,
    amount: Annotated[str | None, typer.Option(help="In dollars, with tax; all that came without it.")] = None,
) -> None:
    """Note what you paid back by bank of what came by bank. It is credited: the worker sends the credit note."""
    cents = _cents(amount)
    back = act_on_invoices(
        lambda database, credit: BankRefunds(database, credit, system_clock).note(
            number, on.date(), cents, actor(), reason
        )
    )
    typer.echo(f"{_dollars(back)} of invoice {number} credited and paid back")


def _cents(amount: str | None) -> int | None:
    given = None if amount is None else dollars(amount)
    if given is not None and given % NANODOLLARS_PER_CENT:
        raise fail(f"{amount} is finer than a cent")
    return None if given is None else given // NANODOLLARS_PER_CENT


def _dollars(cents: int) -> str:
    return format_dollars(cents * NANODOLLARS_PER_CENT)
