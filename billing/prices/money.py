"""Money is an integer.

The ledger's unit is the nano-dollar (10**-9 USD). A rate is micro-dollars per million tokens, which is
the same number as pico-dollars (10**-12 USD) per token, so that a request's cost is an exact integer
until it is rounded, once, here.
"""

from decimal import Decimal

NANODOLLARS_PER_DOLLAR = 10**9
PICODOLLARS_PER_NANODOLLAR = 1_000
MICRODOLLARS_PER_DOLLAR = 10**6
CENTS_PER_DOLLAR = 100
NANODOLLARS_PER_CENT = NANODOLLARS_PER_DOLLAR // CENTS_PER_DOLLAR


def round_to_nanodollars(picodollars: int) -> int:
    """The only rounding of money: half to even, never below zero."""
    if picodollars < 0:
        raise ValueError("a cost cannot be negative")
    whole, rest = divmod(picodollars, PICODOLLARS_PER_NANODOLLAR)
    twice = 2 * rest
    round_up = twice > PICODOLLARS_PER_NANODOLLAR or (twice == PICODOLLARS_PER_NANODOLLAR and whole % 2 == 1)
    return whole + round_up


def parse_dollars(text: str) -> int:
    """``"10.50"`` to nano-dollars. Raises ValueError if the text is no amount or finer than a nano-dollar."""
    return _scaled(text, NANODOLLARS_PER_DOLLAR, "a nano-dollar")


def parse_cents(text: str) -> int:
    """The same to cents. Raises ValueError if it is no amount or finer than a cent."""
    return _scaled(text, CENTS_PER_DOLLAR, "a cent")


def parse_rate(text: str) -> int:
    """Dollars per million tokens, ``"0.40"``, to micro-dollars per million tokens. Raises ValueError."""
    return _scaled(text, MICRODOLLARS_PER_DOLLAR, "a micro-dollar")


def format_dollars(nanodollars: int) -> str:
    """``1500000000`` to ``"$1.50"``: at least two decimals, as many as it takes to be exact."""
    return f"{'-' if nanodollars < 0 else ''}${decimal(abs(nanodollars), NANODOLLARS_PER_DOLLAR)}"


def decimal(amount: int, units: int) -> str:
    """Dollars, of an amount in ``units`` to the dollar (a power of ten) that is not negative: ``"1.50"``."""
    whole, rest = divmod(amount, units)
    decimals = str(units + rest)[1:].rstrip("0").ljust(2, "0")
    return f"{whole}.{decimals}"


def _scaled(text: str, units: int, finest: str) -> int:
    try:
        amount = Decimal(text.strip().removeprefix("$"))
        is_amount = amount.is_finite() and abs(amount) <= 10**9
    except ArithmeticError:  # it is no number, or none that a computer holds
        raise ValueError(f"{text!r} is not an amount in dollars") from None
    if not is_amount:
        raise ValueError(f"{text!r} is not an amount in dollars")
    scaled = amount * units
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{text!r} is finer than {finest}")
    return int(scaled)
