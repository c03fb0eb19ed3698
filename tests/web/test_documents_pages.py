"""Who buys, and the receipts, invoices and credit notes that say it."""

import json
from datetime import timedelta
from io import BytesIO
from zipfile import ZipFile

from sqlalchemy import insert, select, update

from billing.database import sales
from billing.database.tables import account
from billing.documents.vat import Taxing, VatRule
from billing.ids import new_id
from billing.prices.money import NANODOLLARS_PER_CENT
from tests.taxing import ABROAD, NORWAY
from tests.web.conftest import Browser, House
from tests.web.shopping import BUYER, WHO, account_of, paid, pay, post_documents, say_who_buys, sent_to_stripe

SCRIPT = "<script>alert(1)</script>"


async def test_who_buys_is_asked_once_and_leads_on(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    asked = await ada.get("/billing?next=/plan")
    assert asked.field("name") == "Ada"
    assert (await ada.post("/billing", WHO | {"next": "/plan"})).path == "/plan"
    shown = await ada.get("/billing")
    assert [shown.field(name) for name in ("name", "address", "city")] == ["Ada King", "Storgata 1", "Oslo"]
    assert '<option value="NO" selected>Norway</option>' in shown.text
    await ada.post("/account/language", {"language": "nb"})
    assert '<option value="NO" selected>Norge</option>' in (await ada.get("/billing")).text


async def test_what_cannot_stand_on_a_document_is_refused_with_the_reason(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    for wrong, told in (
        ({"name": " "}, "are all needed"), ({"city": ""}, "are all needed"),
        ({"country": "XX"}, "Choose your country"), ({"business": ""}, "business or for yourself"),
        ({"address": "x" * 201}, "200 characters"),
        ({"name": "a\x1b[2J"}, "200 characters"),
    ):  # fmt: skip
        refused = await ada.post("/billing", WHO | wrong)
        assert (refused.status, told in refused.words) == (400, True), wrong
        assert refused.field("postal_code") == "0155"
    assert (await ada.post("/billing", WHO | {"next": "https://evil.example"})).path == "/billing"


async def test_a_tax_number_is_a_businesss_alone(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    await ada.post("/billing", WHO | {"business": "yes", "tax_number": "999 999 999 MVA"})
    assert (await ada.get("/billing")).field("tax_number") == "999 999 999 MVA"
    await ada.post("/billing", WHO | {"business": "no", "tax_number": "999 999 999 MVA"})
    assert (await ada.get("/billing")).field("tax_number") == ""


async def test_a_business_that_pays_no_tax_for_being_one_has_to_give_its_number(house: House) -> None:
    reverse_charge = Taxing([NORWAY, VatRule("SE", True, 0, "52"), VatRule("SE", False, 2500, "7"), ABROAD])
    ada = house.with_taxing(reverse_charge).browser()
    await ada.sign_up()
    swedish = {"country": "SE", "business": "yes"}
    refused = await ada.post("/billing", WHO | swedish)
    assert (refused.status, "Its tax number is needed" in refused.words) == (400, True)
    assert (await ada.get("/billing")).field("name") == "Ada", "nothing was kept"
    for kept in (
        swedish | {"tax_number": "SE556677889901"}, swedish | {"business": "no"}, swedish | {"country": "NO"},
        swedish | {"country": "US"},
    ):  # fmt: skip
        assert (await ada.post("/billing", WHO | kept)).status == 200, kept


async def test_a_receipt_is_read_as_a_page_and_as_a_pdf(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    assert "A receipt comes with each payment" in (await ada.get("/documents")).words
    await paid(house, await account_of(house), 1250)
    assert await post_documents(house) == 1
    listed = await ada.get("/documents")
    assert "$12.50" in listed.words
    page = await ada.get(document_path(listed.text))
    assert page.title.startswith("Receipt ")
    assert "Ada King" in page.words
    pdf = await ada.client.get(f"{page.path}/pdf")
    assert pdf.headers["content-type"] == "application/pdf"
    assert pdf.headers["content-disposition"].startswith("attachment; filename=receipt-")
    assert pdf.content.startswith(b"%PDF-")


async def test_documents_are_read_by_their_owner_whatever_happens_and_by_nobody_else(house: House) -> None:
    ada, mallory = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await mallory.sign_up("mallory@example.com", "Mallory")
    await paid(house, await account_of(house))
    await post_documents(house)
    path = document_path((await ada.get("/documents")).text)
    for tried in (path, f"{path}/pdf", "/documents/0", "/documents/x", f"/documents/{10**30}"):
        assert (await mallory.get(tried)).status == 404, tried
    assert path not in (await mallory.get("/documents")).text
    assert (await mallory.get(f"/console{path}")).status == 404
    operator = house.browser("203.0.113.5")
    await operator.become_operator()
    assert "Ada King" in (await operator.get(f"/console{path}")).words
    assert (await operator.get("/console/documents/x")).status == 404
    await house.standings().suspend(await account_of(house), "operator", "a reason")
    assert (await ada.get(path)).status == 200
    assert (await ada.client.get(f"{path}/pdf")).status_code == 200
    assert (await ada.get("/billing")).path == "/standing"


async def test_an_invoice_says_until_when_and_that_it_is_late(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    await invoice(house, await account_of(house), days=14)
    listed = await ada.get("/documents")
    assert "late" not in listed.words
    assert "Invoice" in listed.words
    path = document_path(listed.text)
    assert "Pay $100.00" in (await ada.get(path)).words
    url = await sent_to_stripe(ada, f"{path}/pay", {"order": (await ada.get(path)).field("order")})
    assert "/c/pay/" in url
    house.clock.turn(days=15)
    await ada.sign_in()
    assert "late" in (await ada.get("/documents")).words
    assert "This invoice was due on" in (await ada.get(document_path(listed.text))).words


async def test_the_lists_say_what_became_of_an_invoice(house: House) -> None:
    ada, operator = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await operator.become_operator()
    number = await account_of(house)
    await invoice(house, number, days=14)
    told = []
    for cents, kind in ((2_500, "forgiven"), (4_000, "credited"), (3_500, "paid")):
        await allocated(house, number, cents, kind)
        told.append((await ada.get("/documents")).words)
        assert kind in (await operator.get(f"/console/customers/{number}/billing")).words
    assert "Partly forgiven" in told[0]
    assert "Partly credited, partly forgiven" in told[1]
    assert "Partly paid, partly credited, partly forgiven" in told[2]


async def test_an_invoice_that_is_credited_as_a_whole_is_not_called_paid(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    await invoice(house, await account_of(house), days=14)
    await allocated(house, await account_of(house), 10_000, "credited")
    listed = await ada.get("/documents")
    assert "Credited" in listed.words
    assert "Paid" not in listed.words
    page = await ada.get(document_path(listed.text))
    assert "Credited: 100.00 USD. Nothing is to be paid." in page.words
    await ada.post("/account/language", {"language": "nb"})
    assert "Kreditert" in (await ada.get("/documents")).words


async def test_an_invoice_whose_button_is_pressed_twice_has_one_page_to_pay_on(house: House) -> None:
    ada, mallory = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await invoice(house, await account_of(house), days=14)
    path = document_path((await ada.get("/documents")).text)
    form = {"order": (await ada.get(path)).field("order")}
    urls = {await sent_to_stripe(ada, f"{path}/pay", form) for _ in range(2)}
    assert len(urls) == 1
    pay(house, urls.pop())
    assert "Paid: thank you" in (await ada.get(f"/documents/paid?payment={form['order']}")).words
    assert "Pay $100.00" not in (await ada.post(f"{path}/pay", form)).words
    await mallory.sign_up("mallory@example.com", "Mallory")
    assert (await mallory.post(f"{path}/pay", form)).status == 404
    assert (await ada.post(f"{path}/pay", {"order": "x"})).status == 400


async def test_what_a_buyer_typed_is_text_on_every_page(house: House) -> None:
    ada, operator = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await operator.become_operator()
    await ada.post("/billing", WHO | {"name": SCRIPT, "business": "yes", "tax_number": SCRIPT})
    number = await account_of(house)
    await paid(house, number)
    await post_documents(house)
    for page in (await ada.get("/billing"), await operator.get(f"/console/customers/{number}/billing")):
        assert SCRIPT not in page.text
        assert "alert(1)" in page.text


async def test_who_bought_and_what_is_in_the_download(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    await say_who_buys(ada)
    payment, now = await paid(house, await account_of(house)), house.clock()
    refund = {
        "id": new_id(now), "payment_id": payment, "state": "done", "value_nanodollars": 10**10, "net_cents": 800,
        "vat_cents": 200, "gross_cents": 1000, "actor": "operator 1", "reason": "good will", "created_at": now,
        "done_at": now,
    }  # fmt: skip
    async with house.database.begin() as connection:
        await connection.execute(insert(sales.refund).values(refund))
    await post_documents(house)
    archive = await downloaded(ada)
    assert [one["reason"] for one in archive["refunds"]] == ["good will"]
    assert [one["address"] for one in archive["buyer"]] == ["Storgata 1"]
    assert [one["gross_cents"] for one in archive["payments"]] == [1000]
    assert [one["kind"] for one in archive["documents"]] == ["receipt", "credit_note"]


def document_path(text: str) -> str:
    return "/documents/" + text.partition('href="/documents/')[2].partition('"')[0]


async def invoice(house: House, account_id: int, days: int) -> None:
    """As the month's end makes one for a customer who pays afterwards."""
    now, buyer = house.clock(), {name: getattr(BUYER, name) for name in BUYER.__struct_fields__}
    seller = house.settings.seller
    row = {
        "series": "", "number": 0, "kind": "invoice", "account_id": account_id, "period": "2026-11",
        "issued_at": now, "delivered_at": now, "due_on": (now + timedelta(days=days)).date(), "net_cents": 8000,
        "vat_cents": 2000, "gross_cents": 10_000, "vat_code": "3", "vat_basis_points": 2500, "language": "en",
        "seller": {name: getattr(seller, name) for name in seller.__struct_fields__}, "buyer": buyer,
        "lines": [{"text": "Usage", "net_cents": 8000, "quantity": 1, "unit_cents": 8000}],
    }  # fmt: skip
    async with house.database.begin() as connection:
        await connection.execute(insert(sales.document).values(row))
        owes = update(account).where(account.c.id == account_id).values(owed_nanodollars=100 * 10**9)
        await connection.execute(owes)


async def allocated(house: House, account_id: int, cents: int, kind: str) -> None:
    """So much of the account's invoice is not to be paid any more."""
    values = {"cause": new_id(house.clock()), "cents": cents, "kind": kind, "created_at": house.clock()}
    async with house.database.begin() as connection:
        row = values | {"document_id": select(sales.document.c.id).scalar_subquery()}
        await connection.execute(insert(sales.allocation).values(row))
        less = account.c.owed_nanodollars - cents * NANODOLLARS_PER_CENT
        await connection.execute(update(account).where(account.c.id == account_id).values(owed_nanodollars=less))


async def downloaded(browser: Browser) -> dict[str, list[dict[str, object]]]:
    answer = await browser.at(browser.house.without_chat()).client.get("/account/data")
    with ZipFile(BytesIO(answer.content)) as archive:
        found: dict[str, list[dict[str, object]]] = json.loads(archive.read("account.json"))
    return found
