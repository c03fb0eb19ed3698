"""Value added tax: no cent is lost or made, whoever buys."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.documents.buyers import Buyer
from billing.documents.vat import (
    VOUCHER,
    Reckoned,
    Taxing,
    VatCode,
    VatRule,
    code_for,
    codes_of_both,
    contained,
    parts,
    quote,
    rule_for,
)
from billing.prices.money import NANODOLLARS_PER_CENT
from tests.documents.conftest import ATHENS, OSLO
from tests.taxing import ABROAD, INCLUDED, NORWAY

cents = st.integers(min_value=1, max_value=100_000_000)
points = st.integers(min_value=0, max_value=9_999)


@given(cents, points, st.booleans())
def test_net_and_tax_are_the_gross_and_the_tax_is_right_to_half_a_cent(
    price: int, basis_points: int, included: bool
) -> None:
    taxing = Taxing([VatRule("*", None, basis_points, "3")], included=included)
    quoted = quote(price, OSLO, taxing, is_credit=True)
    assert quoted.net + quoted.vat == quoted.gross
    assert quoted.value == price * NANODOLLARS_PER_CENT
    assert price == (quoted.gross if included else quoted.net)
    base = 10_000 + basis_points if included else 10_000
    assert abs(2 * (quoted.vat * base - price * basis_points)) <= base


@given(st.integers(min_value=1, max_value=10_000_000), st.integers(min_value=0, max_value=50), st.data())
def test_what_goes_back_in_pieces_is_the_sale_to_the_cent(price: int, percent: int, data: st.DataObject) -> None:
    """Whoever reckoned the tax: it is within a few cents of the rate, or exactly at it."""
    drawn = max(0, price * percent // 100 + data.draw(st.integers(min_value=-2, max_value=2)))
    for gross, vat in ((price, min(drawn, price)), (price + drawn, drawn)):
        ends = sorted(data.draw(st.lists(st.integers(min_value=0, max_value=price), max_size=4)))
        pairs = list(pairwise(parts(end, price, gross, vat) for end in (0, *ends, price)))
        pieces = [(until[0] - before[0], until[1] - before[1]) for before, until in pairs]
        assert all(net >= 0 and tax >= 0 for net, tax in pieces)
        assert [sum(part) for part in zip(*pieces, strict=True)] == [gross - vat, vat]


@given(cents, points)
def test_credit_that_is_taxed_when_used_is_sold_without_tax(price: int, basis_points: int) -> None:
    taxing = Taxing([VatRule("*", None, basis_points, "3")], at_use=True)
    credit, plan = (quote(price, OSLO, taxing, is_credit=is_credit) for is_credit in (True, False))
    assert (credit.net, credit.vat, credit.gross, credit.code) == (price, 0, price, VOUCHER)
    assert (plan.vat, plan.code) == (contained(price, basis_points), "3")


def test_the_first_rule_that_fits_counts() -> None:
    business = VatRule("NO", True, 0, "51")
    rules = [business, NORWAY, ABROAD]
    norwegian_business = Buyer("AS", "a", "1", "Oslo", "NO", business=True)
    assert [rule_for(buyer, rules) for buyer in (norwegian_business, OSLO, ATHENS)] == rules
    with pytest.raises(LookupError):
        rule_for(ATHENS, [NORWAY])


@pytest.mark.parametrize(
    ("country", "vat", "basis_points", "reason", "code"),
    [
        ("NO", 500, 2500, "standard_rated", "3"),
        ("NO", 300, 1500, "reduced_rated", "3"),
        ("NO", 0, 2500, "standard_rated", "3"),
        ("NO", 0, 0, "not_collecting", "6"),
        ("NO", 0, 0, "zero_rated", "5"),
        ("DE", 70, 700, "reduced_rated", "7"),
        ("US", 11, 450, "taxable_basis_reduced", "7"),
        ("US", 11, 450, "portion_standard_rated", "7"),
        ("US", 11, 450, "proportionally_rated", "7"),
        ("US", 0, 0, "not_collecting", "52"),
        ("DE", 0, 0, "reverse_charge", "52"),
    ],
)
def test_what_the_books_call_it_goes_by_whether_there_is_tax(
    country: str, vat: int, basis_points: int, reason: str, code: str
) -> None:
    codes = [
        VatCode("NO", True, "3"),
        VatCode("*", True, "7"),
        VatCode("NO", False, "5", "zero_rated"),
        VatCode("NO", False, "6"),
        VatCode("*", False, "52"),
    ]
    assert code_for(country, Reckoned(vat, basis_points, reason, included=True), codes) == code
    with pytest.raises(LookupError):
        code_for(country, Reckoned(vat, basis_points, reason, included=True), [])


def test_one_code_is_not_for_sales_with_tax_and_without() -> None:
    codes = [VatCode("*", True, "7"), VatCode("*", False, "52")]
    assert codes_of_both(Taxing([NORWAY, ABROAD], codes=codes)) == []
    assert codes_of_both(Taxing([NORWAY, ABROAD], codes=[*codes, VatCode("*", False, "7")])) == ["7"]
    assert codes_of_both(Taxing([NORWAY, ABROAD], codes=[*codes, VatCode("SE", False, NORWAY.code)])) == ["3"]


@pytest.mark.parametrize(("price", "vat"), [(2500, 500), (1000, 200), (999, 200), (1, 0), (3, 1)])
def test_norwegian_prices_have_a_fifth_of_tax_in_them(price: int, vat: int) -> None:
    assert quote(price, OSLO, INCLUDED, is_credit=True).vat == vat
