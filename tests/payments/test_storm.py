"""Ten thousand webhooks: twice, out of order, late, lost, forged and stale. Each true one takes effect once."""

import asyncio
import json
import random

import pytest

from appliance.stripe_sandbox.webhooks import signature
from billing.database.db import fetch
from billing.errors import BillingError, DatabaseUnavailable
from billing.payments.inbox import store
from billing.payments.provider import BadSignature, EventSeen
from billing.prices.money import NANODOLLARS_PER_CENT
from tests.conftest import Figure
from tests.payments.conftest import BOUNDS, Counter
from tests.stripe_sandbox.inprocess import SECRET

WEBHOOKS, AT_ONCE = 10_000, 8
CUSTOMERS, BUYS = 20, 8
FORGED_SECRET = "whsec_" + "f" * 32
FAR_FUTURE = 10


@pytest.mark.timeout(1200)
async def test_a_storm_of_webhooks(counter: Counter, figure: Figure) -> None:
    chance = random.Random(7)
    customers = [await counter.customer() for _ in range(CUSTOMERS)]
    paid: dict[int, list[int]] = {customer.account_id: [] for customer in customers}
    for customer in customers:
        for _ in range(BUYS):
            cents = chance.randrange(BOUNDS.least, BOUNDS.most_a_day // BUYS)
            page = await counter.order(customer, cents)
            if chance.random() < 0.9:
                page.pay()
                paid[customer.account_id].append(cents * NANODOLLARS_PER_CENT)
    true = [json.loads(delivery.body) for delivery in counter.sandbox.deliveries()]
    lost = {event["id"] for event in true if chance.random() < 0.2}
    sent = [event for event in true if event["id"] not in lost]
    forged = 0
    for first in range(0, WEBHOOKS, AT_ONCE):
        came = [webhook(counter, chance, chance.choice(sent), first + number) for number in range(AT_ONCE)]
        forged += sum(await asyncio.gather(*came))
        if first % 1000 == 0:
            await counter.till.inbox.run_once()
    assert await counter.till.sweep.find_events() >= len(lost) > 0
    await counter.till.inbox.run_once()
    counter.bank.clock.turn(seconds=30)
    await counter.till.inbox.run_once()

    assert await counter.errors() == []
    assert {account: sorted(await counter.lots(account)) for account in paid} == {
        account: sorted(amounts) for account, amounts in paid.items()
    }
    at_stripe = sum(row["amount_received"] for row in counter.sandbox.state.table("payment_intent").rows.values())
    assert await counter.moved("purchase") == at_stripe * NANODOLLARS_PER_CENT
    async with counter.database.begin() as connection:
        (row,) = await fetch(connection, "SELECT count(*) AS events, count(DISTINCT id) AS ids FROM stripe_event")
    assert row.events == row.ids == len(counter.sandbox.state.table("event").rows)
    figure("webhooks that were refused, and true events", f"{forged}, {row.events}")


async def webhook(counter: Counter, chance: random.Random, event: dict[str, object], number: int) -> int:
    """1 if it was a lie, and refused."""
    kind = chance.random()
    if kind < 0.1:  # somebody who does not know the secret
        return await refused(counter, event, FORGED_SECRET, 0)
    if kind < 0.2:  # somebody who has recorded one
        return await refused(counter, event, SECRET, -301)
    if kind < 0.3:  # what was signed is not what came
        return await refused(counter, event, SECRET, 0, other=f" {number}")
    await receive(counter, event, SECRET, 0)
    return 0


async def refused(counter: Counter, event: dict[str, object], secret: str, seconds: int, other: str = "") -> int:
    """What it claims never happened. Always 1."""
    lie = event | {"id": f"evt_forged_{seconds}", "type": "checkout.session.completed"}
    try:
        await receive(counter, lie, secret, seconds, other)
    except BadSignature:
        return 1
    raise AssertionError("a lie was believed")


async def receive(counter: Counter, event: dict[str, object], secret: str, seconds: int, other: str = "") -> None:
    body = json.dumps(event).encode()
    signed = signature(body, secret, int(counter.bank.clock().timestamp()) + seconds)
    await counter.till.inbox.receive(body + other.encode(), signed)


async def test_a_killed_workers_events_are_free_again(counter: Counter) -> None:
    ada = await counter.customer()
    page = await counter.order(ada)
    page.pay()
    await counter.deliver()
    async with counter.database.begin() as connection:  # as a worker does that is killed then
        claim = "UPDATE stripe_event SET due_at = due_at + interval '5 minutes', tries = 1"
        await connection.exec_driver_sql(claim)
    assert await counter.till.inbox.run_once() == 0
    counter.bank.clock.turn(minutes=6)
    assert await counter.till.inbox.run_once() > 0
    assert len(await counter.lots(ada.account_id)) == 1


async def test_what_the_database_cut_off_is_tried_again_within_seconds(counter: Counter) -> None:
    ada = await counter.customer()
    page = await counter.order(ada)
    page.pay()
    await counter.deliver()
    events, done = await counter.till.inbox.waiting(), []

    async def cut_off(event: EventSeen) -> None:
        if event.id != events[-1].id:
            raise DatabaseUnavailable("it is being started anew")
        await asyncio.sleep(0.05)
        done.append(event.id)

    real, counter.till.inbox._handlers = counter.till.inbox._handlers, [("", cut_off)]
    with pytest.raises(DatabaseUnavailable):
        await counter.till.inbox.run_once()
    assert done == [events[-1].id], "the others are handled to their end"
    counter.till.inbox._handlers = real
    await counter.till.inbox.run_once()
    assert await counter.lots(ada.account_id) == [], "it has its pause"
    counter.bank.clock.turn(seconds=10)
    await counter.till.inbox.run_once()
    assert len(await counter.lots(ada.account_id)) == 1
    assert await counter.errors() == []


async def test_an_event_that_fails_is_tried_later_and_later_and_once_more_by_the_operator(
    counter: Counter,
) -> None:
    ada = await counter.customer()
    page = await counter.order(ada)
    page.pay()
    await counter.deliver()
    real, counter.till.inbox._handlers = counter.till.inbox._handlers, [("", fails)]
    waits = []
    for _ in range(FAR_FUTURE):
        await counter.till.inbox.run_once()
        (event, *_) = await counter.till.inbox.waiting()
        waits.append((event.due_at - counter.bank.clock()).total_seconds())
        assert event.error == "not today"
        counter.bank.clock.now = event.due_at
    assert waits == sorted(waits)
    assert waits[-1] <= 3600 < sum(waits)
    counter.till.inbox._handlers = real
    for waiting in await counter.till.inbox.waiting():
        await counter.till.inbox.replay(waiting.id, "operator")
    await counter.till.inbox.run_once()
    assert len(await counter.lots(ada.account_id)) == 1


async def test_what_is_no_more_is_nobodys_business(counter: Counter) -> None:
    ada = await counter.customer()
    await counter.order(ada)
    await counter.deliver()
    for table in ("payment_intent", "checkout.session"):
        counter.sandbox.state.table(table).rows.clear()
    now = counter.bank.clock()
    async with counter.database.begin() as connection:
        await store(connection, [EventSeen("evt_gone", "payment_intent.created", "pi_gone", now)], "sweep", now)
    await counter.till.inbox.run_once()
    assert await counter.errors() == []
    assert await counter.till.inbox.waiting() == []


async def test_an_event_about_nothing_that_stripe_keeps_is_done_with(counter: Counter) -> None:
    """As ``invoice.upcoming``: there is no such invoice yet, and it has no id."""
    now = counter.bank.clock()
    seen = {"id": "evt_1", "object": "event", "type": "invoice.upcoming", "created": int(now.timestamp())}
    body = json.dumps(seen | {"data": {"object": {"object": "invoice"}}}).encode()
    await counter.till.inbox.receive(body, signature(body, SECRET, int(now.timestamp())))
    counter.till.inbox._handlers = [("", fails)]
    await counter.till.inbox.run_once()
    assert await counter.till.inbox.waiting() == []


async def fails(_: object) -> None:
    raise BillingError("not today")
