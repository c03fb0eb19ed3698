"""What becomes of a plan is a step of its life, whatever Stripe says and however late; what an upgrade brings."""

from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as some

from billing.payments.life import SUBSCRIPTION, may
from billing.payments.plan_life import (
    BEGINNINGS,
    BY_OPERATOR,
    CANCELLED,
    CHANGES,
    CONTESTED,
    PlanPrice,
    extra_allowance,
    follow,
    without_stripe,
)
from billing.payments.provider import InvoiceSeen, SubscriptionSeen
from billing.payments.subscribed import Subscription
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


NOW = datetime(2027, 6, 15, tzinfo=UTC)
PLAN = Version(1, "plan", 1000, 10**10, {"en": "Plan"}, NO_PLAN, NOW)
MOMENT = some.integers(-70, 70).map(lambda days: NOW + timedelta(days=days))
STATUSES = ("active", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "trialing", "paused")
REASON = some.sampled_from([None, CANCELLED, BY_OPERATOR, CONTESTED])


@some.composite
def rows(draw: some.DrawFn) -> Subscription:
    """As the table's constraints let it be."""
    state = draw(some.sampled_from(["ordered", "active", "past_due", "ended"]))
    end = draw(MOMENT) if state != "ordered" else None
    return Subscription(
        id=UUID(int=1), account_id=1, version=PLAN, next_version=None, state=state, stripe_id="sub_1",
        checkout="cs_1", cancels=draw(some.booleans()), before=None, created_at=NOW,
        period_start=None if end is None else end - timedelta(days=30), period_end=end,
        grace_until=end + timedelta(days=7) if end is not None and state == "past_due" else None,
        ended_at=NOW if state == "ended" else None,
        end_reason=draw(REASON) if state != "ended" else CANCELLED, written=3,
    )  # fmt: skip


@some.composite
def invoices(draw: some.DrawFn) -> InvoiceSeen:
    end = draw(MOMENT)
    why = draw(some.sampled_from([*BEGINNINGS, *CHANGES]))
    return InvoiceSeen(
        f"in_{draw(some.integers(0, 99))}", "paid", why, 1000, 1000, "usd", "cus_1", "sub_1", "price_1", "pi_1",
        end - timedelta(days=30), end, NOW, None,
    )  # fmt: skip


@given(
    rows(),
    some.sampled_from(STATUSES),
    some.booleans(),
    some.lists(invoices(), max_size=3),
    some.sampled_from([None, "closed"]),
)
def test_whatever_stripe_says_every_step_is_one_of_its_life(
    row: Subscription, status: str, cancels: bool, paid: list[InvoiceSeen], closed: str | None
) -> None:
    start, end = NOW - timedelta(days=5), NOW + timedelta(days=25)
    seen = SubscriptionSeen("sub_1", status, "cus_1", "si_1", "price_1", start, end, cancels, row.id, None)
    prices = {"price_1": PlanPrice(PLAN, 1000)}
    after = follow(row, seen, paid, prices, NOW, timedelta(days=7), closed=closed).row
    assert after.state == row.state or may("subscription", row.state, after.state)
    assert (after.state == "ended") == (after.ended_at is not None)
    assert (after.state == "past_due") == (after.grace_until is not None)
    gone = without_stripe(row, NOW)
    assert gone is None or may("subscription", row.state, gone.row.state)


def test_every_step_of_its_life_is_taken_at_some_time() -> None:
    """A step that no word of Stripe's leads to is not to be drawn."""
    start, end = NOW - timedelta(days=5), NOW + timedelta(days=25)
    renewed = InvoiceSeen(
        "in_1", "paid", "subscription_cycle", 1000, 1000, "usd", "cus_1", "sub_1", "price_1", "pi_1",
        start, end, NOW, None,
    )  # fmt: skip
    taken = set()
    for state, status, paid in product(("ordered", "active", "past_due"), STATUSES, ([], [renewed])):
        ran = None if state == "ordered" else start
        row = Subscription(
            UUID(int=1), 1, PLAN, None, state, "sub_1", "cs_1", False, None, NOW, ran, ran,
            NOW if state == "past_due" else None, None, None, 3,
        )  # fmt: skip
        seen = SubscriptionSeen("sub_1", status, "cus_1", "si_1", "price_1", start, end, False, row.id, None)
        after = follow(row, seen, paid, {"price_1": PlanPrice(PLAN, 1000)}, NOW, timedelta(days=7), closed=None)
        taken.add((state, after.row.state))
    assert {step for step in taken if step[0] != step[1]} == {(step.before, step.after) for step in SUBSCRIPTION}


def test_without_money_there_is_no_allowance() -> None:
    assert extra_allowance(version(1000, 10**9), version(2000, 10**10), 0, 1000) == 0
