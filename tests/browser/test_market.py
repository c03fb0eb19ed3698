"""A customer buys, gives back, subscribes, changes and cancels, in a real Chromium."""

import re
from collections.abc import Iterator

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from billing.customers import keys
from billing.customers.accounts import LotRecord, find_account, get_account, list_lots
from billing.payments.subscribed import running_of
from billing.plans.versions import publish
from billing.prices.pricing import Tokens
from tests.billing.conftest import PEPPER, Customer
from tests.browser.market import Market, market
from tests.browser.sample import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
EMAIL = "grace@example.com"
CENT = 10_000_000
WHO = {"name": "Grace Hopper", "address": "Storgata 1", "postal_code": "0155", "city": "Oslo"}


@pytest.fixture(scope="module")
def opened() -> Iterator[Market]:
    with market() as found:
        yield found


@pytest.fixture
def page(browser: Browser, opened: Market) -> Iterator[Page]:
    context = browser.new_context(base_url=opened.url)
    page = context.new_page()
    page.set_default_timeout(20_000)
    yield page
    context.close()


def test_a_customer_from_the_first_ten_dollars_to_the_end_of_a_plan(page: Page, opened: Market) -> None:
    sign_up(page, opened)
    customer = key_for(opened)

    buy(page, 10, first=True)
    page.goto("/dashboard")
    expect(page.locator("main")).to_contain_text("$10.00")
    use(opened, customer, tokens=1000)
    page.goto("/credit")
    expect(page.locator("tbody tr").first).to_contain_text("Some of it is used")

    buy(page, 10)
    assert balance(opened) == pytest.approx(2000, abs=1)
    page.goto("/credit")
    page.click("text=Ask for it")
    page.click("text=Give it back")
    expect(page.locator("main")).to_contain_text("the money is on its way")
    assert balance(opened) == pytest.approx(1000, abs=1)
    assert sorted(lot.end_kind for lot in lots(opened)) == ["expiry", "refund"]

    subscribe(page, "Starter")
    assert sorted(lot.source for lot in lots(opened) if lot.remaining_nanodollars) == ["allowance", "purchase"]
    credit = left(opened, "purchase")
    use(opened, customer, tokens=1000)
    assert left(opened, "purchase") == credit, "the plan's usage is used first"
    assert left(opened, "allowance") < 1200 * CENT

    later(page, opened, days=10)
    shown = upgrade(page, "Team")
    assert 2500 < shown < 3000, "of 40 dollars, for the days that are left"
    assert invoices(opened) == [1000, shown]
    page.goto("/documents")
    opened.wait("the receipt", lambda: receipts(opened, 4))
    page.reload()
    expect(page.locator("main")).to_contain_text(f"${shown / 100:.2f}")

    later(page, opened, days=22)
    opened.wait("the renewal", lambda: charged(opened, [1000, shown, 5000]))

    opened.do(raise_prices(opened))
    later(page, opened, days=31)
    opened.wait("the renewal at the old price", lambda: charged(opened, [1000, shown, 5000, 5000]))
    page.goto("/plan")
    expect(page.locator("dl.figures")).to_contain_text("$50.00")

    page.click("main >> text=Cancel the plan")
    page.click("button:text-is('Cancel the plan')")
    expect(page.locator("main")).to_contain_text("You have cancelled.")
    use(opened, customer, tokens=1000)
    assert left(opened, "purchase") == credit, "until the period's end the plan pays"
    assert limit(opened) == 600
    later(page, opened, days=32)
    opened.wait("the end of the plan", lambda: ended(opened))
    page.goto("/plan")
    expect(page.locator("main")).to_contain_text("Your plan Team ended on")
    assert limit(opened) is None
    use(opened, customer, tokens=1000)
    assert left(opened, "purchase") < credit, "credit that was bought stays, and pays again"
    assert opened.do(opened.bank.discrepancies()) == []
    assert opened.failures == []


def sign_up(page: Page, opened: Market) -> None:
    page.goto("/sign-up")
    for name, value in (("name", "Grace"), ("email", EMAIL), ("password", PASSWORD)):
        page.fill(f"#{name}", value)
    page.check("#terms")
    page.click("main button")
    expect(page.locator("h1")).to_have_text("Look into your mail")
    page.goto(opened.do(opened.house.link("/confirm")))
    page.click("main button")
    expect(page.locator("h1")).to_have_text("Overview")


def later(page: Page, opened: Market, *, days: int) -> None:
    """The session is over by then."""
    opened.clock.turn(days=days)
    page.goto("/dashboard")
    if page.locator("#password").count():
        page.fill("#email", EMAIL)
        page.fill("#password", PASSWORD)
        page.click("main button")
    expect(page.locator("h1")).to_have_text("Overview")


def buy(page: Page, dollars: int, *, first: bool = False) -> None:
    page.goto("/credit")
    page.click(f"button:text-is('${dollars}')")
    if first:
        for name, value in WHO.items():
            page.fill(f"#{name}", value)
        page.check("[name=business][value=no]")
        page.select_option("#country", "NO")
        page.click("main form button")
    expect(page.locator("table.sum")).to_contain_text("VAT 25 %")
    page.click("text=Go to payment")
    pay(page)
    expect(page.locator("h1")).to_have_text("Paid: your credit is there")


def pay(page: Page) -> None:
    """On what stands in for Stripe's page, which says so."""
    expect(page.locator("header.mark")).to_contain_text("SANDBOX")
    page.get_by_label("Card number").fill("4242424242424242")
    if page.get_by_label("Email").count():
        page.get_by_label("Email").fill(EMAIL)
    page.locator("form button").first.click()
    page.wait_for_url(re.compile("localhost"))


def subscribe(page: Page, plan: str) -> None:
    page.goto("/plan")
    page.click(f"text=Choose {plan}")
    page.click("text=Go to payment")
    pay(page)
    expect(page.locator("main")).to_contain_text("Your plan runs")


def upgrade(page: Page, plan: str) -> int:
    """What was shown before it was agreed to, in cents."""
    page.goto("/plan")
    page.click(f"text=Choose {plan}")
    shown = page.locator("table.sum tr.total td").inner_text()
    page.click(f"text=Pay {shown} and change")
    expect(page.locator("main")).to_contain_text("Your plan is changed")
    return round(float(shown.removeprefix("$")) * 100)


def key_for(opened: Market) -> Customer:
    async def make() -> Customer:
        async with opened.bank.database.begin() as connection:
            account = await find_account(connection, EMAIL)
            assert account is not None
            key, text = await keys.create_key(connection, account.id, "default", PEPPER, opened.clock)
        return Customer(opened.bank, account.id, key.id, text)

    return opened.do(make())


def use(opened: Market, customer: Customer, *, tokens: int) -> None:
    """A request, as the gateway has it admitted and settled."""

    async def ask() -> None:
        admitted = await customer.admitted(completion_limit=tokens)
        await customer.settle(admitted, Tokens(100, 0, tokens))

    opened.do(ask())


def balance(opened: Market) -> float:
    """In cents."""

    async def read() -> float:
        async with opened.bank.database.begin() as connection:
            account = await find_account(connection, EMAIL)
            assert account is not None
            return (await get_account(connection, account.id)).balance_nanodollars / CENT

    return opened.do(read())


def limit(opened: Market) -> int | None:
    async def read() -> int | None:
        async with opened.bank.database.begin() as connection:
            account = await find_account(connection, EMAIL)
            assert account is not None
            return account.requests_per_minute

    return opened.do(read())


def lots(opened: Market) -> list[LotRecord]:
    async def read() -> list[LotRecord]:
        async with opened.bank.database.begin() as connection:
            account = await find_account(connection, EMAIL)
            assert account is not None
            return list(await list_lots(connection, account.id))

    return opened.do(read())


def left(opened: Market, source: str) -> int:
    """In nano-dollars."""
    return sum(lot.remaining_nanodollars for lot in lots(opened) if lot.source == source)


def invoices(opened: Market) -> list[int]:
    """What was paid of those of the plan, in cents, in order."""
    rows = opened.sandbox.state.table("invoice").rows.values()
    return [row["amount_paid"] for row in rows if row["status"] == "paid"]


async def charged(opened: Market, cents: list[int]) -> bool:
    return invoices(opened) == cents


async def receipts(opened: Market, count: int) -> bool:
    async with opened.bank.database.begin() as connection:
        rows = await connection.exec_driver_sql("SELECT count(*) FROM document WHERE kind = 'receipt'")
        return int(rows.scalar_one()) >= count


async def ended(opened: Market) -> bool:
    async with opened.bank.database.begin() as connection:
        account = await find_account(connection, EMAIL)
        assert account is not None
        return await running_of(connection, account.id) is None


async def raise_prices(opened: Market) -> None:
    """For new subscribers."""
    raised = [msgspec.structs.replace(plan, cents=2 * plan.cents) for plan in opened.settings.plans]
    async with opened.bank.database.begin() as connection:
        assert len(await publish(connection, raised, opened.clock)) == len(raised)
