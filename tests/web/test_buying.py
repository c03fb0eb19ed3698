"""Credit is bought on the site: what is shown before, what comes back after, and what goes back."""

import dataclasses
import uuid

import msgspec
import pytest

from billing.payments.records import payments_of, wallet
from billing.payments.subscriptions.changes import Preview
from tests.web.conftest import CHAT, Browser, House
from tests.web.shopping import (
    DECLINED,
    WHO,
    account_of,
    balance_of,
    buy,
    pay,
    say_who_buys,
    sent_to_stripe,
)


@pytest.fixture
async def ada(house: House) -> Browser:
    browser = house.browser()
    await browser.sign_up()
    await say_who_buys(browser)
    return browser


async def test_what_it_costs_is_shown_with_the_tax_before_anything_is_paid(house: House, ada: Browser) -> None:
    summary = await ada.post("/credit", {"amount": "25"})
    assert summary.path == "/credit/buy/2500"
    for told in ("$25.00", "VAT 25 %", "$5.00", "Ada King", "0155 Oslo"):
        assert told in summary.words, told
    assert f"form-action 'self' https://checkout.stripe.com {CHAT};" in summary.headers["content-security-policy"]
    await ada.post("/billing", WHO | {"country": "FR", "city": "Paris"})
    abroad = await ada.get("/credit/buy/2500")
    assert "VAT" not in abroad.words.replace("Norwegian VAT", "")
    assert "services to recipients outside Norway" in abroad.words


async def test_whoever_has_not_said_who_buys_is_asked_first_and_comes_back_to_the_purchase(house: House) -> None:
    bob = house.browser()
    await bob.sign_up()
    asked = await bob.post("/credit", {"amount": "10"})
    assert (asked.path, asked.field("next")) == ("/billing", "/credit/buy/1000")
    assert (await bob.post("/billing", WHO | {"next": asked.field("next")})).path == "/credit/buy/1000"


@pytest.mark.parametrize("amount", ["", "ten", "4.99", "1000.01", "10.005", "-10", "1e3x", "NaN"])
async def test_an_amount_that_is_not_for_sale_is_refused_with_the_bounds(
    house: House, ada: Browser, amount: str
) -> None:
    refused = await ada.post("/credit", {"amount": amount})
    assert refused.status == 400
    assert "Between $5 and $1000" in refused.words


async def test_credit_is_there_when_its_buyer_comes_back(house: House, ada: Browser) -> None:
    back = await buy(house, ada, 10)
    assert back.title == "Paid: your credit is there"
    assert await balance_of(house, await account_of(house)) == 1000
    for _ in range(2):
        assert (await ada.get(f"/credit/paid?payment={await newest(house)}")).title == back.title
    assert await balance_of(house, await account_of(house)) == 1000
    assert "$10.00" in (await ada.get("/dashboard")).words


async def test_a_form_that_is_sent_twice_is_one_payment(house: House, ada: Browser) -> None:
    summary = await ada.get("/credit/buy/1000")
    form = {"cents": "1000", "order": summary.field("order")}
    urls = {await sent_to_stripe(ada, "/credit/buy", form) for _ in range(2)}
    assert len(urls) == 1
    pay(house, urls.pop())
    assert (await ada.get(f"/credit/paid?payment={form['order']}")).title == "Paid: your credit is there"
    assert (await ada.post("/credit/buy", form)).title == "Paid: your credit is there"
    assert await balance_of(house, await account_of(house)) == 1000


async def test_while_stripe_is_away_the_page_says_to_come_again_and_nothing_is_lost(
    house: House, ada: Browser
) -> None:
    summary = await ada.get("/credit/buy/1000")
    form = {"cents": "1000", "order": summary.field("order")}
    house.sandbox.trouble.refuse_next = 99
    away = await ada.post("/credit/buy", form)
    assert (away.status, away.title, away.headers["retry-after"]) == (503, "One moment", "5")
    house.sandbox.trouble.refuse_next, house.sandbox.trouble.lose_next = 0, 1
    back = pay(house, await sent_to_stripe(ada, "/credit/buy", form))
    assert back is not None
    assert (await ada.get(back)).title == "Paid: your credit is there"
    assert await balance_of(house, await account_of(house)) == 1000


async def test_whoever_turns_back_has_paid_nothing_and_can_still_pay(house: House, ada: Browser) -> None:
    summary = await ada.get("/credit/buy/1000")
    form = {"cents": "1000", "order": summary.field("order")}
    url = await sent_to_stripe(ada, "/credit/buy", form)
    turned = await ada.get(f"/credit/paid?payment={form['order']}")
    assert turned.title == "Not paid yet"
    assert url in turned.text
    assert pay(house, url, DECLINED) is None
    assert (await ada.get(f"/credit/paid?payment={form['order']}")).title == "Not paid yet"
    house.clock.turn(hours=25)
    await ada.sign_in()
    assert (await ada.get(f"/credit/paid?payment={form['order']}")).title == "Not paid"
    assert await balance_of(house, await account_of(house)) == 0


async def test_so_much_can_be_bought_in_a_day_and_no_more(house: House, ada: Browser) -> None:
    for _ in range(2):
        await buy(house, ada, 1000)
    refused = await ada.get("/credit/buy/500")
    assert (refused.status, "$2000 in 24 hours" in refused.words) == (400, True)


async def test_nobody_opens_pages_to_pay_on_without_end(house: House, ada: Browser) -> None:
    ada.client.follow_redirects = False
    statuses = [(await ada.post("/credit/card")).status for _ in range(21)]
    assert statuses == [303] * 20 + [429]
    subscribing = await ada.post("/plan/subscribe", {"plan": "starter"})
    assert (subscribing.status, subscribing.title) == (429, "One moment")
    shown = Preview("upgrade", 1, 100, 0, 100, None, house.clock())
    changing = {"plan": "team", "preview": msgspec.json.encode(shown).decode()}
    assert (await ada.post("/plan/upgrade", changing)).status == 429
    assert (await ada.post("/credit/top-up/resume")).status == 429
    assert (await ada.post("/plan/cancel")).status == 409
    house.clock.turn(minutes=10)
    assert (await ada.post("/credit/card")).status == 303


@pytest.mark.parametrize("page", ["/plan/choose/starter", "/plan/subscribed", "/credit/card"])
async def test_nobody_has_stripe_asked_without_end(house: House, ada: Browser, page: str) -> None:
    ada.client.follow_redirects = False
    acts = ("/plan/cancel", "/plan/resume", "/plan/take-back")
    statuses = [(await ada.post(acts[number % 3])).status for number in range(61)]
    assert statuses == [409] * 60 + [429]
    assert (await ada.get(page)).status == 429
    assert (await ada.get("/credit")).status == (await ada.get("/plan")).status == 200
    house.clock.turn(seconds=10)
    assert (await ada.get(page)).status != 429


async def test_a_purchase_that_is_untouched_goes_back_to_the_card(house: House, ada: Browser) -> None:
    await buy(house, ada, 10)
    asked = await ada.get(f"/credit/refund?payment={await newest(house)}")
    assert "$10.00 goes back to the card" in asked.words
    assert await balance_of(house, await account_of(house)) == 1000
    for _ in range(2):
        done = await ada.post("/credit/refund", {"payment": asked.field("payment")})
        assert (done.path, done.status) == ("/credit", 200)
    assert "the money is on its way" in done.words
    assert await balance_of(house, await account_of(house)) == 0
    refunds = house.sandbox.state.table("refund").rows.values()
    assert [row["amount"] for row in refunds] == [1000]


async def test_a_purchase_is_kept_after_thirty_days_and_the_page_says_why(house: House, ada: Browser) -> None:
    await buy(house, ada, 10)
    payment = await newest(house)
    house.clock.turn(days=31)
    await ada.sign_in()
    assert "bought more than 30 days ago" in (await ada.get("/credit")).words
    refused = await ada.get(f"/credit/refund?payment={payment}")
    assert "bought more than 30 days ago" in refused.words
    assert (await ada.post("/credit/refund", {"payment": str(payment)})).status == 409
    assert await balance_of(house, await account_of(house)) == 1000


async def test_another_customers_payment_is_not_there(house: House, ada: Browser) -> None:
    await buy(house, ada, 10)
    payment = await newest(house)
    mallory = house.browser("198.51.100.1")
    await mallory.sign_up("mallory@example.com", "Mallory")
    await say_who_buys(mallory)
    for page in (
        await mallory.get(f"/credit/paid?payment={payment}"),
        await mallory.get(f"/credit/refund?payment={payment}"),
        await mallory.post("/credit/refund", {"payment": str(payment)}),
        await mallory.get(f"/credit/paid?payment={uuid.uuid4()}"),
        await mallory.get("/credit/paid?payment=x"),
    ):
        assert page.status == 400
    taken = await mallory.post("/credit/buy", {"cents": "1000", "order": str(payment)})
    assert taken.status == 400
    assert await balance_of(house, await account_of(house)) == 1000


async def test_a_card_is_saved_charged_by_its_rule_and_removed(house: House, ada: Browser) -> None:
    rule = {"below": "5", "amount": "10", "ceiling": "30"}
    assert "Save a card first" in (await ada.post("/credit/top-up", rule)).words
    back = pay(house, await sent_to_stripe(ada, "/credit/card", {}))
    assert back is not None
    saved = await ada.get(back)
    assert "Your card is saved" in saved.words
    assert "4242" in saved.words
    for wrong in ({"below": "0"}, {"amount": "1"}, {"ceiling": "9"}, {"below": "x"}):
        assert (await ada.post("/credit/top-up", rule | wrong)).status == 400, wrong
    shown = await ada.post("/credit/top-up", rule)
    assert [shown.field(name) for name in ("below", "ceiling")] == ["5.00", "30.00"]
    assert "Of this month's $30.00, $0.00 is used" in shown.words
    stopped = await ada.post("/credit/top-up/stop")
    assert "Automatic top-up is off" in stopped.words
    removed = await ada.post("/credit/card/remove")
    assert "Save a card, and credit" in removed.words
    async with house.database.begin() as connection:
        assert (await wallet(connection, await account_of(house))).card is None


async def test_a_card_can_be_saved_while_buying(house: House, ada: Browser) -> None:
    await buy(house, ada, 10, save_card=True)
    assert "4242" in (await ada.get("/credit")).words


async def test_where_nothing_is_sold_there_is_no_shop_and_documents_are_there(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    settings = dataclasses.replace(house.settings, stripe_key=None)
    closed = dataclasses.replace(house, settings=settings, provider=None).with_site().browser()
    closed.client.cookies = ada.client.cookies
    assert (await closed.get("/credit")).status == 404
    assert (await closed.get("/documents")).status == 200
    assert "/credit" not in (await closed.get("/dashboard")).text


async def newest(house: House) -> uuid.UUID:
    async with house.database.begin() as connection:
        return (await payments_of(connection, await account_of(house)))[0].id
