"""What the shop sells, pays back and loses has its documents; statement and books agree with the ledger."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from appliance.stripe_sandbox.disputes import decide, open_dispute
from appliance.stripe_sandbox.refunds import fail
from billing.books.chart import Account
from billing.books.reading import Books, read_books
from billing.books.vouchers import hundredths
from billing.documents.document import Kind
from billing.documents.posting import Posted
from billing.documents.statement import month_or_year, read_statement
from billing.documents.vat import Taxing
from billing.ledger.sweep import Sweeper
from billing.prices.pricing import Tokens
from tests.billing.conftest import Bank, Customer
from tests.documents.conftest import Shop
from tests.payments.conftest import Counter, bank, counter_of  # noqa: F401 -- a fixture
from tests.payments.test_disputes import DISPUTED
from tests.taxing import INCLUDED, ON_TOP

AT = Decimal("10.85")


@pytest.fixture(params=[INCLUDED, ON_TOP], ids=["included", "on top"])
async def counter(bank: Bank, request: pytest.FixtureRequest) -> AsyncIterator[Counter]:  # noqa: F811
    taxing: Taxing = request.param
    counter = counter_of(bank, taxing)
    yield counter
    assert await bank.discrepancies() == []


async def uses(customer: Customer, times: int) -> None:
    """75.369 cents each."""
    for _ in range(times):
        await customer.settle(await customer.admitted(counted=True), Tokens(97, 0, 1))


async def books_of(counter: Counter, year: int) -> Books:
    async with counter.database.snapshot() as connection:
        return await read_books(connection, year, "NOK")


async def test_a_years_business(counter: Counter) -> None:
    clock = counter.bank.clock
    clock.turn(minutes=1)
    await counter.bank.set_rate((7_770_000_000, 7_770_000_000, 0))
    shop = Shop(counter.bank, counter.taxing)
    gesture, regret, lost, idle = [await counter.customer() for _ in range(4)]
    payment = await counter.bought(gesture, 2500)
    await uses(gesture, 3)
    await counter.till.refunds.by_operator(payment.id, "operator", "a gesture")
    payment = await counter.bought(regret, 1999)
    await counter.till.refunds.ask(regret.account_id, payment.id)
    await counter.bought(idle, 1000)
    await counter.bought(lost, 1000, card=DISPUTED)
    await uses(lost, 2)
    clock.turn(minutes=1)
    await counter.hear()
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    counter.sandbox.control(lambda world: decide(world, str(row["id"]), won=False))
    clock.turn(minutes=1)
    await counter.hear()
    assert await shop.post() == Posted(6, 0)
    documents = await shop.documents()
    assert [document.kind for document in documents] == [Kind.RECEIPT] * 4 + [Kind.CREDIT_NOTE] * 2
    by_id = {document.id: document for document in documents}
    (whole,) = [one for one in documents[4:] if one.gross_cents == by_id[one.corrects_id or 0].gross_cents]
    assert whole.vat_in_books == by_id[whole.corrects_id or 0].vat_in_books
    clock.now = datetime(2027, 3, 1, tzinfo=UTC)
    await Sweeper(counter.bank.store, clock).run_once()
    for year in (2026, 2027):
        async with counter.database.snapshot() as connection:
            assert (await read_statement(connection, month_or_year(str(year)))).adds_up
    first, second = await books_of(counter, 2026), await books_of(counter, 2027)
    assert all(sum(entry.amount for entry in one.entries) == 0 for one in (*first.vouchers, *second.vouchers))
    assert second.closing[Account.PREPAID] == 0
    assert abs(second.closing[Account.ROUNDING] + first.closing[Account.ROUNDING]) <= 4
    kept = sum(document.gross_cents * (-1 if document.kind is Kind.CREDIT_NOTE else 1) for document in documents)
    (back,) = [one.gross_cents for one in documents if one.account_id == lost.account_id]
    assert first.closing[Account.STRIPE] == pytest.approx(int((kept - back) * AT), abs=3)
    vat = sum(document.vat_cents * (-1 if document.kind is Kind.CREDIT_NOTE else 1) for document in documents)
    assert first.closing[Account.VAT] == pytest.approx(int(-vat * AT), abs=3)
    async with counter.database.begin() as connection:
        ((owed,),) = (await connection.exec_driver_sql("SELECT sum(owed_nanodollars)::bigint FROM account")).all()
    assert first.owed_closing[lost.account_id] == pytest.approx(int(owed / 10**7 * float(AT)), abs=10)
    assert first.closing[Account.LOSSES] >= 0
    assert second.closing[Account.BREAKAGE] < 0


async def test_a_refund_that_came_back_before_the_dispute_leaves_stripes_balance_once(counter: Counter) -> None:
    """Its credit note was posted when the money had gone."""
    clock = counter.bank.clock
    clock.turn(minutes=1)
    shop = Shop(counter.bank, counter.taxing)
    ada = await counter.customer()
    payment = await counter.bought(ada, 1000)
    refund = await counter.till.refunds.by_operator(payment.id, "operator", "a gesture", 400)
    assert refund.state == "done"
    assert await shop.post() == Posted(2, 0)
    (charge,) = counter.sandbox.state.table("charge").rows
    counter.sandbox.control(lambda world: fail(world, refund.stripe_id or ""))
    counter.sandbox.control(lambda world: open_dispute(world, charge))
    clock.turn(minutes=1)
    await counter.hear()
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    counter.sandbox.control(lambda world: decide(world, str(row["id"]), won=False))
    clock.turn(minutes=1)
    await counter.hear()
    assert await shop.post() == Posted(0, 0)
    receipt, note = await shop.documents()
    closing = (await books_of(counter, 2026)).closing
    left = hundredths(receipt.vat_cents, AT) - hundredths(note.vat_cents, AT)
    assert {one: amount for one, amount in closing.items() if abs(amount) > 1} == {
        Account.VAT: -left,
        Account.LOSSES: pytest.approx(left, abs=1),
    }


async def test_a_refund_that_comes_back_after_the_year_leaves_it_as_it_was(counter: Counter) -> None:
    """Done in December, with its credit note; sent back by the bank and paid otherwise in January."""
    clock = counter.bank.clock
    clock.now = datetime(2026, 12, 20, 12, tzinfo=UTC)
    shop = Shop(counter.bank, counter.taxing)
    ada = await counter.customer()
    payment = await counter.bought(ada, 1000)
    refund = await counter.till.refunds.by_operator(payment.id, "operator", "a gesture", 400)
    assert await shop.post() == Posted(2, 0)
    clock.now = datetime(2027, 1, 5, 12, tzinfo=UTC)
    sent = await books_of(counter, 2026)
    counter.sandbox.control(lambda world: fail(world, refund.stripe_id or ""))
    await counter.hear()
    await counter.till.refunds.otherwise(refund.id, "operator", "by bank")
    assert await books_of(counter, 2026) == sent
    closing = (await books_of(counter, 2027)).closing
    came, went = hundredths(payment.gross_cents, AT), hundredths(refund.gross_cents, AT)
    assert (closing[Account.STRIPE], closing[Account.BANK]) == (came, -went)
