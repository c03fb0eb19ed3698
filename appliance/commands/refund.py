"""``appliance refund``: money that goes back to whoever paid."""

import uuid
from typing import Annotated

import typer

from appliance.commands.account import AsJson, Reason
from appliance.commands.payment import PaymentId, describe
from appliance.commands.session import actor, fail, print_json, print_table, transact
from billing.payments import records
from billing.payments.records import Refund
from billing.prices.money import NANODOLLARS_PER_CENT, format_dollars, parse_cents

app = typer.Typer(help="Pay back, and see to what could not be paid back.", no_args_is_help=True)

RefundId = Annotated[uuid.UUID, typer.Argument(help="`appliance refund list` shows them.")]
WAITING = ("asked", "taken", "sent", "failed")
COLUMNS = {
    "id": "REFUND", "payment_id": "PAYMENT", "state": "STATE", "paid": "GROSS", "actor": "WHO", "reason": "REASON",
    "failure": "WHY NOT",
}  # fmt: skip


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """Refunds that are not done, oldest first; those that failed wait for you."""
    found = transact(lambda connection: records.refunds_in(connection, *WAITING))
    documents = [describe(one) for one in found]
    if as_json:
        print_json(documents)
        return
    for document in documents:
        document["paid"] = format_dollars(document["gross_cents"] * NANODOLLARS_PER_CENT)
    print_table(COLUMNS, documents)


@app.command()
def pay(
    payment: PaymentId,
    reason: Reason,
    amount: Annotated[str | None, typer.Option(help="Dollars of credit; all that is left without it.")] = None,
) -> None:
    """Take credit of a payment back, and pay it back by Stripe."""
    from appliance.commands.paying import at_the_till

    try:
        cents = None if amount is None else parse_cents(amount)
    except ValueError as error:
        raise fail(str(error)) from None
    _say(at_the_till(lambda till: till.refunds.by_operator(payment, actor(), reason, cents)))


@app.command()
def note(
    stripe_id: Annotated[str, typer.Argument(help="Of a refund that was made in Stripe's own pages: re_…")],
    reason: Reason,
) -> None:
    """Take the credit of a refund that was made at Stripe itself."""
    from appliance.commands.paying import at_the_till

    _say(at_the_till(lambda till: till.refunds.adopt(stripe_id, actor(), reason)))


@app.command()
def again(refund: RefundId, reason: Reason) -> None:
    """Try a refund that failed once more. The worker sends it."""
    from appliance.commands.paying import at_the_till

    _say(at_the_till(lambda till: till.refunds.again(refund, actor(), reason)))


@app.command()
def otherwise(refund: RefundId, reason: Reason) -> None:
    """Put on record that a refund that failed was paid by other means; the reason says how."""
    from appliance.commands.paying import at_the_till

    _say(at_the_till(lambda till: till.refunds.otherwise(refund, actor(), reason)))


def _say(refund: Refund) -> None:
    gross = format_dollars(refund.gross_cents * NANODOLLARS_PER_CENT)
    typer.echo(f"refund {refund.id} of {gross} is {refund.state}")
