"""What the sandbox does by itself when its time has come."""

from __future__ import annotations

from collections.abc import Callable

from appliance.stripe_sandbox.balance import pay_out
from appliance.stripe_sandbox.bank_debits import settle
from appliance.stripe_sandbox.checkout import expire_now
from appliance.stripe_sandbox.collection import finalize_and_pay, give_up_incomplete, renew
from appliance.stripe_sandbox.disputes import open_dispute
from appliance.stripe_sandbox.errors import StripeError
from appliance.stripe_sandbox.invoicing import retry
from appliance.stripe_sandbox.refunds import fail
from appliance.stripe_sandbox.subscription_updates import give_up_pending
from appliance.stripe_sandbox.test_clocks import arrive
from appliance.stripe_sandbox.world import Cause, World


def _dispute(world: World, charge: str) -> None:
    try:
        open_dispute(world, charge)
    except StripeError:
        return


JOBS: dict[str, Callable[[World, str], None]] = {
    "clock_ready": arrive,
    "dispute": _dispute,
    "expire_session": expire_now,
    "fail_refund": fail,
    "finalize_invoice": finalize_and_pay,
    "give_up_incomplete": give_up_incomplete,
    "give_up_pending": give_up_pending,
    "payout": pay_out,
    "renew": renew,
    "retry_invoice": retry,
    "settle_debit": settle,
}


def do_all(world: World, until: int) -> None:
    """Everything that falls due by then, each at its own instant and in their order; ``until`` is then ``now``."""
    while (job := world.next_due(until)) is not None:
        world.cause = Cause()
        JOBS[job[0]](world, job[1])
    world.now = max(world.now, until)
