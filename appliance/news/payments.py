"""What is told of payments: to whoever paid, and to the operator, who may have to act."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from babel.dates import format_date

from appliance.identity.letters import Site
from appliance.mail.letter import Letter
from appliance.texts import Say, locale_of
from billing.payments.notices import TO_OPERATOR
from billing.prices.money import format_dollars

Body = Mapping[str, Any]
Writer = Callable[[Body, Say, str], Letter]


class PaymentLetters:
    """``kinds`` are the notices that it writes."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.kinds: Mapping[str, Writer] = {
            "refunded": self._refunded,
            "dispute": self._dispute,
            "top_up_paused": self._paused,
            "top_up_ceiling": self._ceiling,
            f"{TO_OPERATOR}dispute": self._operators_dispute,
            f"{TO_OPERATOR}refund_failed": self._refund_failed,
        }

    def _refunded(self, body: Body, say: Say, _: str) -> Letter:
        amount = format_dollars(body["amount_nanodollars"])
        sentence = say(
            "{amount} that you paid at {service} go back to you.", amount=amount, service=self._site.name
        )
        then = say("Until your bank shows it can take up to ten days.")
        return Letter(say("Your money is on its way back"), (sentence, then), self._credit(say))

    def _dispute(self, body: Body, say: Say, language: str) -> Letter:
        if "invoice" in body:
            return self._dispute_of_invoice(body, say, language)
        values = {"amount": format_dollars(body["amount_nanodollars"]), "service": self._site.name}
        subject, sentences = {
            "open": (
                say("A payment is contested"),
                (
                    say("Your bank contests a payment of {amount} to {service}.", **values),
                    say("Until that is decided, what is left of its credit cannot be used."),
                ),
            ),
            "won": (
                say("A contested payment is settled"),
                (
                    say("Your bank no longer contests the payment of {amount} to {service}.", **values),
                    say("Its credit can be used again."),
                ),
            ),
            "lost": (
                say("A contested payment went back"),
                (
                    say("Your bank took the payment of {amount} to {service} back.", **values),
                    say("Its credit is gone. What was used of it, your account owes."),
                ),
            ),
        }[body["state"]]
        return Letter(subject, sentences, self._credit(say))

    def _dispute_of_invoice(self, body: Body, say: Say, language: str) -> Letter:
        values = {
            "amount": format_dollars(body["amount_nanodollars"]), "service": self._site.name,
            "name": body["invoice"], "day": _day(body["pay_by"], language),
        }  # fmt: skip
        subject, sentences = {
            "open": (
                say("A payment is contested"),
                (
                    say("Your bank contests a payment of {amount} to {service}.", **values),
                    say("It was for invoice {name}. Until that is decided, nothing is asked of you.", **values),
                ),
            ),
            "won": (
                say("A contested payment is settled"),
                (
                    say("Your bank no longer contests the payment of {amount} to {service}.", **values),
                    say("Invoice {name} stays paid.", **values),
                ),
            ),
            "lost": (
                say("Invoice {name} is unpaid again", **values),
                (
                    say("Your bank took the payment of {amount} to {service} back.", **values),
                    say("It was for invoice {name}, which is to be paid by {day} now.", **values),
                ),
            ),
        }[body["state"]]
        return Letter(subject, sentences, (say("Receipts and invoices"), self._site.url("/documents")))

    def _paused(self, body: Body, say: Say, _: str) -> Letter:
        why = {
            "authentication_required": say("Your bank wants you to confirm the payment yourself."),
            "no_buyer": say("Your account does not say any more who buys."),
            "no_card": say("Your account has no saved card any more."),
        }.get(body["code"], say("Your bank declined the card."))
        sentence = say("Your account at {service} could not be topped up.", service=self._site.name)
        then = say("No more is tried until you resume it. Until then you can buy credit yourself.")
        return Letter(say("Topping up is paused"), (sentence, why, then), self._credit(say))

    def _ceiling(self, body: Body, say: Say, _: str) -> Letter:
        ceiling = format_dollars(body["ceiling_nanodollars"])
        sentence = say("This month's ceiling of {ceiling} for topping up is reached.", ceiling=ceiling)
        then = say("Until the next month you can buy credit yourself, or raise the ceiling.")
        return Letter(say("The ceiling for topping up is reached"), (sentence, then), self._credit(say))

    def _operators_dispute(self, body: Body, say: Say, language: str) -> Letter:
        amount, state = format_dollars(body["amount_nanodollars"]), body["state"]
        values = {"amount": amount, "account": body["account"]}
        subject = {
            "inquiry": say("A bank asks about a payment"),
            "open": say("A payment is contested"),
            "won": say("A dispute is won"),
            "lost": say("A dispute is lost"),
            "closed": say("A bank's question is closed"),
        }[state]
        sentences = [
            say("It is about {amount} of account {account}.", **values),
            say("The bank's reason: {reason}", reason=body["why"]),
        ]
        if body["due_at"] is not None and state in ("inquiry", "open"):
            day = _day(body["due_at"], language)
            sentences.append(say("Answer it at Stripe before {day}.", day=day))
        return Letter(subject, tuple(sentences), (say("Console"), self._site.url("/console")))

    def _refund_failed(self, body: Body, say: Say, _: str) -> Letter:
        values = {"amount": format_dollars(body["amount_nanodollars"]), "account": body["account"]}
        sentence = say("{amount} could not be paid back to account {account}.", **values)
        why = say("Stripe says: {reason}", reason=body["why"])
        then = say("The credit has left the account. Try again, or pay by other means and put that on record.")
        return Letter(
            say("A refund has failed"), (sentence, why, then), (say("Console"), self._site.url("/console"))
        )

    def _credit(self, say: Say) -> tuple[str, str]:
        return say("Overview"), self._site.url("/dashboard")


def _day(moment: str | None, language: str) -> str:
    """Of a day or a moment as ISO 8601 writes it; nothing for none."""
    return (
        "" if moment is None else format_date(datetime.fromisoformat(moment), "long", locale=locale_of(language))
    )
