"""Tax at use: sold without, taxed by the month in which it is used, and no cent lost between the months."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from billing.documents.document import Document, Kind
from billing.documents.posting import Posted
from billing.documents.used import UsedPosting
from billing.documents.vat import VOUCHER, Taxing, contained
from billing.prices.pricing import Tokens
from billing.proof.archive import archive_year
from billing.proof.seals import seal_days
from tests.billing.conftest import Customer
from tests.documents.conftest import ATHENS, OSLO, FixedExchange, Shop
from tests.taxing import ABROAD, NORWAY

AT_USE = Taxing([NORWAY, ABROAD], at_use=True)


@pytest.fixture
async def voucher_shop(shop: Shop) -> Shop:
    shop.taxing = AT_USE
    shop.bank.clock.turn(minutes=1)
    await shop.bank.set_rate((7_000_000_000, 7_000_000_000, 0))
    return shop


async def uses(customer: Customer, tokens: int) -> int:
    """0.7 cents for each."""
    admitted = await customer.admitted(prompt_limit=tokens, completion_limit=1, counted=True)
    return (await customer.settle(admitted, Tokens(tokens, 0, 0))).cost


def of_use(documents: list[Document]) -> list[Document]:
    return [document for document in documents if document.kind is Kind.USAGE]


async def test_credit_is_taxed_in_the_month_of_its_use(voucher_shop: Shop) -> None:
    shop = voucher_shop
    used = UsedPosting(shop.bank.database, shop.office, shop.bank.clock)
    norwegian, greek, idle = [await shop.bank.customer(0) for _ in range(3)]
    for customer, buyer in ((norwegian, OSLO), (greek, ATHENS), (idle, OSLO)):
        await shop.sells(customer, 2500, buyer)
    await shop.post()
    assert [(one.vat_cents, one.vat_code, one.note) for one in await shop.documents()] == [
        (0, VOUCHER, "taxed when used")
    ] * 3
    costs = [await uses(norwegian, 75), await uses(greek, 10)]
    assert await used.run_once() == Posted(0, 0)
    shop.bank.clock.now = datetime(2026, 2, 1, 0, 30, tzinfo=UTC)
    assert await used.run_once() == Posted(0, 0)
    shop.bank.clock.now = datetime(2026, 2, 1, 1, tzinfo=UTC)
    assert await used.run_once() == Posted(2, 0)
    assert await used.run_once() == Posted(0, 0)
    home, abroad = of_use(await shop.documents())
    assert (home.gross_cents, home.vat_cents, home.vat_code) == (round(costs[0] / 10**7), contained(52, 2500), "3")
    assert (abroad.vat_cents, abroad.vat_code, abroad.note) == (0, "52", ABROAD.note)
    assert (home.period, home.delivered_at.date().isoformat()) == ("2026-01", "2026-01-31")
    assert home.exchange is not None


async def test_no_cent_is_lost_between_the_months(voucher_shop: Shop) -> None:
    shop = voucher_shop
    customer = await shop.bank.customer(0)
    await shop.sells(customer, 2500)
    whole = 0
    for month in range(2, 8):
        whole += await uses(customer, 1)
        shop.bank.clock.now = datetime(2026, month, 1, 2, tzinfo=UTC)
        await UsedPosting(shop.bank.database, shop.office, shop.bank.clock).run_once()
    assert sum(one.gross_cents for one in of_use(await shop.documents())) == round(whole / 10**7) == 4


async def test_no_cent_is_added_when_the_records_of_earlier_months_are_archived(
    voucher_shop: Shop, tmp_path: Path
) -> None:
    shop, clock = voucher_shop, voucher_shop.bank.clock
    customer = await shop.bank.customer(0)
    await shop.sells(customer, 2500)
    whole = await uses(customer, 1)
    clock.now = datetime(2026, 2, 1, 2, tzinfo=UTC)
    await UsedPosting(shop.bank.database, shop.office, clock).run_once()
    clock.now = datetime(2032, 1, 2, tzinfo=UTC)
    async with shop.bank.database.begin(timeout_seconds=None) as connection:
        await seal_days(connection, clock)
        await archive_year(connection, 2026, tmp_path, clock)
    await shop.sells(customer, 2500)
    whole += await uses(customer, 1)
    clock.now = datetime(2032, 2, 1, 2, tzinfo=UTC)
    await UsedPosting(shop.bank.database, shop.office, clock).run_once()
    assert sum(one.gross_cents for one in of_use(await shop.documents())) == round(whole / 10**7) == 1


async def test_without_a_rate_the_month_waits(voucher_shop: Shop) -> None:
    shop = voucher_shop
    customer = await shop.bank.customer(0)
    await shop.sells(customer, 2500)
    await uses(customer, 75)
    shop.bank.clock.now = datetime(2026, 4, 1, 2, tzinfo=UTC)
    shop.exchange = FixedExchange(rate=None)
    used = UsedPosting(shop.bank.database, shop.office, shop.bank.clock)
    assert await used.run_once() == Posted(0, 1)
    shop.exchange.rate = Decimal(10)
    assert await used.run_once() == Posted(1, 0)
