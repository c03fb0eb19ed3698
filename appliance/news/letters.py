"""What each notice says, in the owner's language."""

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from babel.dates import format_date
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.letters import Site
from appliance.mail.letter import Letter
from appliance.mail.queue import Mail
from appliance.news.invoices import InvoiceLetters
from appliance.news.payments import PaymentLetters
from appliance.news.plans import PlanLetters
from appliance.papers.letters import PaperLetters
from appliance.texts import Say, locale_of, speaker
from billing.database.db import fetch
from billing.database.purposes import CHAT
from billing.documents.posting import NOTICE as DOCUMENT
from billing.payments.reminding import PAID, stopped_for
from billing.prices.money import MICRODOLLARS_PER_DOLLAR, decimal, format_dollars

Body = Mapping[str, Any]
_NOTICE = """
SELECT n.kind, n.body::text AS body, k.purpose
FROM notice n LEFT JOIN api_key k ON k.id = (n.body->>'key_id')::bigint WHERE n.id = $1
"""


class NewsLetters:
    def __init__(self, site: Site, papers: PaperLetters) -> None:
        self._site = site
        self._papers = papers
        self._kinds: Mapping[str, Callable[[Body, Say, str], Letter]] = {
            "budget": self._budget,
            "rate_change": self._rate_change,
            "rate_withdrawn": self._rate_withdrawn,
            "lot_ends": self._lot_ends,
            "standing": self._standing,
            "terms": self._terms,
            **PaymentLetters(site).kinds,
            **PlanLetters(site).kinds,
            **InvoiceLetters(site).kinds,
        }

    async def write(self, connection: AsyncConnection, one: Mail) -> Letter | None:
        """None if the notice is gone. Raises KeyError for a kind that nobody writes."""
        rows = await fetch(connection, _NOTICE, one.about)
        if not rows:
            return None
        (notice,) = rows
        body = json.loads(notice.body)
        if notice.kind == DOCUMENT:
            return await self._papers.write(connection, body["document"], one.language)
        body["of_chat"] = notice.purpose == CHAT
        return self._kinds[notice.kind](body, speaker(one.language), one.language)

    def _budget(self, body: Body, say: Say, _: str) -> Letter:
        values = {
            "percent": body["percent"], "budget": format_dollars(body["budget_nanodollars"]),
            "spent": format_dollars(body["spent_nanodollars"]), "month": body["month"],
        }  # fmt: skip
        if body["of_chat"]:
            whose = say("Of your chat's budget of {budget} for {month}, {percent} % is used: {spent}.", **values)
        elif body["key_id"] is None:
            whose = say(
                "Of your account's budget of {budget} for {month}, {percent} % is used: {spent}.", **values
            )
        else:
            whose = say("Of a key's budget of {budget} for {month}, {percent} % is used: {spent}.", **values)
        used_up = body["percent"] >= 100
        then = (
            say("Until the next month its requests are refused.")
            if used_up
            else say("When it is used up, requests are refused until the next month.")
        )
        subject = say("A budget is used up") if used_up else say("{percent} % of a budget is used", **values)
        return Letter(subject, (whose, then), self._overview(say))

    def _rate_change(self, body: Body, say: Say, language: str) -> Letter:
        day = format_date(datetime.fromisoformat(body["effective_at"]), "long", locale=locale_of(language))
        old, new = (_prices(body[which]) for which in ("old", "new"))
        sentences = [
            say("From {day} (UTC) on, {model} costs, for a million tokens:", day=day, model=body["model"])
        ]
        for name, called in (
            ("input", say("Input")),
            ("cached_input", say("Cached input")),
            ("output", say("Output")),
        ):
            sentences.append(say("{what}: ${new} (until then ${old})", what=called, new=new[name], old=old[name]))
        sentences.append(say("Credit that you have keeps its value in dollars."))
        link = say("Models and prices"), self._site.url("/models")
        return Letter(say("The price of {model} changes", model=body["model"]), tuple(sentences), link)

    def _rate_withdrawn(self, body: Body, say: Say, language: str) -> Letter:
        day = format_date(datetime.fromisoformat(body["effective_at"]), "long", locale=locale_of(language))
        values = {"model": body["model"], "day": day}
        sentence = say("The change of the price of {model} that was announced for {day} is taken back.", **values)
        link = say("Models and prices"), self._site.url("/models")
        subject = say("The price of {model} does not change", model=body["model"])
        return Letter(subject, (sentence, say("The price stays as it would have been without it.")), link)

    def _lot_ends(self, body: Body, say: Say, language: str) -> Letter:
        day = format_date(datetime.fromisoformat(body["ends_at"]), "long", locale=locale_of(language))
        amount = format_dollars(body["remaining_nanodollars"])
        sentence = say(
            "Of your credit at {service}, {amount} ends on {day}.", service=self._site.name, amount=amount, day=day
        )
        return Letter(say("Some of your credit ends soon"), (sentence,), self._overview(say))

    def _standing(self, body: Body, say: Say, language: str) -> Letter:
        named, became = {"service": self._site.name}, body["became"]
        subject, sentence = {
            "suspended": (
                say("Your account is suspended"),
                say("Your account at {service} is suspended: it answers no requests.", **named),
            ),
            "terminated": (
                say("Your account is terminated"),
                say("Your account at {service} is terminated, and its unused credit is forfeited.", **named),
            ),
            "active": (
                say("Your account is open again"),
                say("Your account at {service} is open again.", **named),
            ),
            "restored": (say("Your account stays"), say("Your account at {service} is not deleted.", **named)),
            "deleting": (
                say("Your account is being deleted"),
                say("Your account at {service} is closed, and will be deleted for good.", **named),
            ),
        }[became]
        paragraphs = [sentence, say("The reason: {reason}", reason=reason_of(body["reason"], say))]
        if became in ("suspended", "terminated"):
            paragraphs.append(say("You can appeal within 30 days: sign in, and you are asked for it."))
        if became == "deleting":
            day = format_date(datetime.fromisoformat(body["delete_at"]), "long", locale=locale_of(language))
            paragraphs.append(say("Until {day} you can restore it: sign in, and you are asked.", day=day))
        return Letter(subject, tuple(paragraphs), (say("Sign in"), self._site.url("/sign-in")))

    def _terms(self, body: Body, say: Say, language: str) -> Letter:
        day = format_date(date.fromisoformat(body["version"]), "long", locale=locale_of(language))
        sentence = say("The terms of {service} have a new version, of {day}.", service=self._site.name, day=day)
        then = say("When you sign in next, you are asked to accept it.")
        return Letter(say("The terms have changed"), (sentence, then), (say("Terms"), self._site.url("/terms")))

    def _overview(self, say: Say) -> tuple[str, str]:
        return say("Overview"), self._site.url("/dashboard")


def reason_of(reason: str, say: Say) -> str:
    """As its reader is told; what an operator wrote is left as it is."""
    if (invoice := stopped_for(reason)) is not None:
        return say("Invoice {name} is not paid.", name=invoice)
    return say("Your invoices are paid.") if reason == PAID else reason


def _prices(prices: Mapping[str, int]) -> dict[str, str]:
    return {name: decimal(prices[name], MICRODOLLARS_PER_DOLLAR) for name in ("input", "cached_input", "output")}
