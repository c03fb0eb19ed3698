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


class VatCode(msgspec.Struct, frozen=True):
    """What the seller's books call a sale to ``country`` on which Stripe put a tax (``taxed``), or none.

    ``reason`` is Stripe's ``taxability_reason``; ``*`` is any other, and any other country.
    """

    country: str
    taxed: bool
    code: str
    reason: str = "*"


class Reckoned(msgspec.Struct, frozen=True):
    """The tax that Stripe reckoned, in cents, and why so much: its ``taxability_reason``.

    ``included``: it is in the price that is advertised; else it came on top of it.
    """

    vat: int
    basis_points: int
    reason: str
    included: bool


class Taxing(msgspec.Struct, frozen=True):
    """``included``: prices have the tax in them; else it comes on top. ``at_use``: credit is taxed when used.

    ``by_stripe``: Stripe reckons the tax of what is sold, which it calls ``tax_code``. ``rules`` count for what it
    did not reckon, and ``codes`` say what the books call what it did.
    """

    rules: Sequence[VatRule]
    included: bool = True
    at_use: bool = False
    by_stripe: bool = False
    tax_code: str = ""
    codes: Sequence[VatCode] = ()


class Quote(msgspec.Struct, frozen=True):
    """What the buyer pays, and what it is for: ``value`` in nano-dollars is the credit, or the plan's price.

    ``reason`` is Stripe's, of a tax that it reckoned, and ``calculation`` its id of how, where it has one.
    """

    value: int
    net: int
    vat: int
    gross: int
    code: str
    basis_points: int
    note: str
    reason: str | None = None
    calculation: str | None = None


def rule_for(buyer: Buyer, rules: Sequence[VatRule]) -> VatRule:
    """The first that fits. Raises LookupError; ``appliance.settings`` sees to it that the last fits all."""
    for rule in rules:
        if rule.country in (buyer.country, "*") and rule.business in (buyer.business, None):
            return rule
    raise LookupError(f"no rule of value added tax is for buyers in {buyer.country}")


def needs_tax_number(buyer: Buyer, taxing: Taxing) -> bool:
    """Whether it pays no tax for being a business: it has to show that it is one.

    Where Stripe reckons the tax, whoever shows no number is taxed as a consumer.
    """
    if taxing.by_stripe:
        return False
    rule = rule_for(buyer, taxing.rules)
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


def quote_reckoned(
    gross: int, tax: Reckoned, buyer: Buyer, taxing: Taxing, calculation: str | None = None
) -> Quote:
    """Of ``gross`` cents that Stripe asks for, with its tax in them. Raises LookupError as ``code_for``."""
    value = gross if tax.included else gross - tax.vat
    code = code_for(buyer.country, tax, taxing.codes)
    return Quote(
        value * NANODOLLARS_PER_CENT,
        gross - tax.vat,
        tax.vat,
        gross,
        code,
        tax.basis_points,
        "",
        tax.reason,
        calculation,
    )


def code_for(country: str, tax: Reckoned, codes: Sequence[VatCode]) -> str:
    """The first that fits. Raises LookupError; ``appliance.settings`` sees to it that one fits.

    A tax that is rounded to nothing has its rate, and is one.
    """
    taxed = tax.vat > 0 or tax.basis_points > 0
    for one in codes:
        if one.taxed == taxed and one.country in (country, "*") and one.reason in (tax.reason, "*"):
            return one.code
    raise LookupError(f"no code of the books is for a tax of {tax.vat} cents that is {tax.reason} in {country}")


def codes_of_both(taxing: Taxing) -> Sequence[str]:
    """The codes that stand for sales with a tax and for sales without one: books cannot tell them apart."""
    called = [(one.taxed, one.code) for one in taxing.codes]
    called += [(rule.basis_points > 0, rule.code) for rule in taxing.rules]
    with_tax, without = ({code for taxed, code in called if taxed == which} for which in (True, False))
    return sorted(with_tax & without)


def contained(gross: int, basis_points: int) -> int:
    """The tax that is in an amount."""
    return rounded(gross * basis_points, BASIS_POINTS + basis_points)


def parts(value: int, price: int, gross: int, vat: int) -> tuple[int, int]:
    """Net and tax, in cents, of the first ``value`` cents of a sale of ``price`` that came to ``gross``.

    The tax is the same share of the sale's, whoever reckoned that. Of two amounts, the parts of the one less those
    of the other are of what lies between: a sale that goes back in pieces gives back its net and its tax to the
    cent.
    """
    share = rounded(vat * value, price) if price else 0
    return (value - share if price == gross else value), share


def rounded(numerator: int, denominator: int) -> int:
    """Half to even."""
    whole, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return whole + (twice > denominator or (twice == denominator and whole % 2 == 1))
