"""Credit by a saved card: bought once, refused for a reason, paid back, contested, accounted for."""

from typing import Any

import pytest

from billing.charging.admission import Refusal
from billing.database.db import fetch
from billing.errors import Conflict
from billing.payments import records
from billing.payments.records import Dispute, Payment, Refund
from billing.store.port import End
from tests.stripe_account.merchant import ALL, DOLLAR, Merchant

AVAILABLE = "pm_card_bypassPending"
"""Its money can be paid back at once, on an account that has none."""


async def test_a_top_up_is_one_lot_however_often_it_is_told(merchant: Merchant) -> None:
    ada, payment = await merchant.topped_up("pm_card_visa")
    assert (payment.state, payment.gross_cents) == ("credited", 2000)

    async def told() -> bool:
        events = await merchant.till.inbox.newest(ALL)
        return any((one.object, one.kind) == (payment.intent, "payment_intent.succeeded") for one in events)

    await merchant.until(told)
    for _ in range(3):
        await merchant.hear_again()
        assert await merchant.till.top_ups.run_once() == 0
    assert {event.came_by for event in await merchant.till.inbox.newest(ALL)} == {"sweep"}
    assert await merchant.lots(ada) == [(20 * DOLLAR, End.EXPIRY)]
    assert (await ada.account()).balance_nanodollars == 20 * DOLLAR
    intents = await merchant.api.v1.payment_intents.list_async({"customer": await merchant.at_stripe(ada)})
    assert [(one.id, one.amount_received) for one in intents.data] == [(payment.intent, 2000)]


@pytest.mark.parametrize(
    ("card", "why"),
    [
        ("pm_card_chargeCustomerFail", "generic_decline"),
        ("pm_card_authenticationRequired", "authentication_required"),
    ],
)
async def test_after_a_no_of_the_bank_the_card_is_left_alone(merchant: Merchant, card: str, why: str) -> None:
    ada = await merchant.with_card(card)
    for _ in range(2):
        assert await merchant.till.top_ups.run_once() == 0
    assert (await merchant.till.top_ups.wallet(ada.account_id)).paused == why
    assert [(one.state, one.failure) for one in await merchant.payments(ada)] == [("failed", why)]
    intents = await merchant.api.v1.payment_intents.list_async({"customer": await merchant.at_stripe(ada)})
    assert len(intents.data) == 1
    assert await merchant.lots(ada) == []


async def test_what_was_not_touched_is_paid_back(merchant: Merchant) -> None:
    ada, payment = await merchant.topped_up(AVAILABLE)
    refund = await _paid_back(merchant, payment)
    assert (refund.gross_cents, (await ada.account()).balance_nanodollars) == (2000, 0)
    assert payment.intent is not None
    seen = await merchant.provider.refunds_of(payment.intent)
    assert [(one.id, one.cents, one.reference) for one in seen] == [(refund.stripe_id, 2000, refund.id)]
    with pytest.raises(Conflict):
        await merchant.till.refunds.ask(ada.account_id, payment.id)
    assert len(await merchant.provider.refunds_of(payment.intent)) == 1


async def test_what_the_bank_contests_is_not_spent(merchant: Merchant) -> None:
    ada, payment = await merchant.topped_up("pm_card_createDispute")

    async def contested() -> Dispute | None:
        async with merchant.database.begin() as connection:
            found = await records.disputes_of(connection, payment.id)
        return found[0] if found and found[0].state == "open" else None

    dispute = await merchant.until(contested)
    assert (dispute.cents, dispute.reason) == (2000, "fraudulent")
    assert dispute.due_at is not None
    assert await merchant.lots(ada) == [(20 * DOLLAR, End.DISPUTE)]
    assert await ada.refusal() is Refusal.INSUFFICIENT_CREDIT


async def test_each_movement_of_the_balance_is_of_a_payment_with_its_fee(merchant: Merchant) -> None:
    _, payment = await merchant.topped_up(AVAILABLE)
    refund = await _paid_back(merchant, payment)

    async def moved() -> dict[str, Any] | None:
        await merchant.till.sweep.import_movements()
        async with merchant.database.begin() as connection:
            query = (
                "SELECT kind, usd_cents, cents, fee_cents, net_cents FROM stripe_movement"
                " WHERE payment_id = $1 OR source = $2"
            )
            rows = await fetch(connection, query, payment.id, refund.stripe_id)
        found = {row.kind: row for row in rows}
        return found if len(found) == len(rows) == 2 else None

    movements = await merchant.until(moved)
    assert set(movements) == {"charge", "refund"}
    charge = movements["charge"]
    assert charge.usd_cents == payment.gross_cents
    assert 0 < charge.fee_cents < charge.cents == charge.net_cents + charge.fee_cents
    assert movements["refund"].usd_cents == -refund.gross_cents
    assert await merchant.till.sweep.import_movements() == 0


async def _paid_back(merchant: Merchant, payment: Payment) -> Refund:
    """All of it, asked for by the customer; Stripe may take a while."""
    asked = await merchant.till.refunds.ask(payment.account_id, payment.id)

    async def done() -> Refund | None:
        await merchant.till.refunds.look()
        async with merchant.database.begin() as connection:
            refund = await records.refund(connection, asked.id)
        assert refund.state in ("taken", "sent", "done"), refund.failure
        return refund if refund.state == "done" else None

    return await merchant.until(done)
