"""Plans on the site: what is offered, what a change costs before it is agreed to, and the way out."""

import re

import pytest

from appliance.till import open_till
from billing.customers.accounts import list_lots
from billing.payments.subscribed import Subscription, running_of
from tests.stripe_sandbox.inprocess import client
from tests.web.conftest import Browser, House, Page
from tests.web.shopping import DECLINED, WHO, account_of, pay, say_who_buys, sent_to_stripe


@pytest.fixture
async def ada(house: House) -> Browser:
    browser = house.browser()
    await browser.sign_up()
    await say_who_buys(browser)
    return browser


async def test_plans_are_offered_to_everybody_with_what_is_in_them(house: House) -> None:
    front = await house.browser().get("/")
    for told in ("Starter", "$10.00", "$12.00 of usage each month", "120 requests a minute", "Team", "Fixed"):
        assert told in front.words, told
    norwegian = await house.browser().get("/", accept_language="nb")
    assert "$12.00 i bruk hver måned" in norwegian.words


async def test_a_plan_is_previewed_paid_for_and_runs(house: House, ada: Browser) -> None:
    preview = await ada.get("/plan/choose/starter")
    assert "You pay now $10.00" in preview.words
    assert "VAT in it $2.00" in preview.words
    shown = await subscribe(house, ada, "starter")
    assert "Your plan runs" in shown.words
    assert "Your plan Starter You pay, a month $10.00" in shown.words
    assert (await allowance(house)) == 1200
    assert (await ada.get("/plan/choose/starter")).status == 409
    assert (await ada.post("/plan/subscribe", {"plan": "team"})).status == 409


async def test_who_buys_is_asked_before_a_plan_too(house: House) -> None:
    bob = house.browser()
    await bob.sign_up()
    asked = await bob.get("/plan/choose/team")
    assert asked.path == "/billing"
    assert (await bob.post("/billing", WHO | {"next": asked.field("next")})).path == "/plan/choose/team"


async def test_whoever_does_not_pay_has_no_plan(house: House, ada: Browser) -> None:
    url = await sent_to_stripe(ada, "/plan/subscribe", {"plan": "starter"})
    assert pay(house, url, DECLINED) is None
    assert "No plan has begun" in (await ada.get("/plan/subscribed")).words
    assert await running(house) is None


async def test_an_upgrade_charges_what_was_shown_and_once(house: House, ada: Browser) -> None:
    await subscribe(house, ada, "starter")
    house.clock.turn(days=10)
    await ada.sign_in()
    preview = await ada.get("/plan/choose/team")
    cents = shown_now(preview)
    assert 2500 < cents < 3000
    form = {"plan": "team", "preview": preview.field("preview")}
    for _ in range(2):
        assert "Your plan is changed" in (await ada.post("/plan/upgrade", form)).words
    assert charged(house) == [1000, cents]
    now = await running(house)
    assert now is not None
    assert now.version.plan == "team"


async def test_an_amount_that_was_changed_on_the_way_is_not_taken(house: House, ada: Browser) -> None:
    await subscribe(house, ada, "starter")
    house.clock.turn(days=10)
    await ada.sign_in()
    preview = await ada.get("/plan/choose/team")
    cheaper = re.sub(r'"cents":\d+', '"cents":1', preview.field("preview"))
    refused = await ada.post("/plan/upgrade", {"plan": "team", "preview": cheaper})
    assert (refused.status, "The amount has changed" in refused.words) == (409, True)
    nowhere = re.sub(r'"at":"([^"]*)Z"', r'"at":"\1"', preview.field("preview"))
    assert nowhere != preview.field("preview")
    for broken in ("", "{}", "x", '{"kind":"upgrade"}', nowhere):
        assert (await ada.post("/plan/upgrade", {"plan": "team", "preview": broken})).status == 400
    house.clock.turn(hours=1)
    late = await ada.post("/plan/upgrade", {"plan": "team", "preview": preview.field("preview")})
    assert late.status == 409
    assert charged(house) == [1000]


async def test_a_cheaper_plan_begins_at_the_renewal_and_can_be_taken_back(house: House, ada: Browser) -> None:
    await subscribe(house, ada, "team")
    preview = await ada.get("/plan/choose/starter")
    assert "You pay now $0.00" in preview.words
    planned = await ada.post("/plan/downgrade", {"plan": "starter"})
    assert "you have Starter, for $10.00 a month" in planned.words
    kept = await ada.post("/plan/take-back")
    assert "Your plan goes on as it is" in kept.words
    assert "you have Starter" not in kept.words
    assert (await ada.post("/plan/take-back")).status == 409, "there is nothing to take back"


async def test_whoever_cancels_keeps_the_plan_and_can_take_it_back(house: House, ada: Browser) -> None:
    await subscribe(house, ada, "starter")
    assert "You keep all of it until" in (await ada.get("/plan/cancel")).words
    cancelled = await ada.post("/plan/cancel")
    assert "You have cancelled" in cancelled.words
    assert await allowance(house) == 1200
    assert "Your plan goes on as it is" in (await ada.post("/plan/resume")).words
    assert (await ada.post("/plan/resume")).status == 409, "there is nothing to take back"
    await ada.post("/plan/cancel")
    row = await running(house)
    assert row is not None
    assert row.cancels


async def test_a_plan_that_is_not_there_is_not_found_and_not_taken(house: House, ada: Browser) -> None:
    assert (await ada.get("/plan/choose/nothing")).status == 404
    for path in ("/plan/subscribe", "/plan/upgrade", "/plan/downgrade"):
        assert (await ada.post(path, {"plan": "nothing"})).status == 400
    for path in ("/plan/take-back", "/plan/cancel", "/plan/resume"):
        assert (await ada.post(path)).status == 409
    assert (await ada.get("/plan/cancel")).path == "/plan"
    assert (await ada.get("/plan/pay")).path == "/plan"


async def test_a_renewal_that_is_not_paid_is_said_with_the_way_to_pay(house: House, ada: Browser) -> None:
    await subscribe(house, ada, "starter")
    declined = await ada.get("/plan/choose/team")
    await card_fails(house)
    refused = await ada.post("/plan/upgrade", {"plan": "team", "preview": declined.field("preview")})
    assert (refused.status, "The card was declined. Nothing was charged" in refused.words) == (402, True)
    house.clock.turn(days=32)
    await follow(house)
    await ada.sign_in()
    for path in ("/dashboard", "/plan"):
        assert "Your renewal is not paid. Your plan stays until" in (await ada.get(path)).words
    ada.client.follow_redirects = False
    to_pay = await ada.get("/plan/pay")
    assert to_pay.headers["location"].startswith("http://127.0.0.1:8002/")
    ada.client.follow_redirects = True
    assert "Its renewal is not paid, so it ends at once" in (await ada.get("/plan/cancel")).words
    house.clock.turn(days=9)
    await follow(house)
    await ada.sign_in()
    assert "Your plan Starter ended" in (await ada.get("/plan")).words


async def card_fails(house: House) -> None:
    """The plan's card is one that pays nothing any more."""
    row = await running(house)
    assert row is not None
    assert row.stripe_id is not None
    api = client(house.sandbox).v1
    customer = (await api.subscriptions.retrieve_async(row.stripe_id)).customer
    method = await api.payment_methods.attach_async("pm_card_chargeCustomerFail", {"customer": str(customer)})
    await api.subscriptions.update_async(row.stripe_id, {"default_payment_method": method.id})


async def follow(house: House) -> None:
    """As the worker does, without a webhook."""
    assert house.provider is not None
    till = open_till(house.settings, house.provider, house.database, house.clock)
    house.sandbox.catch_up()
    await till.sweep.find_events()
    await till.inbox.run_once()
    await till.upkeep.run_once()


async def subscribe(house: House, browser: Browser, plan: str) -> Page:
    back = pay(house, await sent_to_stripe(browser, "/plan/subscribe", {"plan": plan}))
    assert back is not None
    return await browser.get(back)


async def running(house: House) -> Subscription | None:
    async with house.database.begin() as connection:
        return await running_of(connection, await account_of(house))


async def allowance(house: House) -> int:
    """In cents."""
    async with house.database.begin() as connection:
        lots = await list_lots(connection, await account_of(house))
    return sum(lot.remaining_nanodollars for lot in lots if lot.source == "allowance") // 10_000_000


def shown_now(preview: Page) -> int:
    """In cents."""
    found = re.search(r"You pay now \$(\d+)\.(\d\d)", preview.words)
    assert found is not None, preview.words
    return int(found[1] + found[2])


def charged(house: House) -> list[int]:
    """What went through at Stripe, in cents, oldest first."""
    charges = house.sandbox.state.table("charge").rows.values()
    return [row["amount"] for row in charges if row["paid"]]
