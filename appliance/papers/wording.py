"""What documents say, in the language of an account's people."""

from datetime import date

from babel.dates import format_skeleton
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.tables import person
from appliance.texts import ENGLISH, Say, locale_of, speaker
from billing.documents.document import Document, Kind
from billing.documents.posting import Sold
from billing.documents.settled import InvoiceState
from billing.plans.catalog import in_language
from billing.prices.money import format_dollars

UNTAXED = (
    "not_collecting",
    "not_subject_to_tax",
    "not_supported",
    "product_exempt",
    "product_exempt_holiday",
    "zero_rated",
)
"""Stripe's reasons for a rate of 0, but for the two that have words of their own."""


class Words:
    """The words of ``billing.documents.posting``. ``service`` is what it is called."""

    def __init__(self, service: str) -> None:
        self._service = service

    async def language(self, connection: AsyncConnection, account_id: int) -> str:
        """English for an account that no person has."""
        query = select(person.c.language).where(person.c.account_id == account_id)
        found: str | None = (await connection.execute(query)).scalar_one_or_none()
        return found or ENGLISH

    def sold(self, sold: Sold, language: str) -> str:
        say = speaker(language)
        if sold.plan is not None:
            plan = in_language(sold.plan, language)
            if sold.kind == "upgrade":
                return say("{service}: change to the plan {plan}", service=self._service, plan=plan)
            return say("{service}: the plan {plan}, a month", service=self._service, plan=plan)
        credit = format_dollars(sold.value)
        return say("{service}: credit of {credit} for use of the API", service=self._service, credit=credit)

    def returned(self, taken_back: Document) -> str:
        say = speaker(taken_back.language)
        return say(
            "Paid back of {title} {number}: {what}",
            title=title_of(taken_back.kind, say).lower(),
            number=taken_back.name,
            what="; ".join(line.text for line in taken_back.lines),
        )

    def credited(self, invoice: Document) -> str:
        say = speaker(invoice.language)
        what = "; ".join(line.text for line in invoice.lines)
        return say("Not to be paid of invoice {number}: {what}", number=invoice.name, what=what)

    def used(self, period: str, language: str) -> str:
        say, month = speaker(language), month_of(period, language)
        return say("{service}: credit used in {month}", service=self._service, month=month)

    def invoiced(self, period: str, language: str) -> str:
        say, month = speaker(language), month_of(period, language)
        return say("{service}: use of the API in {month}", service=self._service, month=month)

    def taxed_when_used(self, language: str) -> str:
        say = speaker(language)
        return say("Credit that is paid in advance: VAT is charged when it is used.")

    def reckoned(self, reason: str, language: str) -> str:
        say = speaker(language)
        if reason == "reverse_charge":
            return say("Reverse charge: the buyer accounts for VAT.")
        if reason == "customer_exempt":
            return say("The buyer is exempt from VAT.")
        if reason in UNTAXED:
            return say("No VAT: it is zero-rated, or not due from the seller in the buyer's country.")
        return ""


def title_of(kind: Kind, say: Say) -> str:
    return {
        Kind.RECEIPT: say("Receipt"),
        Kind.INVOICE: say("Invoice"),
        Kind.CREDIT_NOTE: say("Credit note"),
        Kind.USAGE: say("Credit used"),
    }[kind]


def standing_of(state: InvoiceState, say: Say) -> str:
    """What became of an invoice, as lists of documents say it; nothing of one that is unpaid as a whole."""
    parts = (
        (state.paid_cents, say("Paid"), say("Partly paid")),
        (state.credited_cents, say("Credited"), say("Partly credited")),
        (state.forgiven_cents, say("Forgiven"), say("Partly forgiven")),
    )
    said = [(whole, partly) for cents, whole, partly in parts if cents]
    if len(said) == 1 and not state.left_cents:
        return said[0][0]
    return ", ".join(
        partly if place == 0 else partly[0].lower() + partly[1:] for place, (_, partly) in enumerate(said)
    )


def month_of(period: str, language: str) -> str:
    """``2026-11`` as people write it."""
    return format_skeleton("yMMMM", date.fromisoformat(f"{period}-01"), locale=locale_of(language))
