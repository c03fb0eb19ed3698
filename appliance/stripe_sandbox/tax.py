"""Tax on an amount in cents. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from appliance.stripe_sandbox.proration import rounded


@dataclass(frozen=True, slots=True)
class Payer:
    """Where a customer is, if that is known, and whether a tax number shows that it is a business."""

    country: str | None = None
    business: bool = False


@dataclass(frozen=True, slots=True)
class Ruling:
    """``percent`` is collected, ``statutory`` the place's rate. ``reason`` is Stripe's ``taxability_reason``."""

    percent: int
    reason: str
    statutory: int = 25


ELSEWHERE = Ruling(0, "not_collecting")
RULINGS = {
    ("NO", False): Ruling(25, "standard_rated"),
    ("NO", True): Ruling(25, "standard_rated"),
    ("SE", False): Ruling(25, "standard_rated"),
    ("SE", True): Ruling(0, "reverse_charge"),
}
"""By country, and whether it is a business: where the operator of the sandbox is registered."""


@dataclass(frozen=True, slots=True)
class Taxed:
    """``subtotal`` is what the line says; an exclusive tax comes on top of it, an inclusive one is within."""

    subtotal: int
    tax: int
    inclusive: bool
    percent: float

    @property
    def total(self) -> int:
        return self.subtotal if self.inclusive else self.subtotal + self.tax

    @property
    def taxable(self) -> int:
        return self.subtotal - self.tax if self.inclusive else self.subtotal


def taxed(amount: int, percent: float, *, inclusive: bool) -> Taxed:
    rate = Fraction(str(percent)) / 100
    part = rate / (1 + rate) if inclusive else rate
    whole = amount * part
    return Taxed(amount, rounded(whole.numerator, whole.denominator), inclusive, percent)


def ruling_for(payer: Payer) -> Ruling:
    return RULINGS.get((payer.country or "", payer.business), ELSEWHERE)
