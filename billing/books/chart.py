"""The accounts of the books, and what the Norwegian tax return calls them.

Numbers are those of the Norwegian standard chart; the grouping is the code list `naeringsspesifikasjon` of SAF-T.
"""

from enum import Enum

from billing.documents.vat import VOUCHER

EXEMPT = "6"
"""The standard tax code of what is outside the law of value added tax."""


class Account(Enum):
    """Its number, what it is called, and its grouping: category and code."""

    RECEIVABLE = ("1500", "Customers", "balanseverdiForOmloepsmiddel", "1500")
    ACCRUED = ("1530", "Used, not invoiced yet", "balanseverdiForOmloepsmiddel", "1530")
    STRIPE = ("1570", "Stripe: paid by customers, not paid out", "balanseverdiForOmloepsmiddel", "1570")
    BANK = ("1920", "Bank", "balanseverdiForOmloepsmiddel", "1920")
    EQUITY = ("2050", "Result of earlier years", "egenkapital", "2050")
    VAT = ("2701", "Output VAT", "kortsiktigGjeld", "2740")
    VAT_ACCRUED = ("2709", "Output VAT of use that has no document yet", "kortsiktigGjeld", "2740")
    PREPAID = ("2900", "Prepaid credit of customers", "kortsiktigGjeld", "2900")
    SALES = ("3000", "Sales with VAT", "salgsinntekt", "3000")
    SALES_ZERO = ("3100", "Sales without VAT: abroad, or at a rate of zero", "salgsinntekt", "3100")
    SALES_EXEMPT = ("3200", "Sales outside the law of VAT", "salgsinntekt", "3200")
    BREAKAGE = ("3900", "Credit that expired or was forfeited", "annenDriftsinntekt", "3900")
    FEES = ("7770", "Fees of Stripe", "annenDriftskostnad", "7700")
    ROUNDING = ("7790", "Rounding", "annenDriftskostnad", "7700")
    LOSSES = ("7830", "Losses on customers", "annenDriftskostnad", "7830")
    EXCHANGE_GAIN = ("8060", "Gains on exchange rates", "finansinntekt", "8060")
    EXCHANGE_LOSS = ("8160", "Losses on exchange rates", "finanskostnad", "8160")

    def __init__(self, number: str, title: str, category: str, code: str) -> None:
        self.number = number
        self.title = title
        self.category = category
        self.code = code

    @property
    def is_balance(self) -> bool:
        """Goes on over the end of a year; the others begin each year with nothing."""
        return self.number < "3000"


def sales_account(code: str, basis_points: int) -> Account:
    """Where sales with this tax are booked; credit that is taxed when it is used, until then, with the taxed."""
    if basis_points or code == VOUCHER:
        return Account.SALES
    return Account.SALES_EXEMPT if code == EXEMPT else Account.SALES_ZERO
