"""Invoices of postpaid accounts, paid on Stripe's page."""

from datetime import timedelta

import pytest

from appliance.stripe_sandbox.disputes import open_dispute
from appliance.stripe_sandbox.hosted import Buyer as Payer
from appliance.stripe_sandbox.refunds import fail
from billing.books.chart import Account
from billing.books.reading import read_books
from billing.customers.standing import Standings
from billing.database.db import fetch
from billing.documents.crediting import InvoiceCrediting
from billing.documents.invoicing import Invoicing
from billing.documents.posting import Office, Posted, Posting
from billing.documents.reading import paid
from billing.documents.settled import invoices_of
from billing.errors import Conflict, NotFound
from billing.ids import new_id
from billing.payments import records
from billing.payments.invoices import BankTransfers, Invoices, Unpaid, unpaid
from billing.payments.records import Payment
from billing.payments.reminding import Patience, Reminded, Reminding
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.prices.pricing import Tokens
from billing.proof.takings import compare_takings
from tests.billing.conftest import Customer
from tests.documents.conftest import SELLER, Words
from tests.payments.conftest import CARD, Counter, bank, counter
from tests.payments.test_disputes import DISPUTED, decided

__all__ = ["bank", "counter"]
PATIENCE = Patience(reminder_days=7, stop_days=21)


def office_of(counter: Counter) -> Office:
    return Office(SELLER, "", counter.taxing, Words(), None)


async def posts(counter: Counter) -> Posted:
    return await Posting(counter.database, office_of(counter), counter.bank.clock).run_once()


async def closing(counter: Counter, year: int | None = None) -> dict[Account, int]:
    """Of this year's books or another's, in cents: what is not nothing."""
    async with counter.database.snapshot() as connection:
        books = await read_books(connection, year or counter.bank.clock().year)
    return {account: amount for account, amount in books.closing.items() if amount}


async def owes(counter: Counter, nanodollars: int = 10**10) -> tuple[Customer, Unpaid]:
    """A company with an invoice."""
    bank, ada = counter.bank, await counter.customer()
    standings = Standings(bank.store, bank.clock)
    await standings.set_terms(ada.account_id, "kari", credit_limit=10**11, priority=0, reason="a contract")
    tokens = nanodollars // 400
    await ada.settle(await ada.admitted(prompt_limit=0, completion_limit=tokens), Tokens(0, 0, tokens))
    bank.clock.turn(days=2)
    await Invoicing(bank.database, office_of(counter), bank.credit, bank.clock, invoice_days=14).run_once()
    async with bank.database.begin() as connection:
        (one,) = await unpaid(connection, ada.account_id)
    return ada, one


async def page_of(counter: Counter, customer: Customer, invoice: Unpaid) -> str:
    url = await Invoices(counter.database, counter.provider, counter.taxing, counter.bank.clock).order(
        customer.account_id,
        invoice.id,
        order_id=new_id(counter.bank.clock()),
        back="https://site.test/billing",
        email="ada@example.com",
    )
    return url.rpartition("/")[2]


async def test_an_invoice_is_paid_by_card_and_lowers_what_is_owed_once(counter: Counter) -> None:
    ada, invoice = await owes(counter)
    counter.sandbox.pay_session(await page_of(counter, ada, invoice), Payer(CARD))
    for _ in range(2):
        await counter.hear()
    assert (await ada.account()).owed_nanodollars == 0
    assert await counter.moved("payment") == 1000 * NANODOLLARS_PER_CENT
    with pytest.raises(Conflict, match="is left to be paid"):
        await page_of(counter, ada, invoice)
    with pytest.raises(NotFound):
        await page_of(counter, await counter.customer(), invoice)
    began = counter.bank.clock()
    counter.bank.clock.turn(hours=1)
    movements = counter.provider.movements(began - timedelta(hours=1))
    found = await compare_takings(counter.database, began.date(), movements, counter.bank.clock)
    assert (found.asked, found.differences) == (True, ())
    assert [(one.kind, one.stripe_cents) for one in found.groups] == [("invoice", 1000)]


async def test_what_was_paid_by_bank_meanwhile_is_paid_back_to_the_card(counter: Counter) -> None:
    ada, invoice = await owes(counter)
    page = await page_of(counter, ada, invoice)
    transfers = BankTransfers(counter.database, counter.bank.credit, counter.bank.clock)
    await transfers.note(invoice.name, counter.bank.clock().date(), 400, "kari")
    counter.sandbox.pay_session(page, Payer(CARD))
    await counter.hear()
    came = {Account.BANK: 400, Account.STRIPE: 1000, Account.SALES: -800, Account.VAT: -200}
    assert await closing(counter) == came | {Account.RECEIVABLE: -400}
    await counter.till.refunds.run_once()
    assert (await ada.account()).owed_nanodollars == 600 * NANODOLLARS_PER_CENT
    refunds = counter.sandbox.state.table("refund").rows.values()
    assert [row["amount"] for row in refunds] == [1000]
    assert await counter.errors() == []
    assert await posts(counter) == Posted(0, 0), "the invoice is as right as before"
    async with counter.database.begin() as connection:
        got = await paid(connection, invoice.id)
    assert got is not None
    assert (got.cents, got.by_bank) == (400, True)
    assert await closing(counter) == {
        Account.BANK: 400, Account.RECEIVABLE: 600, Account.SALES: -800, Account.VAT: -200
    }  # fmt: skip
    day = counter.bank.clock().date()
    movements = counter.provider.movements(counter.bank.clock() - timedelta(hours=1))
    counter.bank.clock.turn(hours=1)
    found = await compare_takings(counter.database, day, movements, counter.bank.clock)
    assert found.differences == ()
    assert {one.kind: one.stripe_cents for one in found.groups} == {"invoice": 1000, "refund": -1000}


async def reminded(counter: Counter) -> Reminded:
    standings = Standings(counter.bank.store, counter.bank.clock)
    return await Reminding(counter.database, standings, PATIENCE, counter.bank.clock).run_once()


async def test_what_the_bank_took_back_has_a_new_term_and_then_the_same_steps(counter: Counter) -> None:
    """The invoice was long due, its reader reminded and stopped, when it was paid."""
    clock = counter.bank.clock
    ada, invoice = await owes(counter)
    clock.turn(days=60)
    assert await reminded(counter) == Reminded(1, 1, 0)
    counter.sandbox.pay_session(await page_of(counter, ada, invoice), Payer(DISPUTED))
    clock.turn(minutes=1)
    await counter.hear()
    assert await reminded(counter) == Reminded(0, 0, 1)
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    clock.turn(days=20)
    await decided(counter, row, won=False)
    due = clock().date() + timedelta(days=14)
    async with counter.database.begin() as connection:
        (again,) = await unpaid(connection)
        told = await fetch(connection, "SELECT body FROM notice WHERE kind = 'dispute' ORDER BY id DESC LIMIT 1")
    assert (again.due_on, again.left_cents) == (due, 1000)
    assert (told[0].body["invoice"], told[0].body["pay_by"]) == (invoice.name, due.isoformat())
    days = {}
    for _ in range(50):
        done = await reminded(counter)
        if done != Reminded(0, 0, 0):
            days[clock().date()] = done
        clock.turn(days=1)
    assert days == {due + timedelta(days=8): Reminded(1, 0, 0), due + timedelta(days=22): Reminded(0, 1, 0)}
    counter.sandbox.pay_session(await page_of(counter, ada, invoice), Payer(CARD))
    await counter.hear()
    assert await reminded(counter) == Reminded(0, 0, 1)


async def test_a_payment_that_the_bank_takes_back_is_owed_again(counter: Counter) -> None:
    ada, invoice = await owes(counter)
    counter.sandbox.pay_session(await page_of(counter, ada, invoice), Payer(DISPUTED))
    counter.bank.clock.turn(minutes=1)
    await counter.hear()
    assert await closing(counter) == {Account.STRIPE: 1000, Account.SALES: -800, Account.VAT: -200}
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    await decided(counter, row, won=False)
    assert (await ada.account()).owed_nanodollars == 1000 * NANODOLLARS_PER_CENT
    assert await closing(counter) == {Account.RECEIVABLE: 1000, Account.SALES: -800, Account.VAT: -200}
    async with counter.database.begin() as connection:
        assert await paid(connection, invoice.id) is None
        (again,) = await unpaid(connection)
    assert (again.name, again.left_cents) == (invoice.name, 1000)
    await page_of(counter, ada, invoice)
    counter.bank.clock.turn(days=32)
    office = office_of(counter)
    invoicing = Invoicing(counter.database, office, counter.bank.credit, counter.bank.clock, invoice_days=14)
    assert await invoicing.run_once() == Posted(0, 0)
    tokens = Tokens(0, 0, 10**9 // 400)
    await ada.settle(await ada.admitted(prompt_limit=0, completion_limit=tokens.completion), tokens)
    counter.bank.clock.turn(days=32)
    assert await invoicing.run_once() == Posted(1, 0)
    async with counter.database.begin() as connection:
        assert [one.gross_cents for one in await unpaid(connection)] == [1000, 100]


async def paid_by_card(counter: Counter, card: str = CARD) -> tuple[Customer, Payment]:
    ada, invoice = await owes(counter)
    counter.sandbox.pay_session(await page_of(counter, ada, invoice), Payer(card))
    async with counter.database.begin() as connection:
        (ordered,) = await records.payments_of(connection, ada.account_id)
    payment = await counter.till.shop.look(ordered.id)
    assert payment.state == "credited"
    return ada, payment


async def test_an_invoice_that_was_paid_by_card_is_credited_and_paid_back_to_the_card(counter: Counter) -> None:
    counter.bank.clock.turn(minutes=1)
    ada, payment = await paid_by_card(counter)
    for cents in (400, None):
        refund = await counter.till.refunds.by_operator(payment.id, "kari", "a wrong price", cents)
        assert refund.state == "done"
    with pytest.raises(Conflict):
        await counter.till.refunds.by_operator(payment.id, "kari", "a wrong price", 1)
    assert await posts(counter) == Posted(2, 0)
    assert await closing(counter) == {}
    assert (await ada.account()).owed_nanodollars == 0
    async with counter.database.begin() as connection:
        (state,) = (await invoices_of(connection, ada.account_id)).values()
        assert (state.paid_cents, state.credited_cents, state.left_cents) == (0, 1000, 0)
    day = counter.bank.clock().date()
    movements = counter.provider.movements(counter.bank.clock() - timedelta(hours=1))
    counter.bank.clock.turn(hours=1)
    found = await compare_takings(counter.database, day, movements, counter.bank.clock)
    assert found.differences == ()
    assert {one.kind: one.stripe_cents for one in found.groups} == {"invoice": 1000, "refund": -1000}


async def test_what_the_bank_takes_of_an_invoice_that_was_being_paid_back_is_not_owed(counter: Counter) -> None:
    ada, payment = await paid_by_card(counter, DISPUTED)
    counter.sandbox.trouble.refuse_next = 100
    refund = await counter.till.refunds.by_operator(payment.id, "kari", "a wrong price")
    assert refund.state == "taken"
    counter.sandbox.trouble.refuse_next = 0
    counter.bank.clock.turn(minutes=1)
    await counter.hear()
    await counter.till.refunds.run_once()
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    await decided(counter, row, won=False)
    assert await counter.errors() == []
    assert (await ada.account()).owed_nanodollars == 0
    async with counter.database.begin() as connection:
        assert (await records.refund(connection, refund.id)).state == "refused"
        assert await unpaid(connection) == []
    assert await posts(counter) == Posted(0, 0)
    crediting = InvoiceCrediting(counter.database, office_of(counter), counter.bank.clock)
    assert await crediting.run_once() == Posted(1, 0)
    assert await closing(counter) == {}
    day = counter.bank.clock().date()
    movements = counter.provider.movements(counter.bank.clock() - timedelta(hours=1))
    counter.bank.clock.turn(hours=1)
    assert (await compare_takings(counter.database, day, movements, counter.bank.clock)).differences == ()


async def test_a_refund_that_came_back_before_the_dispute_is_credited_once(counter: Counter) -> None:
    """Its credit note was posted when the money had gone."""
    ada, payment = await paid_by_card(counter)
    refund = await counter.till.refunds.by_operator(payment.id, "kari", "a wrong price", 400)
    assert refund.state == "done"
    assert await posts(counter) == Posted(1, 0)
    (charge,) = counter.sandbox.state.table("charge").rows
    counter.sandbox.control(lambda world: fail(world, refund.stripe_id or ""))
    counter.sandbox.control(lambda world: open_dispute(world, charge))
    counter.bank.clock.turn(minutes=1)
    await counter.hear()
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    await decided(counter, row, won=False)
    assert await counter.errors() == []
    async with counter.database.begin() as connection:
        assert (await records.refund(connection, refund.id)).state == "refused"
    crediting = InvoiceCrediting(counter.database, office_of(counter), counter.bank.clock)
    assert await crediting.run_once() == Posted(0, 0)
    assert (await ada.account()).owed_nanodollars == 600 * NANODOLLARS_PER_CENT
    assert await closing(counter) == {Account.RECEIVABLE: 600, Account.SALES: -480, Account.VAT: -120}


async def test_a_refund_of_an_invoice_that_comes_back_after_the_year_leaves_it_as_it_was(counter: Counter) -> None:
    """Its credit note was posted when the money had gone; then the operator pays it by bank."""
    counter.bank.clock.turn(minutes=1)
    _, payment = await paid_by_card(counter)
    refund = await counter.till.refunds.by_operator(payment.id, "kari", "a wrong price", 400)
    assert await posts(counter) == Posted(1, 0)
    year = counter.bank.clock().year
    sent = await closing(counter)
    counter.bank.clock.turn(days=366)
    counter.sandbox.control(lambda world: fail(world, refund.stripe_id or ""))
    await counter.hear()
    assert await closing(counter, year) == sent
    await counter.till.refunds.otherwise(refund.id, "kari", "by bank")
    assert await closing(counter, year) == sent
    now = await closing(counter)
    assert (now[Account.STRIPE], now[Account.BANK]) == (1000, -400)
    assert Account.RECEIVABLE not in now


async def test_what_came_by_bank_is_not_asked_of_stripe(counter: Counter) -> None:
    ada, invoice = await owes(counter)
    transfers = BankTransfers(counter.database, counter.bank.credit, counter.bank.clock)
    await transfers.note(invoice.name, counter.bank.clock().date(), None, "kari")
    async with counter.database.begin() as connection:
        (payment,) = await records.payments_of(connection, ada.account_id)
    with pytest.raises(Conflict, match="appliance invoice paid-back"):
        await counter.till.refunds.by_operator(payment.id, "kari", "a wrong price")
    assert await counter.till.refunds.most(payment.id) == 0
