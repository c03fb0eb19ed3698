"""Money is an integer, rounded once, printed exactly."""

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.prices.money import format_dollars, parse_dollars, parse_rate, round_to_nanodollars
from billing.prices.pricing import Rate, Tokens, affordable_completion, cost, worst_cost

prices = st.integers(0, 10**9)
counts = st.integers(0, 2_000_000)


@given(st.integers(0, 10**24))
def test_a_cost_is_rounded_half_to_even(picodollars: int) -> None:
    exact = Decimal(picodollars) / 1000
    assert round_to_nanodollars(picodollars) == int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


@given(st.integers(-(10**18), 10**18))
def test_an_amount_survives_being_printed_and_read(nanodollars: int) -> None:
    assert parse_dollars(format_dollars(nanodollars).replace("$", "")) == nanodollars


def test_a_rate_in_dollars_per_million_tokens_is_picodollars_per_token() -> None:
    assert cost(Rate(1, parse_rate("1.00"), 0, 0), Tokens(1_000_000, 0, 0)) == parse_dollars("1.00")


@pytest.mark.parametrize("text", ["", "ten", "nan", "inf", "1e400", "0.0000000001", "1,5"])
def test_an_amount_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="dollar"):
        parse_dollars(text)


@given(prices, prices, prices, counts, counts, counts, counts, counts)
def test_no_request_within_its_limits_costs_more_than_was_held(
    input_price: int, cached_price: int, output_price: int,
    prompt: int, cached: int, completion: int, more_prompt: int, more_completion: int,
) -> None:  # fmt: skip
    rate = Rate(1, input_price, cached_price, output_price)
    tokens = Tokens(prompt, min(cached, prompt), completion)
    assert cost(rate, tokens) <= worst_cost(rate, prompt + more_prompt, completion + more_completion)


@given(prices, prices, prices, st.integers(0, 10**15), counts, st.integers(1, 64))
def test_what_is_affordable_can_be_held_and_one_token_more_cannot(
    input_price: int, cached_price: int, output_price: int, available: int, prompt: int, sequences: int
) -> None:
    rate = Rate(1, input_price, cached_price, output_price)
    most = affordable_completion(rate, available, prompt, sequences)
    if most is None:
        assert output_price == 0
    elif most >= 0:
        assert worst_cost(rate, prompt, most * sequences) <= available
        assert worst_cost(rate, prompt, (most + 1) * sequences) >= available
    else:
        assert worst_cost(rate, prompt, 0) >= available
