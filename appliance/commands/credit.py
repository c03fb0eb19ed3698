"""``appliance credit``: what an account may spend, and what becomes of it."""

import uuid
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.account import AccountArgument, AsJson, Reason, describe, resolve
from appliance.commands.owing import act_on_debts
from appliance.commands.session import (
    act,
    actor,
    as_document,
    dollars,
    fail,
    print_json,
    print_table,
    settings,
    transact,
)
from billing.clock import system_clock
from billing.customers import accounts
from billing.ledger.credit import Credit
from billing.payments.records import payment_by
from billing.prices.money import format_dollars

app = typer.Typer(help="Give credit, refund it, settle disputes.", no_args_is_help=True)

Dollars = Annotated[str, typer.Argument(help='For example "10.00".')]
LotId = Annotated[int, typer.Argument(help="`appliance credit list` shows them.")]
Cause = Annotated[uuid.UUID | None, typer.Option(help="A UUID of your own: the same a second time does nothing.")]

COLUMNS = {
    "id": "LOT", "source": "SOURCE", "acquired_at": "ACQUIRED", "ends_at": "ENDS", "end_kind": "BY",
    "amount": "AMOUNT", "remaining": "REMAINING", "frozen": "FROZEN", "reason": "REASON",
}  # fmt: skip


@app.command()
def grant(
    account: AccountArgument,
    amount: Dollars,
    reason: Annotated[str, typer.Option(help="Kept with the credit.")] = "granted by the operator",
    expires: Annotated[datetime | None, typer.Option(help="Its end (UTC); a year from now without it.")] = None,
    cause: Cause = None,
    as_json: AsJson = False,
) -> None:
    """Grant credit to an account."""
    owner = transact(lambda connection: resolve(connection, account))
    end = None if expires is None else expires.replace(tzinfo=UTC)
    given = dollars(amount)
    act(
        lambda store: Credit(store, system_clock).grant(
            owner.id, given, reason, cause or uuid.uuid4(), actor(), end
        )
    )
    after = transact(lambda connection: accounts.get_account(connection, owner.id))
    if as_json:
        print_json(describe(after))
    else:
        balance = format_dollars(after.balance_nanodollars)
        typer.echo(f"{format_dollars(given)} granted to {after.name}; the balance is {balance}")


@app.command("list")
def list_all(account: AccountArgument, as_json: AsJson = False) -> None:
    """An account's lots of credit, oldest first."""

    async def work(connection: AsyncConnection) -> list[accounts.LotRecord]:
        return await accounts.list_lots(connection, (await resolve(connection, account)).id)

    documents = [as_document(lot) for lot in transact(work)]
    if as_json:
        print_json(documents)
        return
    for document in documents:
        for name in ("amount", "remaining", "frozen"):
            document[name] = format_dollars(document[f"{name}_nanodollars"])
    print_table(COLUMNS, documents)


@app.command()
def refund(lot: LotId, reason: Reason) -> None:
    """Take back a purchase of which nothing was used. The money itself is paid back elsewhere."""
    _require_no_payment(lot)
    days = settings().billing.refund_days
    amount = act(lambda store: Credit(store, system_clock, refund_days=days).refund(lot, actor(), reason))
    typer.echo(f"{format_dollars(amount)} to be paid back")


@app.command()
def dispute(lot: LotId) -> None:
    """The payment of a lot is disputed: what is left of it is set aside."""
    _require_no_payment(lot)
    found = act(lambda store: Credit(store, system_clock).open_dispute(lot))
    typer.echo(f"{format_dollars(found.frozen)} of lot {lot} set aside")


@app.command()
def won(lot: LotId) -> None:
    """A dispute was decided for you: what was set aside comes back."""
    _require_no_payment(lot)
    act(lambda store: Credit(store, system_clock).win_dispute(lot))
    typer.echo(f"lot {lot} is free again")


@app.command()
def lost(lot: LotId) -> None:
    """A dispute was decided for the payer: what was used already, the account owes you."""
    _require_no_payment(lot)
    shortfall = act(lambda store: Credit(store, system_clock).lose_dispute(lot))
    typer.echo(f"lot {lot} went back; the account owes {format_dollars(shortfall)}")


@app.command()
def paid(account: AccountArgument, amount: Dollars, cause: Cause = None) -> None:
    """Record a payment of what an account owes, where it names no invoice: the oldest comes first."""
    owner = transact(lambda connection: resolve(connection, account))
    given = dollars(amount)
    act_on_debts(lambda debts: debts.paid(owner.id, given, cause or uuid.uuid4(), actor()))
    typer.echo(f"{format_dollars(given)} received from {owner.name}")


@app.command()
def forgive(account: AccountArgument, amount: Dollars, reason: Reason, cause: Cause = None) -> None:
    """Write off a part of what an account owes: of its oldest invoice first."""
    owner = transact(lambda connection: resolve(connection, account))
    given = dollars(amount)
    act_on_debts(lambda debts: debts.forgive(owner.id, given, cause or uuid.uuid4(), actor(), reason))
    typer.echo(f"{format_dollars(given)} written off for {owner.name}")


def _require_no_payment(lot: int) -> None:
    """Ends the command for a lot that a payment brought: only together with its payment may it change."""
    found = transact(lambda connection: payment_by(connection, lot_id=lot))
    if found is not None:
        raise fail(
            f"lot {lot} came by payment {found.id}: `appliance refund pay {found.id}` takes it back and pays it"
            " back; disputes at Stripe are followed by themselves"
        )
