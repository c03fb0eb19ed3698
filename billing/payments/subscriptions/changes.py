"""Which plan may follow which, and what is shown of it before anybody agrees. Pure."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from billing.errors import BillingError
from billing.payments.subscribed import Subscription
from billing.plans.versions import Version


class NotPossible(BillingError):
    """The account cannot do this with its plan now. The message says why, to an operator."""


class PreviewOld(BillingError):
    """What was shown is not what it would cost now: show it again."""


Kind = Literal["subscribe", "upgrade", "downgrade"]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Preview(msgspec.Struct, frozen=True):
    """What a plan would cost: ``cents`` now and ``then_cents`` from each renewal on, both with the tax in them.

    ``vat_cents`` is the tax in ``cents``. ``then_at`` is the next renewal; None where there is no plan yet: a
    month after the payment. ``at`` is what it was reckoned as of, in whole seconds.
    """

    kind: Kind
    version_id: int
    cents: int
    vat_cents: int
    then_cents: int
    then_at: Moment | None
    at: Moment


def require_changeable(row: Subscription, version: Version, now: datetime) -> None:
    if row.state == "past_due":
        raise NotPossible("the plan's renewal is not paid")
    if row.period_end is None or row.period_end <= now:
        raise NotPossible("the plan is being renewed: try again in a few minutes")
    if row.cancels:
        raise NotPossible("the plan is cancelled: take that back first")
    if row.next_version is not None:
        raise NotPossible("another change is planned: take that back first")
    if row.version.id == version.id:
        raise NotPossible("the account has this plan")


def require_costs(cents: int) -> None:
    """A plan that is dearer may cost no more, where its buyer pays less tax than before."""
    if cents <= 0:
        raise NotPossible(
            "with the tax of today the plan costs no more than what is paid for: there is nothing to charge"
        )
