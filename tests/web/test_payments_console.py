"""What the operator sees of payments, and does: refunds beyond the rule, plans ended, webhooks replayed."""

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import insert, update

from billing.charging.admission import Admission, Admitted, Request
from billing.charging.settlement import Ended, Metered, Settlement
from billing.customers.accounts import list_lots
from billing.customers.keys import create_key, digest
from billing.database import sales
from billing.database.partitions import make_partitions
from billing.ids import new_id
from billing.payments.records import payments_of
from billing.payments.subscribed import running_of
from billing.prices.pricing import Tokens
from billing.prices.rates import Prices, first_rates
from billing.store.postgres import PostgresStore
from tests.web.conftest import Browser, House
from tests.web.shopping import (
    account_of,
    balance_of,
    buy,
    paid,
    pay,
    post_documents,
    say_who_buys,
    sent_to_stripe,
)


@pytest.fixture
async def ada(house: House) -> Browser:
    browser = house.browser()
    await browser.sign_up()
    await say_who_buys(browser)
    return browser


@pytest.fixture
async def operator(house: House) -> Browser:
    browser = house.browser("198.51.100.1")
    await browser.become_operator()
    return browser


async def test_a_customers_page_has_all_that_they_bought(house: House, ada: Browser, operator: Browser) -> None:
    await buy(house, ada, 10)
    await post_documents(house)
    number = await account_of(house)
    assert f"/console/customers/{number}/billing" in (await operator.get(f"/console/customers/{number}")).text
    shown = await operator.get(f"/console/customers/{number}/billing")
    for told in ("Ada King", "0155 Oslo", "Norway", "Consumer", "credited", "$10.00", "receipt"):
        assert told in shown.words, told
    assert "credited" in (await operator.get("/console/payments")).words
    sold = await operator.get("/console/sales")
    assert "receipt" in sold.words
    assert "$2.00" in sold.words
    assert (await operator.get("/console/sales?period=1999")).status == 400
    assert (await operator.get("/console/customers/999/billing")).status == 404


async def test_the_operator_refunds_a_part_beyond_the_rule_and_once(
    house: House, ada: Browser, operator: Browser
) -> None:
    await buy(house, ada, 10)
    number, payment = await account_of(house), await newest(house)
    house.clock.turn(days=31)
    operator = await again(house, operator)
    here = f"/console/customers/{number}/billing"
    asked = await operator.get(f"{here}/refund?payment={payment}")
    assert "30 days ago" in asked.words
    form = {"payment": str(payment), "refund": asked.field("refund"), "amount": "4", "reason": "good will"}
    for wrong in ({"reason": " "}, {"amount": "10.01"}, {"amount": "x"}, {"amount": "0"}, {"refund": "x"}):
        assert (await operator.post(f"{here}/refund", form | wrong)).status == 400, wrong
    for _ in range(2):
        assert "That is done" in (await operator.post(f"{here}/refund", form)).words
    assert await balance_of(house, number) == 600
    assert "good will" in (await operator.get(here)).words
    refunds = house.sandbox.state.table("refund").rows.values()
    assert [row["amount"] for row in refunds] == [400]
    assert (await operator.get(f"/console/customers/1/billing/refund?payment={payment}")).status == 400


async def test_a_refund_that_failed_is_tried_again_or_paid_otherwise(
    house: House, ada: Browser, operator: Browser
) -> None:
    failed = [await failed_refund(house, await paid(house, await account_of(house))) for _ in range(2)]
    shown = await operator.get("/console/payments?show=refunds")
    assert "Refunds that failed: 2" in shown.words
    assert "lost_or_stolen_card" in shown.words
    form = {"refund": str(failed[0]), "outcome": "otherwise", "reason": "by bank"}
    assert (await operator.post("/console/payments/refund", form | {"reason": ""})).status == 400
    assert (await operator.post("/console/payments/refund", form | {"outcome": "x"})).status == 400
    assert (await operator.post("/console/payments/refund", form | {"refund": str(uuid.uuid4())})).status == 400
    assert "Refunds that failed: 1" in (await operator.post("/console/payments/refund", form)).words
    tried = form | {"refund": str(failed[1]), "outcome": "again"}
    assert "Refunds that failed: 0" in (await operator.post("/console/payments/refund", tried)).words


async def test_disputes_show_until_when_they_are_to_be_answered(
    house: House, operator: Browser, ada: Browser
) -> None:
    payment, now = await paid(house, await account_of(house)), house.clock()
    row = {
        "id": "du_1", "payment_id": payment, "cause": new_id(now), "state": "open", "cents": 1000,
        "reason": "fraudulent", "opened_at": now, "due_at": now + timedelta(days=7),
    }  # fmt: skip
    async with house.database.begin() as connection:
        await connection.execute(insert(sales.dispute).values(row))
    shown = await operator.get("/console/payments?show=disputes")
    assert "Open disputes: 1" in shown.words
    assert "fraudulent" in shown.words
    assert "fraudulent" in (await operator.get(f"/console/customers/{await account_of(house)}/billing")).words


async def test_the_operator_ends_a_plan_with_a_reason(house: House, ada: Browser, operator: Browser) -> None:
    pay(house, await sent_to_stripe(ada, "/plan/subscribe", {"plan": "starter"}))
    await ada.get("/plan/subscribed")
    here = f"/console/customers/{await account_of(house)}/billing"
    assert "Starter" in (await operator.get(here)).words
    assert (await operator.post(f"{here}/plan", {"reason": " "})).status == 400
    ended = await operator.post(f"{here}/plan", {"reason": "the key was shared"})
    assert "ended" in ended.words
    async with house.database.begin() as connection:
        assert await running_of(connection, await account_of(house)) is None
    assert "Your plan Starter ended" in (await ada.get("/plan")).words


async def test_what_stripe_told_is_seen_and_replayed(house: House, operator: Browser) -> None:
    now = house.clock()
    row = {
        "id": "evt_1", "kind": "charge.dispute.created", "object": "du_1", "came_by": "webhook", "created_at": now,
        "received_at": now, "due_at": now + timedelta(hours=1), "tries": 3, "error": "there is no payment",
    }  # fmt: skip
    async with house.database.begin() as connection:
        await connection.execute(insert(sales.stripe_event).values(row))
        await connection.execute(insert(sales.stripe_mark).values(name="webhook_refused", at=now))
    shown = await operator.get("/console/webhooks")
    assert "Waiting 1 Of them failed 1 Handled 0" in shown.words
    assert "tried 3 times: there is no payment" in shown.words
    assert (await operator.post("/console/webhooks/replay", {"event": "evt_2"})).status == 400
    assert (await operator.post("/console/webhooks/replay", {"event": "evt_1"})).status == 200
    async with house.database.begin() as connection:
        handled = update(sales.stripe_event).values(handled_at=now, error=None)
        await connection.execute(handled)
    assert "Handled 1" in (await operator.get("/console/webhooks")).words


async def test_a_whole_story_of_a_customer_who_buys(house: House, ada: Browser) -> None:
    """Credit, a refund that is refused and one that is not; a plan, dearer in the middle, and cancelled."""
    number = await account_of(house)
    await buy(house, ada, 10)
    assert "$10.00" in (await ada.get("/dashboard")).words
    used = await use_some(house, number)
    shown = await ada.get("/credit")
    assert "Some of it is used." in shown.words
    refused = await ada.get(f"/credit/refund?payment={await newest(house)}")
    assert "Some of it is used." in refused.words
    house.clock.turn(minutes=1)
    await buy(house, ada, 25)
    second = await newest(house)
    await ada.post("/credit/refund", {"payment": str(second)})
    assert await balance_of(house, number) == 1000 - used
    async with house.database.begin() as connection:
        lots = await list_lots(connection, number)
    assert [lot.remaining_nanodollars > 0 for lot in lots] == [True, False]

    back = pay(house, await sent_to_stripe(ada, "/plan/subscribe", {"plan": "starter"}))
    assert back is not None
    assert "Your plan runs" in (await ada.get(back)).words
    house.clock.turn(days=15)
    await ada.sign_in()
    preview = await ada.get("/plan/choose/team")
    now = preview.words.partition("You pay now $")[2].partition(" ")[0]
    form = {"plan": "team", "preview": preview.field("preview")}
    assert "Your plan is changed" in (await ada.post("/plan/upgrade", form)).words
    charges = [row["amount"] for row in house.sandbox.state.table("charge").rows.values() if row["paid"]]
    assert charges == [1000, 2500, 1000, round(float(now) * 100)]
    assert "You have cancelled" in (await ada.post("/plan/cancel")).words
    async with house.database.begin() as connection:
        running = await running_of(connection, number)
    assert running is not None
    assert (running.version.plan, running.cancels) == ("team", True)
    assert await post_documents(house) == 5
    titles = (await ada.get("/documents")).words
    assert (titles.count("Receipt "), titles.count("Credit note ")) == (4, 1)


async def use_some(house: House, account_id: int) -> int:
    """Asks a model; what it cost, in cents."""
    store, clock = PostgresStore(house.database), house.clock
    async with house.database.begin() as connection:
        await make_partitions(connection, clock)
        await first_rates(connection, {"m": Prices(1_000_000, 1_000_000, 100_000_000)}, clock)
        _, key = await create_key(connection, account_id, "program", b"pepper", clock)
    request = Request(new_id(clock()), digest(b"pepper", key), "m", "/v1/chat/completions", 10, 10_000)
    decision = await Admission(store, clock).admit(request)
    assert isinstance(decision, Admitted), decision
    before = await balance_of(house, account_id)
    await Settlement(store, clock).settle(Metered(request.id, account_id, Tokens(10, 0, 10_000), Ended.COMPLETE))
    return before - await balance_of(house, account_id)


async def again(house: House, operator: Browser) -> Browser:
    """The operator's session is over after a while: a new one, with a new second factor."""
    await operator.second_factor_off_by_hand()
    await operator.sign_in("op@example.com")
    await operator.second_factor()
    return operator


async def failed_refund(house: House, payment: uuid.UUID) -> uuid.UUID:
    refund_id, now = new_id(house.clock()), house.clock()
    row = {
        "id": refund_id, "payment_id": payment, "state": "failed", "value_nanodollars": 10 * 10**9,
        "net_cents": 800, "vat_cents": 200, "gross_cents": 1000, "actor": "customer", "reason": "x",
        "stripe_id": f"re_{payment}", "failure": "lost_or_stolen_card", "created_at": now,
    }  # fmt: skip
    async with house.database.begin() as connection:
        await connection.execute(insert(sales.refund).values(row))
    return refund_id


async def newest(house: House) -> uuid.UUID:
    async with house.database.begin() as connection:
        return (await payments_of(connection, await account_of(house)))[0].id
