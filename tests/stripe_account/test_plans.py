"""A plan that Stripe bills: begun, changed for the exact difference, renewed, not paid, ended."""

from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from msgspec.structs import replace

from billing.charging.admission import Refusal
from billing.payments.subscribed import Subscription
from tests.billing.conftest import Customer
from tests.payments.on_a_plan import orders_of
from tests.stripe_account.merchant import DOLLAR, LARGE, SMALL, Merchant

DEARER = replace(SMALL, cents=1500, allowance=15 * DOLLAR)
CHARGED = timedelta(hours=2)
"""After a period's end Stripe has charged its renewal by itself."""


async def paid(merchant: Merchant, customer: Customer) -> list[tuple[str, str, int]]:
    return [(one.kind, one.state, one.gross_cents) for one in await merchant.payments(customer)]


async def newest(merchant: Merchant, customer: Customer) -> Subscription:
    return (await orders_of(merchant.database, customer.account_id))[0]


def end_of(plan: Subscription) -> datetime:
    assert plan.period_end is not None
    return plan.period_end


def stripe_id(plan: Subscription) -> str:
    assert plan.stripe_id is not None
    return plan.stripe_id


def part(cents: int, left: timedelta, whole: timedelta) -> int:
    """Of a month's price for what is left of it, to the second; each amount is rounded by itself."""
    share = Decimal(cents) * int(left.total_seconds()) / int(whole.total_seconds())
    return int(share.quantize(Decimal(1), ROUND_HALF_UP))


async def test_a_subscription_that_is_paid_gives_its_allowance(merchant: Merchant) -> None:
    ada, plan = await merchant.on_a_plan(SMALL)
    assert (plan.state, plan.version.plan) == ("active", "small")
    assert timedelta(days=28) <= end_of(plan) - merchant.began <= timedelta(days=31, minutes=5)
    account = await ada.account()
    assert (account.balance_nanodollars, account.requests_per_minute) == (12 * DOLLAR, 60)
    assert await paid(merchant, ada) == [("plan", "credited", 1000)]


async def test_a_dearer_plan_costs_what_was_shown_which_is_the_difference_for_the_time_that_is_left(
    merchant: Merchant,
) -> None:
    clock = await merchant.start_clock()
    ada, plan = await merchant.on_a_plan(SMALL, test_clock=clock)
    seen = await merchant.provider.subscription(stripe_id(plan))
    whole = seen.period_end - seen.period_start
    at = seen.period_start + timedelta(seconds=int(whole.total_seconds()) * 3 // 7)
    await merchant.advance(clock, at)
    preview = await merchant.till.subscriptions.preview(ada.account_id, "large")
    left = seen.period_end - at
    assert preview.cents == part(4000, left, whole) - part(1000, left, whole)
    assert (preview.kind, preview.then_cents, preview.then_at) == ("upgrade", 4000, end_of(plan))
    upgraded = await merchant.till.subscriptions.upgrade(ada.account_id, "large", preview)
    assert (upgraded.version.plan, upgraded.period_end) == ("large", plan.period_end)
    assert await paid(merchant, ada) == [("plan", "credited", 1000), ("upgrade", "credited", preview.cents)]
    latest = (await merchant.provider.subscription(stripe_id(plan))).latest_invoice
    assert latest is not None
    invoice = await merchant.provider.invoice(latest)
    assert (invoice.status, invoice.cents, invoice.paid_cents) == ("paid", preview.cents, preview.cents)
    extra = -(-48 * DOLLAR * preview.cents // 3000)
    assert (await ada.account()).balance_nanodollars == 12 * DOLLAR + extra


async def test_where_the_operator_wants_it_a_dearer_plan_costs_all_of_the_difference(merchant: Merchant) -> None:
    await merchant.sell([SMALL, LARGE], prorated=False)
    ada, plan = await merchant.on_a_plan(SMALL)
    preview = await merchant.till.subscriptions.preview(ada.account_id, "large")
    assert preview.cents == 3000
    upgraded = await merchant.till.subscriptions.upgrade(ada.account_id, "large", preview)
    assert (upgraded.version.plan, upgraded.period_end) == ("large", plan.period_end)
    assert await paid(merchant, ada) == [("plan", "credited", 1000), ("upgrade", "credited", 3000)]
    assert (await ada.account()).balance_nanodollars == 60 * DOLLAR


async def test_a_cheaper_plan_follows_renews_at_its_old_price_and_ends_when_it_is_cancelled(
    merchant: Merchant,
) -> None:
    clock, plans = await merchant.start_clock(), merchant.till.subscriptions
    ada, plan = await merchant.on_a_plan(LARGE, test_clock=clock)
    planned = await plans.plan_downgrade(ada.account_id, "small")
    assert planned.next_version is not None
    assert (planned.version.plan, planned.next_version.plan) == ("large", "small")

    await merchant.advance(clock, end_of(plan) + timedelta(minutes=1))
    small = await merchant.until(lambda: _runs_until_after(merchant, ada, end_of(plan)))
    assert (small.version.plan, small.next_version, small.period_start) == ("small", None, plan.period_end)
    assert await paid(merchant, ada) == [("plan", "credited", 4000), ("plan", "credited", 1000)]
    assert (await ada.account()).balance_nanodollars == 12 * DOLLAR, "the allowance before is over"

    await merchant.sell([DEARER, LARGE])
    await merchant.advance(clock, end_of(small) + CHARGED)
    renewed = await merchant.until(lambda: _runs_until_after(merchant, ada, end_of(small)))
    assert (renewed.version.plan, renewed.version.cents) == ("small", 1000)
    assert (await paid(merchant, ada))[2:] == [("plan", "credited", 1000)]

    assert (await merchant.till.subscriptions.cancel(ada.account_id)).cancels
    await merchant.advance(clock, end_of(renewed) + CHARGED)
    ended = await merchant.until(lambda: _ended(merchant, ada))
    assert ended.end_reason == "cancelled"
    assert len(await paid(merchant, ada)) == 3
    assert (await ada.account()).requests_per_minute is None


async def test_a_renewal_that_is_declined_leaves_the_plan_past_due(merchant: Merchant) -> None:
    clock = await merchant.start_clock()
    ada, plan = await merchant.on_a_plan(SMALL, test_clock=clock)
    card = await merchant.attach(ada, "pm_card_chargeCustomerFail")
    await merchant.api.v1.subscriptions.update_async(stripe_id(plan), {"default_payment_method": card})
    await merchant.advance(clock, end_of(plan) + CHARGED)

    async def past_due() -> Subscription | None:
        found = await newest(merchant, ada)
        return found if found.state == "past_due" else None

    unpaid = await merchant.until(past_due)
    assert unpaid.grace_until == end_of(plan) + timedelta(days=7)
    assert await paid(merchant, ada) == [("plan", "credited", 1000)]
    assert await ada.refusal() is Refusal.INSUFFICIENT_CREDIT, "there is no new allowance"
    assert (await ada.account()).requests_per_minute == 60, "its limits stay"

    await merchant.till.subscriptions.cancel(ada.account_id)
    assert (await newest(merchant, ada)).state == "ended"
    assert (await merchant.provider.subscription(stripe_id(plan))).status == "canceled"


async def _runs_until_after(merchant: Merchant, customer: Customer, end: datetime) -> Subscription | None:
    found = await merchant.till.subscriptions.running(customer.account_id)
    return found if found is not None and end_of(found) > end else None


async def _ended(merchant: Merchant, customer: Customer) -> Subscription | None:
    found = await newest(merchant, customer)
    return found if found.state == "ended" else None
