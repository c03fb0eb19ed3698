"""Tax on an amount in cents. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from appliance.stripe_sandbox.proration import rounded

PERCENT_BY_COUNTRY = {"NO": 25}
"""All others: 0."""


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


def percent_for(country: str | None) -> int:
    return PERCENT_BY_COUNTRY.get(country or "", 0)
