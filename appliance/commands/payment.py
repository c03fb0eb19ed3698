"""``appliance payment``: what was paid, and what Stripe told of it."""

import uuid
from typing import Annotated, Any

import msgspec
import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.account import AsJson, resolve
from appliance.commands.session import actor, print_json, print_table, transact
from billing.payments import records
from billing.payments.records import Payment
from billing.prices.money import NANODOLLARS_PER_CENT, format_dollars

app = typer.Typer(help="Look at payments, and at what Stripe told.", no_args_is_help=True)

PaymentId = Annotated[uuid.UUID, typer.Argument(help="`appliance payment list` shows them.")]
COLUMNS = {
    "id": "PAYMENT", "created_at": "ORDERED", "account_id": "ACCOUNT", "kind": "KIND", "state": "STATE",
    "paid": "GROSS", "failure": "WHY NOT",
}  # fmt: skip
EVENTS = {
    "id": "EVENT", "kind": "KIND", "object": "OF", "created_at": "AT", "tries": "TRIES", "error": "ERROR",
}  # fmt: skip


def describe(one: msgspec.Struct) -> dict[str, Any]:
    """As JSON has it."""
    document: dict[str, Any] = msgspec.to_builtins(one)
    return document


@app.command("list")
def list_all(
    account: Annotated[str | None, typer.Argument(help="An account's id or name; all without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """The newest payments first."""

    async def work(connection: AsyncConnection) -> list[Payment]:
        if account is None:
            return list(await records.newest_payments(connection))
        return list(await records.payments_of(connection, (await resolve(connection, account)).id))

    documents = [describe(one) for one in transact(work)]
    if as_json:
        print_json(documents)
        return
    for document in documents:
        document["paid"] = format_dollars(document["gross_cents"] * NANODOLLARS_PER_CENT)
    print_table(COLUMNS, documents)


@app.command()
def show(payment: PaymentId) -> None:
    """One payment with its refunds and disputes, as JSON."""

    async def work(connection: AsyncConnection) -> dict[str, Any]:
        refunds = await records.refunds_of(connection, payment)
        disputes = await records.disputes_of(connection, payment)
        return describe(await records.payment(connection, payment)) | {
            "refunds": [describe(one) for one in refunds],
            "disputes": [describe(one) for one in disputes],
        }

    print_json(transact(work))


@app.command()
def look(payment: PaymentId) -> None:
    """Ask Stripe after a payment now, and credit it if it is paid."""
    from appliance.commands.paying import at_the_till

    after = at_the_till(lambda till: till.shop.look(payment))
    typer.echo(f"payment {after.id} is {after.state}")


@app.command()
def events(as_json: AsJson = False) -> None:
    """What Stripe told and is not handled yet, oldest first, with the errors."""
    from appliance.commands.paying import at_the_till

    documents = [describe(one) for one in at_the_till(lambda till: till.inbox.waiting())]
    if as_json:
        print_json(documents)
    else:
        print_table(EVENTS, documents)


@app.command()
def replay(event: Annotated[str, typer.Argument(help="Stripe's id: evt_…")]) -> None:
    """Have an event handled once more, by the worker."""
    from appliance.commands.paying import at_the_till

    at_the_till(lambda till: till.inbox.replay(event, actor()))
    typer.echo(f"event {event} is handled once more")
