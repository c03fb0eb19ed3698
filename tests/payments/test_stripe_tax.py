"""Stripe Tax, told as a shop has it: a sale has the tax that Stripe reckons, in payments, ledger and documents."""

import re
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from appliance.papers.wording import Words
from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.hosted import Buyer as Payer
from appliance.stripe_sandbox.tax_ids import FORMS
from appliance.till import Offer, till
from billing.books.reading import read_books
from billing.books.saft import as_saft, written
from billing.database import sales
from billing.database.db import fetch
from billing.documents.buyers import Buyer, keep_buyer
from billing.documents.document import Document
from billing.documents.posting import Office, Posting
from billing.documents.reading import read_document
from billing.documents.statement import month_or_year, read_statement
from billing.documents.vat import Reckoned, Taxing, VatCode
from billing.errors import BillingError
from billing.payments.customers import refused_buyers
from billing.payments.plan_prices import price_for, sold_at
from billing.payments.provider import (
    BuyerRefused,
    KeyRefused,
    PaymentsRefused,
    PaymentsUnavailable,
    RightsMissing,
    StripeTax,
)
from billing.payments.stripe.adapter import StripeProvider
from billing.payments.stripe.reading import tax_of_page
from billing.payments.stripe.tax import KINDS, tax_ids_of
from billing.plans.versions import newest_versions, publish
from billing.prices.money import NANODOLLARS_PER_CENT
from tests.billing.conftest import Bank, Customer
from tests.documents.conftest import SELLER, FixedExchange
from tests.payments.conftest import ADA, BACK, BOUNDS, Counter, Page, bank  # noqa: F401 -- a fixture
from tests.payments.on_a_plan import LARGE, SMALL, orders_of
from tests.payments.test_top_up import DOLLAR, spend_all
from tests.stripe_sandbox.inprocess import KEY, SECRET, InProcessClient, settings
from tests.taxing import INCLUDED

CODES = (
    VatCode("NO", True, "3"),
    VatCode("*", True, "7"),
    VatCode("NO", False, "6"),
    VatCode("SE", False, "5", "zero_rated"),
    VatCode("*", False, "52"),
)
SERVICE, PERSONAL = "txcd_10103001", "txcd_10103000"
WITHIN = Taxing(INCLUDED.rules, by_stripe=True, tax_code=SERVICE, codes=CODES)
ON_TOP = replace(WITHIN, included=False)
SVEN = Buyer("Sven Svensson", "Gatan 3", "111 20", "Stockholm", "SE", business=False)
SVEA = Buyer("Svea AB", "Gatan 4", "111 20", "Stockholm", "SE", business=True, tax_number="SE556703748501")
GRACE = Buyer("Grace Hopper", "Main St 6", "10001", "New York", "US", business=False)
URS = Buyer("Urs AG", "Weg 5", "8001", "Zürich", "CH", business=True, tax_number="CHE-123.456.789 MWST")
NOWHERE = Buyer("Nemo", "Main St 7", "?", "New York", "US", business=False)
OFFER = Offer((SMALL, LARGE))


def shop_of(bank: Bank, taxing: Taxing, *, prorated: bool = True) -> Counter:  # noqa: F811
    seconds = lambda: bank.clock().timestamp()  # noqa: E731
    sandbox = Sandbox(settings(webhook_url="http://site.test/webhook"), clock=seconds, receivers_clock=seconds)
    tax = StripeTax(SERVICE, taxing.included)
    provider = StripeProvider(KEY, SECRET, bank.clock, http=InProcessClient(sandbox), tax=tax)
    counter = Counter(bank, sandbox, provider, taxing)
    offer = Offer(OFFER.plans, prorated=prorated)
    counter.till = till(bank.database, provider, taxing, BOUNDS, bank.clock, 30, offer=offer)
    return counter


async def documents(counter: Counter) -> list[Document]:
    office = Office(SELLER, "", counter.taxing, Words("Example"), FixedExchange(Decimal("10.85")))
    await Posting(counter.database, office, counter.bank.clock).run_once()
    async with counter.database.begin() as connection:
        ids = await fetch(connection, "SELECT id FROM document ORDER BY number")
        return [await read_document(connection, row.id) for row in ids]


async def adds_up(counter: Counter) -> None:
    """Payments less refunds are what left ``payments``, what documents say, and what Stripe has."""
    papers = await documents(counter)
    said = [
        sum((-1 if one.kind == "credit_note" else 1) * getattr(one, name) for one in papers)
        for name in ("net_cents", "vat_cents", "gross_cents")
    ]
    query = """
        SELECT coalesce(sum(CASE WHEN d.kind = 'payments' THEN amount_nanodollars ELSE -amount_nanodollars END), 0)
        FROM transfer t JOIN ledger_account d ON d.id = t.debit_id JOIN ledger_account c ON c.id = t.credit_id
        WHERE d.kind = 'payments' OR c.kind = 'payments'"""
    kept = """
        SELECT coalesce(sum(net_cents), 0)::bigint, coalesce(sum(vat_cents), 0)::bigint,
            coalesce(sum(gross_cents), 0)::bigint FROM
        (SELECT net_cents, vat_cents, gross_cents FROM payment WHERE state = 'credited'
         UNION ALL SELECT -net_cents, -vat_cents, -gross_cents FROM refund WHERE state = 'done') one"""
    async with counter.database.begin() as connection:
        ((moved,),) = await fetch(connection, query)
        (rows,) = await fetch(connection, kept)
    at_stripe = sum(
        row["amount"] - row["amount_refunded"]
        for row in counter.sandbox.state.table("charge").rows.values()
        if row["paid"]
    )
    async with counter.database.snapshot() as connection:
        year = counter.bank.clock().year
        statements = [await read_statement(connection, month_or_year(str(one))) for one in (year - 1, year)]
        books = await read_books(connection, year, "NOK")
    assert all(one.adds_up for one in statements)
    sold = [sale for one in statements for sale in one.sales]
    assert sum((-1 if one.kind == "credit_note" else 1) * one.vat_cents for one in sold) == said[1]
    assert written(as_saft(books, SELLER, "1", counter.bank.clock().date()))
    assert said == list(rows)
    assert moved == said[2] * NANODOLLARS_PER_CENT == at_stripe * NANODOLLARS_PER_CENT


@pytest.fixture(params=[WITHIN, ON_TOP], ids=["within", "on top"])
async def shop(bank: Bank, request: pytest.FixtureRequest) -> AsyncIterator[Counter]:  # noqa: F811
    counter = shop_of(bank, request.param)
    async with bank.database.begin() as connection:
        await publish(connection, OFFER.plans, bank.clock)
    yield counter
    await adds_up(counter)
    assert await bank.discrepancies() == []


def sums(price: int, percent: int, taxing: Taxing) -> tuple[int, int, int]:
    """Net, tax, gross, where a price can be divided so."""
    if taxing.included:
        vat = price * percent // (100 + percent)
        return price - vat, vat, price
    vat = price * percent // 100
    return price, vat, price + vat


@pytest.mark.parametrize(
    ("buyer", "percent", "code", "note"),
    [
        (ADA, 25, "3", ""),
        (SVEN, 25, "7", ""),
        (SVEA, 0, "52", "Reverse charge: the buyer accounts for VAT."),
        (GRACE, 0, "52", "No VAT: it is zero-rated, or not due from the seller in the buyer's country."),
        (URS, 0, "52", "No VAT: it is zero-rated, or not due from the seller in the buyer's country."),
    ],
    ids=["Norwegian", "Swede", "Swedish business", "American", "Swiss business"],
)
async def test_credit_is_sold_with_the_tax_that_stripe_reckons(
    shop: Counter, buyer: Buyer, percent: int, code: str, note: str
) -> None:
    customer = await shop.customer(buyer)
    quoted = await shop.till.shop.quote(customer.account_id, 1000)
    paid = await shop.bought(customer, 1000)
    wanted = sums(1000, percent, shop.taxing)
    assert (quoted.net, quoted.vat, quoted.gross) == wanted
    assert (paid.net_cents, paid.vat_cents, paid.gross_cents) == wanted
    assert (paid.vat_code, paid.vat_basis_points) == (code, percent * 100)
    assert (await customer.account()).balance_nanodollars == 10 * DOLLAR
    (receipt,) = await documents(shop)
    assert (receipt.net_cents, receipt.vat_cents, receipt.note) == (*wanted[:2], note)


async def test_why_there_is_no_tax_is_said_as_the_page_that_was_paid_says_it(shop: Counter) -> None:
    svea = await shop.customer(SVEA)
    page = await shop.order(svea)
    assert (await shop.payment(page.payment_id)).tax_calculation is None, "that was the earlier quote's"
    (tax,) = shop.sandbox.state.table("checkout.session").rows[page.checkout]["total_details"]["breakdown"][
        "taxes"
    ]
    tax["taxability_reason"] = "zero_rated"
    page.pay()
    paid = await shop.till.shop.look(page.payment_id)
    assert (paid.state, paid.vat_cents, paid.vat_reason, paid.vat_code) == ("credited", 0, "zero_rated", "5")
    (receipt,) = await documents(shop)
    assert receipt.vat_code == "5"
    assert receipt.note.startswith("No VAT: it is zero-rated")


@pytest.mark.parametrize(
    ("country", "given", "kind", "value"),
    [
        ("CH", "CHE-123.456.789 MWST", "ch_vat", "CHE-123.456.789 MWST"),
        ("CH", "che123456789 tva", "ch_vat", "CHE-123.456.789 TVA"),
        ("CH", "CHE 123 456 789 IVA", "ch_vat", "CHE-123.456.789 IVA"),
        ("CH", "CHE-123.456.789", "ch_vat", "CHE-123.456.789 MWST"),
        ("GB", "GB 123 4567 89", "gb_vat", "GB123456789"),
        ("NO", "NO 923 609 016 MVA", "no_vat", "923609016MVA"),
        ("NO", "923609016", "no_vat", "923609016MVA"),
        ("SE", "SE 556703-7485-01", "eu_vat", "SE556703748501"),
        ("NL", "nl 1234.56.789.b01", "eu_vat", "NL123456789B01"),
    ],
)
def test_a_tax_number_is_told_as_stripe_writes_it(country: str, given: str, kind: str, value: str) -> None:
    buyer = Buyer("A business", "a", "1", "b", country, business=True, tax_number=given)
    assert tax_ids_of(buyer) == [{"type": kind, "value": value}]
    assert re.fullmatch(FORMS[kind], value)


def test_each_kind_of_tax_number_is_known_to_the_sandbox() -> None:
    assert set(KINDS.values()) == set(FORMS)


def test_the_rate_is_of_the_places_that_collect() -> None:
    """In the United States several may have one, and ``percentage`` is the statutory one of each."""
    rates = [
        ("standard_rated", 6.25, 6.25, 63),
        ("not_collecting", 2.0, 0.0, 0),
        ("standard_rated", 1.125, None, 11),
    ]
    taxes = [
        {
            "amount": cents,
            "rate": {"percentage": statutory, "effective_percentage": effective, "inclusive": False},
            "taxability_reason": reason,
        }
        for reason, statutory, effective, cents in rates
    ]
    total = {"amount_tax": 74, "breakdown": {"taxes": taxes}}
    page = {"automatic_tax": {"status": "complete"}, "total_details": total}
    assert tax_of_page(page) == Reckoned(74, 625 + 112, "standard_rated", included=False)


async def test_a_refund_in_pieces_gives_back_net_and_tax_to_the_cent(shop: Counter) -> None:
    ada = await shop.customer()
    paid = await shop.bought(ada, 999)
    for cents in (1, 333, 332, 333):
        await shop.till.refunds.by_operator(paid.id, "operator", "a reason", cents)
    notes = [one for one in await documents(shop) if one.kind == "credit_note"]
    assert len(notes) == 4
    assert sum(one.vat_cents for one in notes) == paid.vat_cents
    assert sum(one.gross_cents for one in notes) == paid.gross_cents


async def saved(shop: Counter, buyer: Buyer = ADA, ceiling: int = 10_000) -> Customer:
    customer = await shop.customer(buyer)
    url = await shop.till.top_ups.save_card(customer.account_id, back=BACK, email="ada@example.com")
    page = next(one for one in shop.sandbox.state.table("checkout.session").rows.values() if one["url"] == url)
    assert shop.sandbox.pay_session(page["id"], Payer("4242424242424242")).url is not None
    await shop.till.top_ups.find_card(customer.account_id)
    await shop.till.top_ups.set_rule(
        customer.account_id, "ada", below_nanodollars=5 * DOLLAR, top_up_cents=2000, ceiling_cents=ceiling
    )
    return customer


def recorded(shop: Counter) -> list[tuple[int, int]]:
    """Tax and gross of each of Stripe's own records of tax."""
    found = []
    for row in shop.sandbox.state.table("tax.transaction").rows.values():
        (line,) = row["_lines"]
        on_top = line["amount_tax"] if line["tax_behavior"] == "exclusive" else 0
        found.append((line["amount_tax"], line["amount"] + on_top))
    return found


async def test_a_saved_card_is_charged_with_the_tax_and_stripe_keeps_a_record(shop: Counter) -> None:
    ada = await saved(shop)
    assert await shop.till.top_ups.run_once() == 1
    assert (await ada.account()).balance_nanodollars == 20 * DOLLAR
    async with shop.database.begin() as connection:
        ((payment_id,),) = await fetch(connection, "SELECT id FROM payment")
    paid = await shop.payment(payment_id)
    assert (paid.net_cents, paid.vat_cents, paid.gross_cents) == sums(2000, 25, shop.taxing)
    assert recorded(shop) == [(paid.vat_cents, paid.gross_cents)]
    await shop.till.refunds.by_operator(paid.id, "operator", "a reason", 700)
    await shop.till.refunds.by_operator(paid.id, "operator", "a reason", 1300)
    assert [sum(part) for part in zip(*recorded(shop), strict=True)] == [0, 0]


async def test_a_lost_answer_is_no_second_charge_and_no_second_record(shop: Counter) -> None:
    await saved(shop)
    shop.sandbox.trouble.lose_next = 3
    assert await shop.till.top_ups.run_once() == 0
    shop.bank.clock.turn(minutes=1)
    assert await shop.till.top_ups.run_once() == 1
    assert len(recorded(shop)) == 1


async def test_the_ceiling_counts_the_tax_and_stripe_is_not_asked_again_and_again(shop: Counter) -> None:
    ada = await saved(shop, ceiling=sums(2000, 25, shop.taxing)[2] + 1)
    assert await shop.till.top_ups.run_once() == 1
    await spend_all(ada)
    calculations = shop.sandbox.state.table("tax.calculation").rows
    before = len(calculations)
    for _ in range(3):
        assert await shop.till.top_ups.run_once() == 0
    assert len(calculations) == before


async def test_a_price_that_is_over_the_ceiling_with_its_tax_is_reckoned_once_until_something_changes(
    bank: Bank,  # noqa: F811
) -> None:
    """The buyer moves to where there is tax, before the first top-up; then the ceiling is raised."""
    shop = shop_of(bank, ON_TOP)
    ada = await saved(shop, GRACE, ceiling=2400)
    async with shop.database.begin() as connection:
        await keep_buyer(connection, ada.account_id, ADA, bank.clock())
    calculations = shop.sandbox.state.table("tax.calculation").rows
    before = len(calculations)
    for _ in range(3):
        assert await shop.till.top_ups.run_once() == 0
    assert len(calculations) == before + 1
    assert (await shop.told()).count("top_up_ceiling") == 1
    bank.clock.turn(days=2)  # February
    for _ in range(3):
        assert await shop.till.top_ups.run_once() == 0
    assert len(calculations) == before + 2, "what it was a month ago need not be true any more"
    async with shop.database.begin() as connection:
        await keep_buyer(connection, ada.account_id, GRACE, bank.clock())
    assert await shop.till.top_ups.run_once() == 1


async def test_whoever_is_nowhere_buys_nothing_and_is_told_so_before(shop: Counter) -> None:
    nemo = await shop.customer(NOWHERE)
    with pytest.raises(BuyerRefused, match="location"):
        await shop.till.shop.quote(nemo.account_id, 1000)
    with pytest.raises(BuyerRefused):
        await shop.order(nemo)
    with pytest.raises(BuyerRefused):
        await shop.till.subscriptions.subscribe(nemo.account_id, "small", back=BACK, email="n@example.com")
    assert not shop.sandbox.state.table("payment_intent").rows
    await moves(shop, nemo, GRACE)
    await shop.bought(nemo)


async def moves(shop: Counter, customer: Customer, buyer: Buyer) -> None:
    shop.bank.clock.turn(seconds=1)
    async with shop.database.begin() as connection:
        await keep_buyer(connection, customer.account_id, buyer, shop.bank.clock())


async def refused(shop: Counter) -> list[int]:
    async with shop.database.begin() as connection:
        return list(await refused_buyers(connection))


async def test_a_buyer_whom_stripe_refuses_keeps_none_behind_it(shop: Counter) -> None:
    gone, nemo, sven = [await shop.customer(buyer) for buyer in (ADA, ADA, ADA)]
    for customer in (gone, nemo, sven):
        await shop.bought(customer)
    async with shop.database.begin() as connection:
        rows = await fetch(connection, "SELECT customer FROM wallet ORDER BY account_id")
    await shop.provider.delete_customer(rows[0].customer)
    for customer, buyer in ((gone, SVEN), (nemo, NOWHERE), (sven, SVEN)):
        await moves(shop, customer, buyer)
    assert await shop.till.customers.tell_buyers() == 3
    assert await shop.till.customers.tell_buyers() == 0
    with pytest.raises(BuyerRefused):
        await shop.till.subscriptions.subscribe(nemo.account_id, "small", back=BACK, email="n@example.com")
    assert await refused(shop) == [gone.account_id, nemo.account_id]
    await moves(shop, nemo, GRACE)
    assert await shop.till.customers.tell_buyers() == 1
    assert await refused(shop) == [gone.account_id]
    assert shop.sandbox.state.table("customer").rows[rows[2].customer]["address"]["country"] == "SE"


async def test_whatever_stripe_refuses_of_a_buyer_keeps_none_behind_it(
    shop: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, sven = [await shop.customer() for _ in range(2)]
    for customer in (ada, sven):
        await shop.bought(customer)
        await moves(shop, customer, SVEN)
    async with shop.database.begin() as connection:
        of_ada, of_sven = [
            row.customer for row in await fetch(connection, "SELECT customer FROM wallet ORDER BY account_id")
        ]
    told, put = list[str](), shop.provider.put_buyer
    answer: type[BillingError] = RightsMissing

    async def refusing(customer: str, buyer: Buyer, key: str) -> None:
        if customer == of_ada:
            raise answer("Stripe: no")
        await put(customer, buyer, key)
        told.append(customer)

    monkeypatch.setattr(shop.provider, "put_buyer", refusing)
    for answer in (RightsMissing, KeyRefused, PaymentsUnavailable):
        with pytest.raises(answer):
            await shop.till.customers.tell_buyers()
    assert (told, await refused(shop)) == ([], []), "that is of no buyer"
    answer = PaymentsRefused
    await shop.till.customers.tell_buyers()
    assert (told, await refused(shop)) == ([of_sven], [ada.account_id])
    assert await shop.till.customers.tell_buyers() == 0


async def subscriber(shop: Counter, buyer: Buyer) -> Customer:
    customer = await shop.customer(buyer)
    await shop.till.subscriptions.subscribe(customer.account_id, "small", back=BACK, email="k@example.com")
    (newest, *_) = await orders_of(shop.database, customer.account_id)
    assert newest.checkout is not None
    Page(shop, newest.id, newest.checkout).pay()
    assert await shop.till.subscriptions.look(customer.account_id) is not None
    return customer


async def amounts(shop: Counter) -> list[tuple[str, int, int, int]]:
    """Kind, net, tax, gross of what was paid, oldest first."""
    table = sales.payment.c
    query = select(table.kind, table.net_cents, table.vat_cents, table.gross_cents)
    async with shop.database.begin() as connection:
        return [tuple(row) for row in await connection.execute(query.order_by(table.paid_at, table.id))]


async def renew(shop: Counter, days: float) -> None:
    shop.bank.clock.turn(days=days)
    shop.sandbox.catch_up()
    await shop.hear()


async def test_a_plan_its_upgrade_and_its_renewal(shop: Counter) -> None:
    ada = await subscriber(shop, ADA)
    shop.bank.clock.turn(days=10)
    preview = await shop.till.subscriptions.preview(ada.account_id, "large")
    await shop.till.subscriptions.upgrade(ada.account_id, "large", preview)
    await renew(shop, 25)
    first, upgrade, renewal = await amounts(shop)
    assert first == ("plan", *sums(1000, 25, shop.taxing))
    assert upgrade[0] == "upgrade"
    assert upgrade[2:] == (preview.vat_cents, preview.cents)
    assert abs(upgrade[2] * 5 - upgrade[3]) <= 5
    assert renewal == ("plan", *sums(4000, 25, shop.taxing))
    assert preview.then_cents == renewal[3]


async def test_a_plan_is_sold_as_what_the_operator_says_that_it_is_now(shop: Counter) -> None:
    """``vat.tax_code`` may change: the price from before is of a product that Stripe taxes by the code of then."""
    async with shop.database.begin() as connection:
        version = (await newest_versions(connection))["small"]
    codes = []
    for code in (SERVICE, PERSONAL, SERVICE):
        provider = StripeProvider(
            KEY,
            SECRET,
            shop.bank.clock,
            http=InProcessClient(shop.sandbox),
            tax=StripeTax(code, shop.taxing.included),
        )
        taxing = replace(shop.taxing, tax_code=code)
        price = await price_for(shop.database, provider, version, ADA, taxing)
        product = shop.sandbox.state.table("price").rows[price]["product"]
        codes.append(shop.sandbox.state.table("product").rows[product]["tax_code"])
    assert codes == [SERVICE, PERSONAL, SERVICE]
    assert len(await sold_at(shop.database, [], version)) == 2


async def test_a_plan_of_a_business_is_reverse_charged_until_it_is_none(shop: Counter) -> None:
    svea = await subscriber(shop, SVEA)
    await moves(shop, svea, SVEN)
    await shop.till.customers.tell_buyers()
    await renew(shop, 33)
    assert [one[1:] for one in await amounts(shop)] == [(1000, 0, 1000), sums(1000, 25, shop.taxing)]
    first, second = await documents(shop)
    assert [first.note, second.note] == ["Reverse charge: the buyer accounts for VAT.", ""]
    assert [first.vat_basis_points, second.vat_basis_points] == [0, 2500]


@pytest.mark.parametrize("taxing", [WITHIN, ON_TOP], ids=["within", "on top"])
async def test_all_of_the_difference_is_charged_with_its_tax(bank: Bank, taxing: Taxing) -> None:  # noqa: F811
    shop = shop_of(bank, taxing, prorated=False)
    async with bank.database.begin() as connection:
        await publish(connection, OFFER.plans, bank.clock)
    ada = await subscriber(shop, ADA)
    shop.bank.clock.turn(days=10)
    preview = await shop.till.subscriptions.preview(ada.account_id, "large")
    running = await shop.till.subscriptions.upgrade(ada.account_id, "large", preview)
    assert running.version.plan == "large"
    assert (await amounts(shop))[1] == ("upgrade", *sums(3000, 25, taxing))
    assert preview.cents == sums(3000, 25, taxing)[2]
    allowances = "SELECT amount_nanodollars AS n FROM lot WHERE source = 'allowance' ORDER BY id"
    async with bank.database.begin() as connection:
        assert [row.n for row in await fetch(connection, allowances)] == [12 * DOLLAR, 48 * DOLLAR]
    await adds_up(shop)


async def lost_address(shop: Counter, ada: Customer) -> None:
    """At Stripe; then a renewal is told of."""
    (customer,) = shop.sandbox.state.table("customer").rows.values()
    customer["address"] = None
    running = await shop.till.subscriptions.running(ada.account_id)
    assert running is not None
    assert running.period_end is not None
    shop.bank.clock.now = running.period_end
    await renew(shop, 0.001)


async def nowhere(shop: Counter) -> Customer:
    """A subscriber whose address Stripe has lost and does not take: the renewal cannot be charged now."""
    ada = await subscriber(shop, ADA)
    await moves(shop, ada, NOWHERE)
    await lost_address(shop, ada)
    assert any("address" in error for error in await shop.errors())
    return ada


async def test_an_address_that_is_lost_at_stripe_is_told_again_and_the_renewal_has_its_tax(shop: Counter) -> None:
    await lost_address(shop, await subscriber(shop, ADA))
    assert await shop.errors() == []
    assert [one[1:] for one in await amounts(shop)] == [sums(1000, 25, shop.taxing)] * 2


async def test_a_renewal_waits_for_an_address_and_the_operator_sees_why(shop: Counter) -> None:
    ada = await nowhere(shop)
    assert await refused(shop) == [ada.account_id]
    await moves(shop, ada, ADA)
    await shop.till.customers.tell_buyers()
    shop.bank.clock.turn(minutes=10)  # less than the hour after which Stripe goes on by itself
    await shop.till.inbox.run_once()
    assert [one[1:] for one in await amounts(shop)] == [sums(1000, 25, shop.taxing)] * 2
    assert await shop.errors() == []


async def test_what_stripe_charges_without_its_tax_is_taxed_by_the_table_and_the_next_renewal_by_stripe(
    shop: Counter,
) -> None:
    ada = await nowhere(shop)
    await moves(shop, ada, ADA)
    await renew(shop, 0.2)
    assert (await amounts(shop))[1] == ("plan", 800, 200, 1000)
    await moves(shop, ada, SVEN)
    await shop.till.customers.tell_buyers()
    await renew(shop, 31)
    assert (await amounts(shop))[2] == ("plan", *sums(1000, 25, shop.taxing))
    assert [one.vat_code for one in await documents(shop)] == ["3", "3", "7"]


async def test_a_plan_from_before_renews_by_the_table(bank: Bank) -> None:  # noqa: F811
    """What Stripe did not reckon is not without tax."""
    shop = shop_of(bank, WITHIN)
    async with bank.database.begin() as connection:
        await publish(connection, OFFER.plans, bank.clock)
    await subscriber(shop, ADA)
    for row in shop.sandbox.state.table("subscription").rows.values():
        row["automatic_tax"] = {**row["automatic_tax"], "enabled": False}
    await renew(shop, 33)
    assert await amounts(shop) == [("plan", 800, 200, 1000)] * 2
    await adds_up(shop)
