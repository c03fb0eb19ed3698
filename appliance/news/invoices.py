"""What is told of unpaid invoices: to whoever owes, and to the operator."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from babel.dates import format_date

from appliance.identity.letters import Site
from appliance.mail.letter import Letter
from appliance.texts import Say, locale_of
from billing.payments.notices import TO_OPERATOR
from billing.payments.reminding import REMINDER, STOPPED
from billing.prices.money import NANODOLLARS_PER_CENT, format_dollars

Body = Mapping[str, Any]
Writer = Callable[[Body, Say, str], Letter]


class InvoiceLetters:
    """``kinds`` are the notices that it writes."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.kinds: Mapping[str, Writer] = {REMINDER: self._reminder, f"{TO_OPERATOR}{STOPPED}": self._stopped}

    def _reminder(self, body: Body, say: Say, language: str) -> Letter:
        values = self._values(body, language)
        return Letter(
            say("Reminder: invoice {name} is not paid", **values),
            (
                say("Of invoice {name} of {service}, {amount} was to be paid by {due}.", **values),
                say("If it is not paid by {stops}, your account answers no more requests until it is.", **values),
                say("If you have paid by bank in the last days, you can ignore this."),
            ),
            (say("Receipts and invoices"), self._site.url("/documents")),
        )

    def _stopped(self, body: Body, say: Say, language: str) -> Letter:
        values = self._values(body, language) | {"account": body["account_id"]}
        return Letter(
            say("Account {account} is stopped: invoice {name} is not paid", **values),
            (
                say("Of invoice {name}, {amount} was to be paid by {due}.", **values),
                say("The account goes on by itself once you note the payment."),
            ),
            (say("Console"), self._site.url(f"/console/customers/{body['account_id']}")),
        )

    def _values(self, body: Body, language: str) -> dict[str, str]:
        due, stops = (
            format_date(date.fromisoformat(body[which]), "long", locale=locale_of(language))
            for which in ("due_on", "stops_on")
        )
        amount = format_dollars(body["left_cents"] * NANODOLLARS_PER_CENT)
        return {"name": body["name"], "service": self._site.name, "amount": amount, "due": due, "stops": stops}
