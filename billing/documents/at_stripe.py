"""What a movement of the balance at Stripe means for the seller, for statements and books alike.

Amounts are in the smallest unit of the balance's currency, which need not be what customers pay in.
"""

from decimal import Decimal

WITHOUT_HUNDREDTHS = frozenset(
    (
        "bif",
        "clp",
        "djf",
        "gnf",
        "jpy",
        "kmf",
        "krw",
        "mga",
        "pyg",
        "rwf",
        "ugx",
        "vnd",
        "vuv",
        "xaf",
        "xof",
        "xpf",
    )
)
"""Currencies whose smallest unit, at Stripe, is the whole one: https://docs.stripe.com/currencies#zero-decimal"""

FEE = "(fee_cents - CASE WHEN kind = 'stripe_fee' THEN cents ELSE 0 END)"
"""What Stripe kept, of a payment or by itself."""
PAID_OUT = "(CASE WHEN kind IN ('payout', 'payout_cancel', 'payout_failure') THEN -cents ELSE 0 END)"
"""What went to the seller's bank: less than nothing where a payout came back."""


def in_units(amount: int, currency: str) -> Decimal:
    """What Stripe counts in the smallest unit of a currency, in its whole ones: kroner of øre."""
    return Decimal(amount) if currency in WITHOUT_HUNDREDTHS else Decimal(amount).scaleb(-2)


def told(amount: int, currency: str) -> str:
    """With its currency, for people: ``NOK 108.50``."""
    return f"{currency.upper()} {in_units(amount, currency):,f}"
