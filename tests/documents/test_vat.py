"""Value added tax: no cent is lost or made, whoever buys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.documents.buyers import Buyer
from billing.documents.vat import VOUCHER, Taxing, VatRule, contained, quote, rule_for
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


@pytest.mark.parametrize(("price", "vat"), [(2500, 500), (1000, 200), (999, 200), (1, 0), (3, 1)])
def test_norwegian_prices_have_a_fifth_of_tax_in_them(price: int, vat: int) -> None:
    assert quote(price, OSLO, INCLUDED, is_credit=True).vat == vat
