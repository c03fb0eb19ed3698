"""The life of a payment, a refund, a dispute and a plan, as state machines. Pure; docs/payments.md draws them.

A step that is not here is not taken: ``require`` is asked before every change of a state, under the row's lock.
Which step a plan takes, ``billing.payments.plan_life`` decides.
"""

from collections.abc import Mapping
from typing import NamedTuple

from billing.errors import Conflict


class Step(NamedTuple):
    """From a state to a state, and what makes it happen."""

    before: str
    after: str
    why: str


PAYMENT = (
    Step("ordered", "open", "Stripe has made the page to pay on"),
    Step("ordered", "credited", "the saved card was charged"),
    Step("open", "credited", "Stripe says that it is paid"),
    Step("open", "expired", "nobody paid in time"),
    Step("ordered", "expired", "nobody was sent to pay"),
    Step("ordered", "failed", "the card was declined"),
    Step("ordered", "unwanted", "paid, but the account takes no credit"),
    Step("open", "unwanted", "paid, but the account takes no credit"),
    Step("failed", "credited", "a later try went through"),
    Step("expired", "credited", "it was paid all the same"),
    Step("failed", "unwanted", "a later try went through, but the account takes no credit"),
    Step("expired", "unwanted", "it was paid all the same, but the account takes no credit"),
)

REFUND = (
    Step("asked", "taken", "the credit has left the account"),
    Step("asked", "refused", "the credit cannot be taken"),
    Step("taken", "sent", "Stripe has the order"),
    Step("taken", "failed", "Stripe refuses the order"),
    Step("sent", "done", "the money is on its way"),
    Step("sent", "failed", "the bank would not have it"),
    Step("done", "failed", "the bank sent it back"),
    Step("failed", "taken", "the operator tries again"),
    Step("failed", "sent", "Stripe has another one for it"),
    Step("failed", "otherwise", "the operator paid by other means"),
    Step("taken", "refused", "the payer's bank took the money before"),
    Step("failed", "refused", "the payer's bank took the money before"),
)

DISPUTE = (
    Step("inquiry", "open", "the bank takes the money back"),
    Step("inquiry", "closed", "the bank asks no more"),
    Step("open", "won", "the bank decides for the operator"),
    Step("open", "lost", "the bank decides for the payer"),
)

SUBSCRIPTION = (
    Step("ordered", "active", "its first month is paid"),
    Step("ordered", "past_due", "the first month is paid and the next is not, which we hear together"),
    Step("ordered", "ended", "nobody paid, or the account takes no plan"),
    Step("active", "past_due", "a renewal cannot be charged"),
    Step("active", "ended", "the period is over and it was cancelled, or it was ended before"),
    Step("past_due", "active", "the renewal is paid after all"),
    Step("past_due", "ended", "the days of grace are over, or it was cancelled"),
)

MACHINES: Mapping[str, tuple[Step, ...]] = {
    "payment": PAYMENT,
    "refund": REFUND,
    "dispute": DISPUTE,
    "subscription": SUBSCRIPTION,
}


def require(machine: str, before: str, after: str) -> None:
    """Raises Conflict if there is no such step."""
    if not may(machine, before, after):
        raise Conflict(f"a {machine} that is {before} cannot become {after}")


def may(machine: str, before: str, after: str) -> bool:
    return any((step.before, step.after) == (before, after) for step in MACHINES[machine])


def picture(machine: str) -> str:
    """The machine as Mermaid draws it (https://mermaid.js.org/syntax/stateDiagram.html)."""
    steps = MACHINES[machine]
    first = steps[0].before
    reached = {step.after for step in steps}
    last = sorted(reached - {step.before for step in steps})
    lines = [f"    [*] --> {first}"]
    lines += [f"    {step.before} --> {step.after}: {step.why}" for step in steps]
    lines += [f"    {state} --> [*]" for state in last]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])
