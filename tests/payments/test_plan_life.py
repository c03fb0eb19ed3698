"""The allowance of an upgrade: a part of the difference, as large as the part that was paid."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as some

from billing.payments.plan_life import extra_allowance
from billing.plans.entitlements import NO_PLAN
from billing.plans.versions import Version

CENTS = some.integers(1, 100_000)
ALLOWANCE = some.integers(1, 10**13)


def version(cents: int, allowance: int) -> Version:
    return Version(1, "plan", cents, allowance, {"en": "Plan"}, NO_PLAN, datetime(2027, 1, 1, tzinfo=UTC))


@given(CENTS, CENTS, CENTS, ALLOWANCE, ALLOWANCE)
def test_it_is_never_less_than_the_part_that_was_paid_and_at_most_a_nanodollar_more(
    cents: int, more: int, paid: int, first: int, second: int
) -> None:
    old, new = version(cents, first), version(cents + more, second)
    extra = extra_allowance(old, new, paid, more)
    difference = max(0, second - first)
    if paid >= more:
        assert extra == difference
    else:
        assert 0 <= extra * more - difference * paid < more


def test_without_money_there_is_no_allowance() -> None:
    assert extra_allowance(version(1000, 10**9), version(2000, 10**10), 0, 1000) == 0
