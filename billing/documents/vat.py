"""How much value added tax is on a sale, by a small table. Pure. docs/decisions/0033-value-added-tax.md says why.

Amounts are US cents. A rate is basis points: 2500 is 25 %.
"""

from collections.abc import Sequence

import msgspec

from billing.documents.buyers import Buyer
from billing.prices.money import NANODOLLARS_PER_CENT

BASIS_POINTS = 10_000
VOUCHER = "voucher"
"""The code of a sale of credit on which tax falls when it is used."""


class VatRule(msgspec.Struct, frozen=True):
    """Of buyers in ``country`` (``*``: all others), and of ``business`` or consumers (None: both).

    ``code`` is what the seller's books call it (in Norway: the standard tax code of SAF-T); ``note`` is what the
    law wants written on the document, or "".
    """

    country: str
    business: bool | None
    basis_points: int
    code: str
    note: str = ""


class Taxing(msgspec.Struct, frozen=True):
    """``included``: prices have the tax in them; else it comes on top. ``at_use``: credit is taxed when used."""

    rules: Sequence[VatRule]
    included: bool = True
    at_use: bool = False


class Quote(msgspec.Struct, frozen=True):
    """What the buyer pays, and what it is for: ``value`` in nano-dollars is the credit, or the plan's price."""

    value: int
    net: int
    vat: int
    gross: int
    code: str
    basis_points: int
    note: str


def rule_for(buyer: Buyer, rules: Sequence[VatRule]) -> VatRule:
    """The first that fits. Raises LookupError; ``appliance.settings`` sees to it that the last fits all."""
    for rule in rules:
        if rule.country in (buyer.country, "*") and rule.business in (buyer.business, None):
            return rule
    raise LookupError(f"no rule of value added tax is for buyers in {buyer.country}")


def needs_tax_number(buyer: Buyer, rules: Sequence[VatRule]) -> bool:
    """Whether it pays no tax for being a business: it has to show that it is one."""
    rule = rule_for(buyer, rules)
    return rule.business is True and rule.basis_points == 0


def quote(price: int, buyer: Buyer, taxing: Taxing, *, is_credit: bool) -> Quote:
    """Of a price in cents, as it is advertised."""
    rule = rule_for(buyer, taxing.rules)
    if taxing.at_use and is_credit:
        return Quote(price * NANODOLLARS_PER_CENT, price, 0, price, VOUCHER, 0, "")
    if taxing.included:
        vat = contained(price, rule.basis_points)
        net, gross = price - vat, price
    else:
        vat = rounded(price * rule.basis_points, BASIS_POINTS)
        net, gross = price, price + vat
    return Quote(price * NANODOLLARS_PER_CENT, net, vat, gross, rule.code, rule.basis_points, rule.note)


def contained(gross: int, basis_points: int) -> int:
    """The tax that is in an amount."""
    return rounded(gross * basis_points, BASIS_POINTS + basis_points)


def parts(value: int, price: int, gross: int, vat: int) -> tuple[int, int]:
    """Net and tax, in cents, of the first ``value`` cents of a sale of ``price`` that came to ``gross``.

    The tax is the same share of the sale's, whoever reckoned that. Of two amounts, the parts of the one less those
    of the other are of what lies between: a sale that goes back in pieces gives back its net and its tax to the cent.
    """
    share = rounded(vat * value, price) if price else 0
    return (value - share if price == gross else value), share


def rounded(numerator: int, denominator: int) -> int:
    """Half to even."""
    whole, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return whole + (twice > denominator or (twice == denominator and whole % 2 == 1))
