"""The page of credit: what there is, what was bought, and what can be done about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request
from fastapi.responses import Response

from appliance.settings import PaymentsSettings
from appliance.site.audience import Audience
from appliance.site.kept import why_kept
from appliance.site.pages import Routes
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.texts import Say
from billing.customers.accounts import LotRecord, get_account, list_lots
from billing.database.db import Database
from billing.payments.records import Payment, Refund, payments_of, refunds_of_account, wallet
from billing.payments.refunds import Refunds
from billing.payments.settling import OF_CREDIT
from billing.payments.top_up import TopUps

HERE = "/credit"
SHOWN = 20
UNDER_WAY, BACK = ("asked", "taken", "sent", "failed"), ("done", "otherwise")
"""Of refunds."""


@dataclass(frozen=True, slots=True)
class Bought:
    """A lot of credit. ``payment`` can be asked back; otherwise ``why_not`` says why, if it was bought."""

    lot: LotRecord
    payment: UUID | None
    why_not: str


class CreditPage:
    def __init__(
        self,
        render: Render,
        database: Database,
        refunds: Refunds,
        top_ups: TopUps,
        payments: PaymentsSettings,
        refund_days: int,
    ) -> None:
        self._render = render
        self._database = database
        self._refunds = refunds
        self._top_ups = top_ups
        self._payments = payments
        self._refund_days = refund_days

    def routes(self) -> Routes:
        return (("GET", HERE, Audience.CUSTOMER, self.credit),)

    async def credit(self, request: Request, visitor: Visitor) -> Response:
        return await self.shown(visitor, done=request.query_params.get("done", ""))

    async def shown(self, visitor: Visitor, status: int = 200, error: str = "", done: str = "") -> Response:
        account_id, say = visitor.person.account_id, visitor.say
        async with self._database.begin() as connection:
            account = await get_account(connection, account_id)
            lots = [lot for lot in await list_lots(connection, account_id) if lot.remaining_nanodollars]
            payments = await payments_of(connection, account_id, SHOWN)
            refunds = await refunds_of_account(connection, account_id, SHOWN)
            kept = await wallet(connection, account_id)
        by_lot = {one.lot_id: one for one in payments if one.lot_id is not None}
        return self._render(
            visitor,
            "credit.html",
            status,
            account=account,
            bought=[await self._bought(lot, by_lot.get(lot.id), visitor) for lot in lots],
            payments=[(one, _said(one, refunds, say)) for one in payments if one.kind in OF_CREDIT],
            refunds=[one for one in refunds if one.state in UNDER_WAY],
            wallet=kept,
            paused=_why_paused(kept.paused, say),
            spent=await self._top_ups.spent_this_month(account_id) if kept.ceiling_cents else 0,
            offer=self._payments,
            error=error,
            done=_done(say).get(done, ""),
        )

    async def _bought(self, lot: LotRecord, paid: Payment | None, visitor: Visitor) -> Bought:
        if lot.source != "purchase" or paid is None:
            return Bought(lot, None, "")
        why_not = await self.why_kept(paid, visitor)
        return Bought(lot, None if why_not else paid.id, why_not)

    async def why_kept(self, paid: Payment, visitor: Visitor) -> str:
        """Why a purchase cannot be asked back; "" if it can."""
        kept = await self._refunds.why_not(visitor.person.account_id, paid.id)
        return why_kept(kept, self._refund_days, visitor.say)


def _said(one: Payment, refunds: Sequence[Refund], say: Say) -> str:
    """What has become of a payment."""
    back = sum(refund.gross_cents for refund in refunds if refund.payment_id == one.id and refund.state in BACK)
    if back:
        return say("Paid back") if back == one.gross_cents else say("Paid, and a part of it paid back")
    return {
        "credited": say("Paid"),
        "failed": say("Not paid: the card was declined"),
        "expired": say("Not paid"),
        "unwanted": say("Paid back"),
    }.get(one.state, say("Not paid yet"))


def _why_paused(reason: str | None, say: Say) -> str:
    """Why a card is not charged by itself any more, and what to do."""
    if reason is None:
        return ""
    if reason == "authentication_required":
        return say("Your bank wants you to confirm each payment. Buy credit here yourself, or save another card.")
    if reason == "no_buyer":
        return say("Your billing details are missing. Fill them in, and go on.")
    return say("Your card was declined. Save another card, or ask your bank, and go on.")


def _done(say: Say) -> dict[str, str]:
    return {
        "refund": say("The credit is taken back, and the money is on its way to your card."),
        "card": say("Your card is saved."),
        "no-card": say("No card was saved."),
        "removed": say("Your card is removed. Nothing is charged by itself any more."),
        "rule": say("Automatic top-up is on."),
        "stopped": say("Automatic top-up is off."),
    }
