"""Stripe's test cards, and what becomes of a payment with one. Pure.

https://docs.stripe.com/testing
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Behaviour(StrEnum):
    PAYS = "pays"
    DECLINED = "generic_decline"
    NO_FUNDS = "insufficient_funds"
    EXPIRED = "expired_card"
    WRONG_CVC = "incorrect_cvc"
    AUTHENTICATE_ONCE = "authenticate_once"
    """3-D Secure while its owner is there; once it is set up, no more."""
    AUTHENTICATE_ALWAYS = "authenticate_always"
    ATTACHES_ONLY = "attaches_only"
    DISPUTED = "disputed"
    AVAILABLE = "available"
    """Pays, and the money can be paid out at once."""


class Outcome(StrEnum):
    PAID = "paid"
    DECLINED = "declined"
    ACTION = "action"
    """The owner has to confirm it: 3-D Secure."""


@dataclass(frozen=True, slots=True)
class Card:
    number: str
    brand: str
    country: str
    behaviour: Behaviour
    title: str

    @property
    def last4(self) -> str:
        return self.number[-4:]


CARDS = {
    card.number: card
    for card in (
        Card("4242424242424242", "visa", "US", Behaviour.PAYS, "is paid"),
        Card("5555555555554444", "mastercard", "US", Behaviour.PAYS, "is paid, Mastercard"),
        Card("4000000000000002", "visa", "US", Behaviour.DECLINED, "is declined"),
        Card("4000000000009995", "visa", "US", Behaviour.NO_FUNDS, "is declined: insufficient funds"),
        Card("4000000000000069", "visa", "US", Behaviour.EXPIRED, "is declined: expired card"),
        Card("4000000000000127", "visa", "US", Behaviour.WRONG_CVC, "is declined: wrong CVC"),
        Card("4000002500003155", "visa", "IE", Behaviour.AUTHENTICATE_ONCE, "asks for 3-D Secure once"),
        Card("4000002760003184", "visa", "DE", Behaviour.AUTHENTICATE_ALWAYS, "asks for 3-D Secure every time"),
        Card("4000000000000341", "visa", "US", Behaviour.ATTACHES_ONLY, "can be saved, but no charge succeeds"),
        Card("4000000000000077", "visa", "US", Behaviour.AVAILABLE, "is paid, and the money is there at once"),
        Card("4000000000000259", "visa", "US", Behaviour.DISPUTED, "is paid, then disputed as fraudulent"),
    )
}
TEST_METHODS = {
    "pm_card_visa": "4242424242424242",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_authenticationRequiredOnSetup": "4000002500003155",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_bypassPending": "4000000000000077",
    "pm_card_createDispute": "4000000000000259",
}
"""Stripe's names for payment methods that always exist in test mode."""

DECLINES = {
    Behaviour.DECLINED: ("card_declined", "generic_decline", "Your card was declined."),
    Behaviour.ATTACHES_ONLY: ("card_declined", "generic_decline", "Your card was declined."),
    Behaviour.NO_FUNDS: ("card_declined", "insufficient_funds", "Your card has insufficient funds."),
    Behaviour.EXPIRED: ("expired_card", "expired_card", "Your card has expired."),
    Behaviour.WRONG_CVC: ("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect."),
}
"""Code, decline code, message."""
AUTHENTICATION_REQUIRED = (
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
AUTHENTICATION_FAILED = (
    "payment_intent_authentication_failure",
    None,
    (
        "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
        "PaymentMethod to attempt to fulfill this PaymentIntent again."
    ),
)
INVALID_NUMBER = ("incorrect_number", None, "Your card number is incorrect.")


def card_of(typed: str) -> Card | None:
    """Of a number as a person writes it. None if it is no test card: no real card belongs here."""
    return CARDS.get(re.sub(r"[\s-]", "", typed))


def outcome(behaviour: Behaviour, *, off_session: bool, authenticated: bool, set_up: bool) -> Outcome:
    """Of a try to charge: ``set_up`` if its owner confirmed once that it may be charged while he is away."""
    if behaviour in DECLINES:
        return Outcome.DECLINED
    if authenticated or behaviour not in (Behaviour.AUTHENTICATE_ONCE, Behaviour.AUTHENTICATE_ALWAYS):
        return Outcome.PAID
    if behaviour is Behaviour.AUTHENTICATE_ONCE and set_up and off_session:
        return Outcome.PAID
    return Outcome.ACTION
