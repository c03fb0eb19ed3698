"""What becomes of a subscription, given what Stripe says of it and of the money that came. Pure.

The same facts always lead to the same rows, whatever event brought them: docs/decisions/0036-plans.md.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from billing.payments.provider import InvoiceSeen, SubscriptionSeen
from billing.payments.subscribed import RUNNING, Subscription
from billing.plans.versions import Version

OVER = ("canceled", "incomplete_expired")
UNPAID = ("past_due", "unpaid")
BEGINNINGS = ("subscription_create", "subscription_cycle")
CHANGES = ("subscription_update", "manual")
GONE_KEPT = timedelta(days=3)
"""So long beyond what was paid for a plan stays that Stripe has not got."""

CANCELLED, NOT_PAID, EXPIRED, CLOSED_ACCOUNT, SECOND, BY_OPERATOR, AT_STRIPE, CONTESTED = (
    "cancelled", "not paid", "not ordered in time", "the account is closed", "another one runs", "by the operator",
    "at Stripe", "its payment is contested",
)  # fmt: skip
"""Why a subscription has ended."""


class PlanPrice(msgspec.Struct, frozen=True):
    """A Price at Stripe: a month of a version for ``cents``.

    With the tax that its buyers pay; where Stripe reckons that, as it is advertised.
    """

    version: Version
    cents: int


class Bought(msgspec.Struct, frozen=True):
    """What a paid invoice brings. ``kind`` is a payment's; ``allowance`` is nano-dollars, to be used until then.

    ``wanted``: the account takes it; else the money goes back. ``version`` is the one that was paid for.
    """

    invoice: InvoiceSeen
    version: Version
    kind: str
    wanted: bool
    allowance: int
    until: datetime


class Told(msgspec.Struct, frozen=True):
    """A notice for the account's owner. ``about`` keeps it from coming twice."""

    became: str
    about: str
    until: datetime | None = None


class After(msgspec.Struct, frozen=True):
    """``leave``: it must be ended at Stripe, for the row's ``end_reason``."""

    row: Subscription
    bought: Sequence[Bought]
    told: Sequence[Told]
    leave: bool = False


def follow(
    row: Subscription,
    seen: SubscriptionSeen,
    paid: Sequence[InvoiceSeen],
    prices: Mapping[str, PlanPrice],
    now: datetime,
    grace: timedelta,
    *,
    closed: str | None,
) -> After:
    """``paid`` are invoices of it that are in no book yet, by the time they were paid.

    ``closed``: why the account takes no plan, if it takes none. Each price of ``paid`` must be in ``prices``.
    """
    before = row
    over = seen.status in OVER
    refused = row.state == "ended" or row.end_reason is not None or over or closed is not None
    row = replace(row, stripe_id=seen.id)
    bought: list[Bought] = []
    told: list[Told] = []
    for invoice in paid:
        row, one = _buy(row, invoice, prices, now, refused=refused)
        bought.append(one)
    if row.state == "ended":
        return After(row, bought, told, leave=not over)
    if over:
        row, ended = _ended(row, seen, now)
        return After(row, bought, [ended] if before.state in RUNNING else [])
    if row.end_reason is not None or (closed is not None and (bought or row.state in RUNNING)):
        return After(replace(row, end_reason=row.end_reason or closed), bought, told, leave=True)
    if row.state in RUNNING:
        row = _as_stripe_says(row, seen, prices, grace)
        told += _news(before, row)
    return After(row, bought, told)


def without_stripe(row: Subscription, now: datetime) -> After | None:
    """Of one that Stripe has not got; None while it stays as it is, as the key may be a wrong one."""
    if row.state not in RUNNING:
        return None
    assert row.period_end is not None, "a plan that runs was paid for a while"
    if row.end_reason is None and now < (row.grace_until or row.period_end) + GONE_KEPT:
        return None
    ended, told = _closed(row, row.end_reason or AT_STRIPE, now)
    return After(ended, [], [told])


def extra_allowance(old: Version, new: Version, paid: int, difference: int) -> int:
    """Nano-dollars for ``paid`` cents of an upgrade whose prices at Stripe differ by ``difference`` cents.

    The same part of the allowances' difference as was paid of the prices', rounded up; never more than all of it.
    """
    more = new.allowance - old.allowance
    if more <= 0 or paid <= 0:
        return 0
    return more if paid >= difference else -(-more * paid // difference)


def _buy(
    row: Subscription, invoice: InvoiceSeen, prices: Mapping[str, PlanPrice], now: datetime, *, refused: bool
) -> tuple[Subscription, Bought]:
    kind = "plan" if invoice.why in BEGINNINGS else "upgrade"
    until = invoice.period_end
    assert invoice.price is not None, "it is in prices"
    new = prices[invoice.price]
    if refused or until <= now:
        return row, Bought(invoice, new.version, kind, wanted=False, allowance=0, until=until)
    if kind == "upgrade" and invoice.paid_cents > 0 and new.version.cents <= row.version.cents:
        return row, Bought(invoice, new.version, kind, wanted=False, allowance=0, until=until)
    if kind == "upgrade":
        difference = new.cents - _like(new, row.version, prices)
        allowance = extra_allowance(row.version, new.version, invoice.price_cents, difference)
        return replace(row, version=new.version), Bought(invoice, new.version, kind, True, allowance, until)
    later = row.period_end is None or until > row.period_end
    if later:
        row = replace(row, period_start=invoice.period_start, period_end=until, version=new.version)
    row = replace(row, state="active", grace_until=None)
    return row, Bought(invoice, new.version, kind, True, new.version.allowance, until)


def _like(new: PlanPrice, old: Version, prices: Mapping[str, PlanPrice]) -> int:
    """What the old version cost with the same tax."""
    costs = [sold.cents for sold in prices.values() if sold.version.id == old.id] or [old.cents]
    return min(costs, key=lambda cents: abs(cents * new.version.cents - new.cents * old.cents))


def _ended(row: Subscription, seen: SubscriptionSeen, now: datetime) -> tuple[Subscription, Told]:
    if row.end_reason is not None:
        reason = row.end_reason
    elif row.state == "ordered" or row.grace_until is not None:
        reason = NOT_PAID
    else:
        reason = CANCELLED if row.cancels or seen.cancels else AT_STRIPE
    return _closed(row, reason, now)


def _closed(row: Subscription, reason: str, now: datetime) -> tuple[Subscription, Told]:
    row = replace(row, state="ended", ended_at=now, end_reason=reason, grace_until=None, next_version=None)
    return row, Told("ended", f"ended {row.id}", now)


def _as_stripe_says(
    row: Subscription, seen: SubscriptionSeen, prices: Mapping[str, PlanPrice], grace: timedelta
) -> Subscription:
    sold = prices.get(seen.price)
    planned = None if sold is None or sold.version.id == row.version.id else sold.version
    row = replace(row, next_version=planned, cancels=seen.cancels)
    if seen.status in UNPAID and row.state == "active":
        assert row.period_end is not None, "a plan that runs was paid for a while"
        row = replace(row, state="past_due", grace_until=row.period_end + grace)
    return row


def _news(before: Subscription, after: Subscription) -> list[Told]:
    """What its owner should know. A renewal that was paid comes with its receipt."""
    told = []
    period = f"{after.id} {after.period_end}"
    if before.state == "ordered":
        told.append(Told("began", f"began {after.id}", after.period_end))
    elif before.version.id != after.version.id:
        became = "upgraded" if after.version.cents > before.version.cents else "downgraded"
        told.append(Told(became, f"{became} {period} {after.version.id}", after.period_end))
    if after.next_version is not None and after.next_version != before.next_version:
        told.append(Told("planned", f"planned {period} {after.next_version.id} {after.written}", after.period_end))
    if after.cancels and not before.cancels:
        told.append(Told("cancelled", f"cancelled {period} {after.written}", after.period_end))
    if after.grace_until is not None and before.grace_until is None:
        told.append(Told("unpaid", f"unpaid {period}", after.grace_until))
    return told
