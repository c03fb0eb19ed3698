"""What a customer holds in hands: the PDF says all, with the letters of their name, and comes by mail."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from email import message_from_bytes
from email.policy import default

import pypdfium2
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined
from msgspec.structs import replace

from appliance.identity.letters import Site
from appliance.mail.letter import Sender, as_message
from appliance.papers.letters import PaperLetters
from appliance.papers.paper import Paper, lay_out
from appliance.papers.papers import Papers
from appliance.papers.pdf import as_pdf
from appliance.papers.wording import Words
from billing.documents.document import Document, Exchanged, Kind, Line
from billing.documents.exchange import EXAMPLE, EXAMPLE_SOURCE
from billing.documents.posting import Sold
from billing.documents.reading import Paid
from billing.documents.settled import InvoiceState
from tests.documents.conftest import ATHENS, OSLO, SELLER, Shop

ACCENT = "#1f5fbf"
MOMENT = datetime(2026, 11, 27, 12, tzinfo=UTC)
PAID = Paid(MOMENT, 2500, by_bank=False)


def posted(**changes: object) -> Document:
    values: dict[str, object] = {
        "series": "", "kind": Kind.RECEIPT, "account_id": 1, "seller": SELLER, "buyer": OSLO,
        "lines": [Line("credit of $25.00", 2000, unit_cents=2000)], "delivered_at": MOMENT, "language": "en",
        "net_cents": 2000, "vat_cents": 500, "gross_cents": 2500, "vat_code": "3", "vat_basis_points": 2500,
        "exchange": Exchanged("NOK", Decimal("10.8512"), date(2026, 11, 27), "Norges Bank"),
        "id": 1, "number": 1047, "issued_at": MOMENT,
    }  # fmt: skip
    return Document(**values | changes)  # type: ignore[arg-type]


def stands(**changes: int | date) -> InvoiceState:
    """An invoice of 25 dollars; unpaid, without."""
    return replace(InvoiceState(2500, 0, 0, 0, 2500, date(2026, 12, 11)), **changes)


def text_of(content: bytes) -> str:
    """All that is on its pages, without breaks."""
    with pypdfium2.PdfDocument(content) as opened:
        return " ".join(page.get_textpage().get_text_range() for page in opened).replace("\r\n", " ")


def of(paper: Paper) -> str:
    return text_of(as_pdf(paper, ACCENT))


def test_a_receipt_says_who_what_when_and_how_much() -> None:
    text = of(lay_out(posted(), PAID))
    for said in (
        "Receipt", "1047", "27 November 2026", "Example AS", "0155 Oslo", "NO 999 999 999 MVA",
        "Øyvind Łukasiewicz", "Karl Johans gate 1", "credit of $25.00", "Without VAT 20.00", "VAT 25 % 5.00",
        "Total, USD 25.00", "VAT in NOK: 54.26. One US dollar was 10.8512 NOK", "Norges Bank", "Paid. Thank you.",
    ):  # fmt: skip
        assert said in text


def test_a_plans_receipt_says_for_which_time_it_is() -> None:
    until = datetime(2026, 12, 27, 12, tzinfo=UTC)
    text = of(lay_out(posted(delivered_until=until, language="nb"), PAID))
    assert "Levert over internett 27. november 2026 til 27. desember 2026" in text


def test_an_invoice_in_norwegian_to_a_business_abroad() -> None:
    invoice = posted(
        kind=Kind.INVOICE, buyer=ATHENS, language="nb", due_on=date(2026, 12, 11), period="2026-11", vat_cents=0,
        vat_basis_points=0, vat_code="52", gross_cents=2000, note="Outside the scope of Norwegian VAT",
    )  # fmt: skip
    text = of(lay_out(invoice, state=stands(gross_cents=2000, left_cents=2000, due_on=date(2026, 12, 11))))
    for said in ("Faktura", "Γιώργος AE", "Αθήνα", "Hellas", "EL123456789", "november 2026", "Forfall",
                 "11. desember 2026", "Merverdiavgift 0 % 0,00", "Outside the scope", "USD 20,00"):  # fmt: skip
        assert said in text
    assert "Betalt" not in text


def test_an_invoice_says_where_it_is_paid_by_bank_until_it_is_paid() -> None:
    seller = replace(SELLER, bank_account="NO93 8601 1117 947")
    invoice = posted(kind=Kind.INVOICE, seller=seller, series="AB", due_on=date(2026, 12, 11))
    where = "By bank: pay to account NO93 8601 1117 947, and name invoice AB-1047."
    assert where in of(lay_out(invoice, state=stands()))
    partly = stands(paid_cents=1000, credited_cents=1000, left_cents=500)
    assert where in of(lay_out(invoice, Paid(MOMENT, 1000, by_bank=True), state=partly))
    whole = stands(paid_cents=2500, left_cents=0)
    assert "By bank" not in of(lay_out(invoice, Paid(MOMENT, 2500, by_bank=True), state=whole))
    assert "By bank" not in of(lay_out(invoice, state=stands(credited_cents=2500, left_cents=0)))
    assert "By bank" not in of(lay_out(posted(seller=seller), PAID)), "a receipt is paid"
    assert "By bank" not in of(lay_out(replace(invoice, seller=SELLER), state=stands()))


def test_a_credit_note_names_what_it_takes_back() -> None:
    text = of(lay_out(posted(kind=Kind.CREDIT_NOTE, corrects_id=7), corrects="1046"))
    assert "Credit note" in text
    assert "Takes back 1046" in text
    assert "Paid back, USD 25.00" in text
    assert "Thank you" not in text


def test_a_trial_is_no_real_receipt() -> None:
    exchange = Exchanged("NOK", EXAMPLE, date(2026, 11, 27), EXAMPLE_SOURCE)
    text = of(lay_out(posted(series="SANDBOX", exchange=exchange)))
    assert "This is a trial: no money was paid." in text
    assert "(an example)" in text
    assert "SANDBOX-1047" in text


def test_a_company_says_in_which_register_it_is_beside_its_number() -> None:
    seller = replace(SELLER, register="Foretaksregisteret")
    assert "NO 999 999 999 MVA, Foretaksregisteret" in of(lay_out(posted(seller=seller)))


def test_a_seller_that_charges_no_tax_does_not_write_mva() -> None:
    seller = type(SELLER)("Example AS", "", "", "Oslo", "NO", "999 999 999", registered=False)
    assert "MVA" not in of(lay_out(posted(seller=seller)))


def test_a_long_invoice_goes_on_over_pages() -> None:
    lines = [
        Line(f"model {n}: a million tokens, and a text that takes more than a line of the table", n)
        for n in range(90)
    ]
    content = as_pdf(lay_out(posted(lines=lines)), ACCENT)
    text = text_of(content)
    assert all(f"model {n}:" in text for n in range(90))
    with pypdfium2.PdfDocument(content) as opened:
        assert len(opened) > 2


def test_the_same_document_is_the_same_file() -> None:
    assert as_pdf(lay_out(posted()), ACCENT) == as_pdf(lay_out(posted()), ACCENT)


def test_letters_that_the_font_has_not_are_told_to_no_log(caplog: pytest.LogCaptureFixture) -> None:
    as_pdf(lay_out(posted(buyer=type(OSLO)("山田", "a", "1", "東京", "JP", business=False))), ACCENT)
    assert caplog.text == ""


def test_the_page_says_the_same_and_escapes_what_people_typed() -> None:
    pages = Environment(
        loader=PackageLoader("appliance.papers"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    buyer = type(OSLO)("<b>Ada</b>", "a", "1", "Oslo", "NO", business=False)
    paper = lay_out(posted(buyer=buyer), PAID)
    page = pages.get_template("paper.html").render(paper=paper)
    assert "&lt;b&gt;Ada&lt;/b&gt;" in page
    for text in (*paper.seller, *paper.notes, *(value for _, value in paper.sums)):
        assert text in page


def test_an_invoice_says_what_is_paid_of_it_and_how() -> None:
    invoice = posted(kind=Kind.INVOICE, due_on=date(2026, 12, 11), period="2026-11")
    part, whole = (
        of(
            lay_out(
                invoice, Paid(MOMENT, cents, by_bank=True), state=stands(paid_cents=cents, left_cents=2500 - cents)
            )
        )
        for cents in (1000, 2500)
    )
    assert "Paid: 10.00 USD. To be paid: 15.00 USD." in part
    assert "Thank you" not in part
    assert "Paid by bank 27 November 2026" in whole
    assert "Paid. Thank you." in whole


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"credited_cents": 2500}, "Credited: 25.00 USD. Nothing is to be paid."),
        ({"forgiven_cents": 2500}, "Forgiven: 25.00 USD. Nothing is to be paid."),
        (
            {"paid_cents": 1000, "credited_cents": 900, "forgiven_cents": 600},
            "Paid: 10.00 USD. Credited: 9.00 USD. Forgiven: 6.00 USD. Nothing is to be paid.",
        ),
        (
            {"credited_cents": 1000, "left_cents": 1500},
            "Credited: 10.00 USD. To be paid: 15.00 USD.",
        ),
    ],
)
def test_an_invoice_that_is_not_to_be_paid_says_why(parts: dict[str, int], said: str) -> None:
    invoice = posted(kind=Kind.INVOICE, due_on=date(2026, 12, 11), period="2026-11")
    text = of(lay_out(invoice, state=stands(**({"left_cents": 0} | parts))))
    assert said in text
    assert "Thank you" not in text


async def test_it_comes_by_mail_with_its_pdf(shop: Shop) -> None:
    await shop.sells(await shop.bank.customer(0), 2500)
    await shop.post()
    (receipt,) = await shop.documents()
    letters = PaperLetters(Site("Appliance", "https://site.example"), Papers(ACCENT))
    async with shop.bank.database.begin() as connection:
        letter = await letters.write(connection, receipt.id, "nb")
        assert await letters.write(connection, 4711, "nb") is None
    assert letter is not None
    message = as_message(letter, Sender("Appliance", "a@b.example"), "ada@example.com", "nb", MOMENT)
    read = message_from_bytes(bytes(message), policy=default)
    (attached,) = read.iter_attachments()
    assert attached.get_filename() == "receipt-1.pdf"
    assert "Øyvind Łukasiewicz" in text_of(attached.get_content())
    body = read.get_body(("plain",))
    assert body is not None
    assert re.search(r"Vedlagt er Receipt 1", body.get_content())


@pytest.mark.parametrize(
    ("sold", "said"),
    [
        (Sold("credit", 25 * 10**9, None, MOMENT), "Appliance: kreditt på $25.00 til bruk av API-et"),
        (Sold("top_up", 25 * 10**9, None, MOMENT), "Appliance: kreditt på $25.00 til bruk av API-et"),
        (Sold("plan", 10**9, {"en": "Pro"}, MOMENT), "Appliance: abonnementet Pro, en måned"),
        (Sold("upgrade", 10**9, {"en": "Pro"}, MOMENT), "Appliance: bytte til abonnementet Pro"),
    ],
)
def test_what_was_sold_is_said_in_the_buyers_language(sold: Sold, said: str) -> None:
    assert Words("Appliance").sold(sold, "nb") == said
