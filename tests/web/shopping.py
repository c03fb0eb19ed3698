"""Customers who buy: what they fill in, what they do on Stripe's pages, and what the worker does behind them."""

import re
from uuid import UUID

from sqlalchemy import insert

from appliance.papers.wording import Words
from appliance.stripe_sandbox.hosted import Buyer as Payer
from billing.customers.accounts import find_account, get_account
from billing.database import sales
from billing.documents.buyers import Buyer
from billing.documents.posting import Office, Posting
from billing.ids import new_id
from tests.web.conftest import Browser, House, Page

CARD = "4242424242424242"
DECLINED = "4000000000000002"
WHO = {
    "name": "Ada King", "address": "Storgata 1", "postal_code": "0155", "city": "Oslo", "country": "NO",
    "business": "no", "tax_number": "",
}  # fmt: skip
BUYER = Buyer("Ada King", "Storgata 1", "0155", "Oslo", "NO", business=False)


async def say_who_buys(browser: Browser) -> None:
    assert (await browser.post("/billing", WHO)).status == 200


async def sent_to_stripe(browser: Browser, path: str, form: dict[str, str]) -> str:
    """The page of Stripe's that a form leads to."""
    browser.client.follow_redirects = False
    answer = await browser.post(path, form)
    browser.client.follow_redirects = True
    assert answer.status == 303, answer.words
    return answer.headers["location"]


def pay(house: House, url: str, card: str = CARD) -> str | None:
    """On Stripe's page; the path of ours that the browser comes back to, or None if it stays there."""
    (session,) = re.findall(r"cs_test_\w+", url)
    step = house.sandbox.pay_session(session, Payer(card, name="Ada King"))
    return None if step.url is None else step.url.removeprefix(house.settings.site_url)


async def buy(house: House, browser: Browser, dollars: int, *, save_card: bool = False) -> Page:
    """Credit, from the button to the page that says that it is there."""
    summary = await browser.post("/credit", {"amount": str(dollars)})
    form = {"cents": summary.field("cents"), "order": summary.field("order")}
    url = await sent_to_stripe(browser, "/credit/buy", form | ({"save_card": "yes"} if save_card else {}))
    back = pay(house, url)
    assert back is not None
    return await browser.get(back)


async def paid(house: House, account_id: int, cents: int = 1000) -> UUID:
    """A payment as it stands in the books, without a page."""
    payment_id, now = new_id(house.clock()), house.clock()
    buyer = {name: getattr(BUYER, name) for name in BUYER.__struct_fields__}
    row = {
        "id": payment_id, "account_id": account_id, "kind": "credit", "state": "credited",
        "value_nanodollars": cents * 10_000_000, "net_cents": cents * 4 // 5, "vat_cents": cents // 5,
        "gross_cents": cents, "vat_code": "3", "vat_basis_points": 2500, "buyer": buyer,
        "created_at": now, "paid_at": now,
    }  # fmt: skip
    async with house.database.begin() as connection:
        await connection.execute(insert(sales.payment).values(row))
    return payment_id


async def post_documents(house: House) -> int:
    """As the worker does."""
    office = Office(house.settings.seller, "", house.settings.taxing, Words("Appliance"), None)
    return (await Posting(house.database, office, house.clock).run_once()).documents


async def account_of(house: House, email: str = "ada@example.com") -> int:
    async with house.database.begin() as connection:
        account = await find_account(connection, email)
    assert account is not None
    return account.id


async def balance_of(house: House, account_id: int) -> int:
    """In cents."""
    async with house.database.begin() as connection:
        return (await get_account(connection, account_id)).balance_nanodollars // 10_000_000
