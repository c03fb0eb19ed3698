"""What owners are told by mail of what happens to their accounts."""

from datetime import timedelta
from uuid import uuid4

from sqlalchemy import select

from appliance.identity.letters import Site
from appliance.news.invoices import InvoiceLetters
from appliance.news.payments import PaymentLetters
from appliance.news.telling import notice_ends
from appliance.texts import speaker
from billing.customers.accounts import find_account
from billing.database.tables import notice
from billing.ledger.credit import Credit
from billing.payments.notices import tell_owner
from billing.payments.reminding import REMINDER, why_stopped
from billing.prices.rates import Prices, change_rate, first_rates
from billing.store.postgres import PostgresStore
from tests.web.conftest import House

DOLLAR = 10**9


async def number_of(house: House, email: str = "ada@example.com") -> int:
    async with house.database.begin() as connection:
        account = await find_account(connection, email)
    assert account is not None
    return account.id


async def test_each_change_of_standing_is_told_once_with_its_reason(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    await ada.post("/account/language", {"language": "nb"})
    await house.letters()
    standings, number = house.standings(), await number_of(house)
    await standings.suspend(number, "operator", "delte nøkkelen")
    ((to, letter),) = await house.letters()
    assert (to, letter.subject) == ("ada@example.com", "Kontoen din er stengt")
    assert "Begrunnelsen: delte nøkkelen" in letter.paragraphs
    await standings.resume(number, "operator", "x")
    await standings.mark_for_deletion(number, "operator", "x")
    await standings.restore(number, "operator", "x")
    subjects = [letter.subject for _, letter in await house.letters()]
    assert subjects == ["Kontoen din er åpnet igjen", "Kontoen din blir slettet", "Kontoen din blir"]
    assert await house.letters() == []


async def test_credit_that_ends_is_told_thirty_and_seven_days_before(house: House) -> None:
    await house.browser().sign_up()
    await house.letters()
    credit, number = Credit(PostgresStore(house.database), house.clock), await number_of(house)
    await credit.purchase(number, 10 * DOLLAR, "test", uuid4())
    end = house.clock.now.replace(year=house.clock.now.year + 1)
    told = []
    for days in range(40, -1, -1):
        house.clock.now = end - timedelta(days=days)
        for _ in range(2):
            async with house.database.begin() as connection:
                await notice_ends(connection, house.clock())
        told += [(days, letter.paragraphs[0]) for _, letter in await house.letters()]
    assert [days for days, _ in told] == [30, 7]
    assert "$10.00 ends on" in told[0][1]


async def test_a_change_of_price_is_told_to_everybody_in_good_standing(house: House) -> None:
    ada, bob = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await bob.sign_up("bob@example.com", "Bob")
    await house.standings().suspend(await number_of(house, "bob@example.com"), "operator", "x")
    await house.letters()
    async with house.database.begin() as connection:
        await first_rates(connection, {"smollm2": Prices(100_000, 20_000, 400_000)}, house.clock)
        on = house.clock() + timedelta(days=30)
        new = Prices(120_000, 20_000, 500_000)
        await change_rate(connection, "smollm2", new, on, house.clock, notice_days=14, actor="operator")
    ((to, letter),) = await house.letters()
    assert (to, letter.subject) == ("ada@example.com", "The price of smollm2 changes")
    assert "Input: $0.12 (until then $0.10)" in letter.paragraphs
    assert "Output: $0.50 (until then $0.40)" in letter.paragraphs


async def test_every_kind_of_notice_has_a_letter(house: House) -> None:
    await house.browser().sign_up()
    number = await number_of(house)
    await house.letters()
    month = {"month": "2026-11", "budget_nanodollars": DOLLAR, "spent_nanodollars": DOLLAR // 2}
    async with house.database.begin() as connection:
        for percent, key in ((50, None), (100, 7)):
            row = {"kind": "budget", "account_id": number, "subject": f"{percent}", "created_at": house.clock()}
            body = month | {"percent": percent, "key_id": key}
            await connection.execute(notice.insert().values(**row, body=body))
    assert [letter.subject for _, letter in await house.letters()] == [
        "50 % of a budget is used",
        "A budget is used up",
    ]
    async with house.database.begin() as connection:
        assert not (await connection.execute(select(notice.c.id).where(notice.c.sent_at.is_(None)))).all()


async def test_an_unpaid_invoice_is_reminded_of_in_the_owners_language_and_the_operator_hears_of_a_stop(
    house: House,
) -> None:
    ada = house.browser()
    await ada.sign_up()
    await ada.post("/account/language", {"language": "nb"})
    await house.letters()
    number, now = await number_of(house), house.clock()
    body = {
        "account_id": number, "document": 1, "name": "AB-12", "left_cents": 12_345, "due_on": "2026-02-15",
        "stops_on": "2026-03-08",
    }  # fmt: skip
    async with house.database.begin() as connection:
        await tell_owner(connection, number, REMINDER, "AB-12", body, now)
    ((to, letter),) = await house.letters()
    assert (to, letter.subject) == ("ada@example.com", "Påminnelse: faktura AB-12 er ikke betalt")
    assert "$123.45" in letter.paragraphs[0]
    assert "15. februar 2026" in letter.paragraphs[0]
    assert "8. mars 2026" in letter.paragraphs[1]
    await house.standings().suspend(number, "appliance", why_stopped("AB-12"))
    ((_, letter),) = await house.letters()
    assert "Begrunnelsen: Faktura AB-12 er ikke betalt." in letter.paragraphs
    await ada.sign_in()
    shown = await ada.get("/standing")
    assert "Faktura AB-12 er ikke betalt." in shown.words
    assert 'href="/documents"' in shown.text
    said = InvoiceLetters(Site("Service", "https://site.test")).kinds["operator:invoice_stop"]
    letter = said(body, speaker("en"), "en")
    assert letter.subject == f"Account {number} is stopped: invoice AB-12 is not paid"


def test_who_contested_the_payment_of_an_invoice_is_told_until_when_to_pay_it_now() -> None:
    said = PaymentLetters(Site("Service", "https://site.test")).kinds["dispute"]
    body = {"state": "lost", "amount_nanodollars": 10**10, "invoice": "AB-12", "pay_by": "2026-12-15"}
    letter = said(body, speaker("en"), "en")
    assert letter.subject == "Invoice AB-12 is unpaid again"
    assert "It was for invoice AB-12, which is to be paid by 15 December 2026 now." in letter.paragraphs
    assert letter.link == ("Receipts and invoices", "https://site.test/documents")
    letter = said(body | {"state": "open", "pay_by": None}, speaker("nb"), "nb")
    assert "Den gjaldt faktura AB-12." in letter.paragraphs[1]
