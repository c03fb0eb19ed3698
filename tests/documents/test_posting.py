"""Each sale has its document, each number is given once, and none is left out."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from msgspec.structs import replace
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError

from billing.database import sales
from billing.database.db import Database, execute, fetch
from billing.documents.document import Draft, Kind, Line, require_sums
from billing.documents.posting import Posted, Posting, post
from billing.documents.vat import quote
from tests.documents.conftest import ATHENS, OSLO, SELLER, Shop
from tests.taxing import INCLUDED

MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def draft(account_id: int, period: str, series: str = "") -> Draft:
    return Draft(
        series=series, kind=Kind.INVOICE, account_id=account_id, seller=SELLER, buyer=OSLO,
        lines=[Line("tokens", 100)], delivered_at=MOMENT, language="en", net_cents=100, vat_cents=25,
        gross_cents=125, vat_code="3", vat_basis_points=2500, period=period,
    )  # fmt: skip


async def test_a_sale_has_a_receipt_with_all_that_the_law_wants(shop: Shop) -> None:
    customer = await shop.bank.customer(0)
    payment = await shop.sells(customer, 2500)
    assert await shop.post() == Posted(1, 0)
    (receipt,) = await shop.documents()
    assert (receipt.name, receipt.kind, receipt.payment_id) == ("1", Kind.RECEIPT, payment)
    assert (receipt.seller, receipt.buyer) == (SELLER, OSLO)
    assert (receipt.net_cents, receipt.vat_cents, receipt.gross_cents) == (2000, 500, 2500)
    assert (receipt.vat_code, receipt.vat_basis_points) == ("3", 2500)
    assert [(line.text, line.net_cents) for line in receipt.lines] == [("credit of 25.00 dollars", 2000)]
    assert receipt.issued_at == receipt.delivered_at == shop.bank.clock()
    assert receipt.exchange is not None
    assert (receipt.exchange.day, receipt.exchange.source) == (shop.bank.clock().date(), "Norges Bank")
    assert receipt.vat_in_books == 5425  # 5.00 dollars at 10.85


async def test_abroad_the_document_says_why_there_is_no_tax(shop: Shop) -> None:
    await shop.sells(await shop.bank.customer(0), 2500, ATHENS)
    await shop.post()
    (receipt,) = await shop.documents()
    assert (receipt.buyer, receipt.vat_cents, receipt.note) == (ATHENS, 0, "Outside the scope of Norwegian VAT")


async def test_posting_again_changes_nothing(shop: Shop) -> None:
    await shop.sells(await shop.bank.customer(0), 2500)
    assert [await shop.post(), await shop.post()] == [Posted(1, 0), Posted(0, 0)]


async def test_a_refund_is_a_credit_note_of_the_receipt_at_its_rate(shop: Shop) -> None:
    payment = await shop.sells(await shop.bank.customer(0), 2500)
    await shop.post()
    assert shop.exchange is not None
    shop.exchange.rate = Decimal("9.99")
    refund = await shop.refunds(payment)
    assert await shop.post() == Posted(1, 0)
    receipt, note = await shop.documents()
    assert (note.kind, note.corrects_id, note.refund_id) == (Kind.CREDIT_NOTE, receipt.id, refund)
    assert (note.number, note.gross_cents, note.vat_in_books) == (2, 2500, receipt.vat_in_books)


async def test_what_was_bought_in_a_trial_is_taken_back_in_its_series(shop: Shop) -> None:
    shop.series = "SANDBOX"
    payment = await shop.sells(await shop.bank.customer(0), 2500)
    await shop.post()
    await shop.refunds(payment)
    shop.series = ""
    await shop.post()
    assert [document.name for document in await shop.documents()] == ["SANDBOX-1", "SANDBOX-2"]


async def test_money_that_was_not_wanted_has_a_receipt_and_its_credit_note(shop: Shop) -> None:
    customer = await shop.bank.customer(0)
    payment = await shop.pays(customer, quote(1000, OSLO, INCLUDED, is_credit=True))
    await shop.refunds(payment, state="otherwise")
    assert await shop.post() == Posted(2, 0)
    assert [document.kind for document in await shop.documents()] == [Kind.RECEIPT, Kind.CREDIT_NOTE]


@pytest.mark.parametrize("state", ["asked", "taken", "sent", "failed", "refused"])
async def test_a_refund_that_is_not_done_is_none(shop: Shop, state: str) -> None:
    payment = await shop.pays(await shop.bank.customer(0), quote(1000, OSLO, INCLUDED, is_credit=True))
    await shop.refunds(payment, state)
    assert await shop.post() == Posted(1, 0)


async def test_what_has_no_rate_waits_and_keeps_nothing_behind_it(shop: Shop) -> None:
    assert shop.exchange is not None
    customer = await shop.bank.customer(0)
    await shop.sells(customer, 2500)
    shop.exchange.rate = None
    assert await shop.post() == Posted(0, 1)
    shop.exchange.rate = Decimal("10.85")
    assert await shop.post() == Posted(1, 0)


async def test_a_seller_elsewhere_needs_no_rate(shop: Shop) -> None:
    shop.exchange = None
    await shop.sells(await shop.bank.customer(0), 2500)
    assert await shop.post() == Posted(1, 0)
    (receipt,) = await shop.documents()
    assert (receipt.exchange, receipt.vat_in_books) == (None, None)


async def test_many_who_post_at_once_give_each_number_once_and_leave_none_out(shop: Shop) -> None:
    customers = [await shop.bank.customer(0) for _ in range(3)]
    payments = [await shop.sells(customer, 1000 + n) for customer in customers for n in range(8)]
    databases = [Database(shop.bank.url, pool_size=2) for _ in range(8)]
    results = await asyncio.gather(
        *(Posting(database, shop.office, shop.bank.clock).run_once() for database in databases)
    )
    for database in databases:
        await database.close()
    documents = await shop.documents()
    assert sum(result.documents for result in results) == len(payments)
    assert [document.number for document in documents] == list(range(1, len(payments) + 1))
    assert {document.payment_id for document in documents} == set(payments)


async def test_a_number_cannot_be_chosen_and_what_is_rolled_back_leaves_no_gap(shop: Shop) -> None:
    customer = await shop.bank.customer(0)
    with suppress(LookupError):
        async with shop.bank.database.begin() as connection:
            assert await post(connection, draft(customer.account_id, "2026-01"), shop.bank.clock()) is not None
            raise LookupError
    async with shop.bank.database.begin() as connection:
        await post(connection, draft(customer.account_id, "2026-02"), shop.bank.clock())
        (row,) = (await connection.execute(select(sales.document))).mappings()
    with pytest.raises(DBAPIError, match="uq_document"):  # a double by another way than `post`
        async with shop.bank.database.begin() as connection:
            await connection.execute(insert(sales.document).values(dict(row) | {"id": 77, "number": 900}))
    async with shop.bank.database.begin() as connection:
        chosen = dict(row) | {"id": 78, "number": 900, "period": "2026-03"}
        await connection.execute(insert(sales.document).values(chosen))
    assert [document.number for document in await shop.documents()] == [1, 2]


async def test_each_series_counts_by_itself(shop: Shop) -> None:
    customer = await shop.bank.customer(0)
    async with shop.bank.database.begin() as connection:
        for series, period in (("A", "2026-01"), ("B", "2026-02"), ("A", "2026-03")):
            await post(connection, draft(customer.account_id, period, series), shop.bank.clock())
    assert [document.name for document in await shop.documents()] == ["A-1", "A-2", "B-1"]


async def test_a_posted_document_cannot_be_changed(shop: Shop) -> None:
    await shop.sells(await shop.bank.customer(0), 2500)
    await shop.post()
    for change in ("UPDATE document SET gross_cents = 1", "DELETE FROM document"):
        with pytest.raises(DBAPIError, match="append-only"):
            async with shop.bank.database.begin() as connection:
                await execute(connection, change)


async def test_its_people_are_told_once(shop: Shop) -> None:
    await shop.sells(await shop.bank.customer(0), 2500)
    await shop.post()
    await shop.post()
    async with shop.bank.database.begin() as connection:
        rows = await fetch(connection, "SELECT kind, body->>'document' AS about FROM notice")
    (receipt,) = await shop.documents()
    assert [tuple(row) for row in rows] == [("document", str(receipt.id))]


def test_a_document_whose_lines_are_not_its_sum_is_refused() -> None:
    right = draft(1, "2026-01")
    require_sums(right)
    for wrong in (
        replace(right, vat_cents=26),
        replace(right, lines=[Line("tokens", 99)]),
        replace(right, lines=[Line("tokens", 100, quantity=3, unit_cents=33)]),
    ):
        with pytest.raises(ValueError, match="must"):
            require_sums(wrong)
