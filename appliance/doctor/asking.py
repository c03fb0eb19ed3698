"""What Stripe and the database say about payments. Nothing here changes anything."""

from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.doctor.selling import Mode, Selling, doubts_about, zero_rated
from appliance.settings import STRIPE_WEBHOOK_PATH, Settings
from billing.clock import Clock
from billing.payments.customers import refused_buyers
from billing.payments.inbox import marked
from billing.payments.mode import count_of_mode
from billing.payments.provider import (
    KeyRefused,
    PaymentsRefused,
    PaymentsUnavailable,
    Provider,
    RightsMissing,
    WebhookSeen,
)

Answer = TypeVar("Answer")

EVENTS = (
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.refund.updated",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.subscription.deleted",
    "customer.subscription.updated",
    "invoice.created",
    "invoice.finalization_failed",
    "invoice.paid",
    "invoice.payment_failed",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "payment_intent.succeeded",
    "payment_method.automatically_updated",
    "payment_method.detached",
    "refund.created",
    "refund.failed",
    "refund.updated",
)
"""What the webhook at Stripe should be for."""
NORWAY = "NO"
OF_REGISTER = (" AS", " ASA", " NUF")
"""Companies whose documents must name the register that they are entered in (bokføringsforskriften § 5-1-2)."""

_POSTPAID = "SELECT EXISTS (SELECT 1 FROM account WHERE credit_limit_nanodollars > 0 AND status <> 'deleted')"
_CONSUMERS = """
SELECT DISTINCT buyer->>'country' AS country FROM payment
WHERE state = 'credited' AND gross_cents > 0 AND NOT (buyer->>'business')::boolean
"""
_SWEPT = """
SELECT count(*) FROM stripe_event WHERE came_by = 'sweep'
AND received_at > coalesce((SELECT max(received_at) FROM stripe_event WHERE came_by = 'webhook'), '-infinity')
"""


def known(settings: Settings) -> Selling:
    """Without asking anybody."""
    seller = settings.seller
    fields = ["name", "address", "postal_code", "city", "number"]
    if seller.country == NORWAY and seller.name.upper().endswith(OF_REGISTER):
        fields.append("register")
    return Selling(
        mode_of(settings),
        site_address=settings.site.address,
        example_terms=not (settings.site.terms_file and settings.site.privacy_file),
        seller_lacks=tuple(f"seller.{name}" for name in fields if not getattr(seller, name)),
        has_bank_account=bool(seller.bank_account),
        vat_doubts=()
        if settings.taxing.by_stripe
        else doubts_about(settings.taxing.rules, seller.country, registered=seller.registered),
        zero_rated=() if settings.taxing.by_stripe else zero_rated(settings.taxing.rules, seller.country),
        anybody_joins=settings.site.sign_up == "open",
        tax_by_stripe=settings.taxing.by_stripe,
        webhook_url=settings.site_url + STRIPE_WEBHOOK_PATH,
    )


def mode_of(settings: Settings) -> Mode:
    if settings.stripe_key is None:
        return "sandbox" if settings.sandbox else "nothing"
    return "live" if settings.is_live else "test"


async def ask_stripe(facts: Selling, provider: Provider, clock: Clock) -> Selling:
    """Adds what Stripe answers. What the key has no right to keeps nothing else from being asked."""
    missing: list[str] = []
    try:
        account = await _answer(provider.account(), "the account", missing)
    except KeyRefused:
        return replace(facts, asked="refused")
    except (PaymentsUnavailable, PaymentsRefused):
        return replace(facts, asked="unreachable")
    facts = replace(facts, asked="answered")
    if account is not None:
        off = (clock() - account.clock).total_seconds()
        facts = replace(facts, country=account.country, currency=account.currency, clock_off_seconds=off)
    with suppress(PaymentsUnavailable, PaymentsRefused):
        if facts.tax_by_stripe:
            facts = replace(facts, tax_lacks=await _answer(provider.tax_lacks(), "tax settings", missing))
    with suppress(PaymentsUnavailable, PaymentsRefused):
        webhooks = await _answer(provider.webhooks(), "webhook endpoints", missing)
        facts = facts if webhooks is None else _with_webhook(facts, webhooks)
    return replace(facts, may_not_read=tuple(missing))


async def _answer(asked: Awaitable[Answer], what: str, missing: list[str]) -> Answer | None:
    """None, and ``what`` is missing, where the key has no right to it."""
    try:
        return await asked
    except RightsMissing:
        missing.append(what)
        return None


def _with_webhook(facts: Selling, webhooks: Sequence[WebhookSeen]) -> Selling:
    ours = [one for one in webhooks if one.url == facts.webhook_url]
    if not ours:
        return replace(facts, webhook="missing")
    kinds = {kind for one in ours if one.enabled for kind in one.kinds}
    if not kinds:
        return replace(facts, webhook="disabled")
    lacks = () if "*" in kinds else tuple(kind for kind in EVENTS if kind not in kinds)
    return replace(facts, webhook="registered", events_missing=lacks)


async def ask_database(facts: Selling, connection: AsyncConnection) -> Selling:
    """Adds what is on record."""
    of_other = 0
    if facts.mode != "nothing":
        of_other = await count_of_mode(connection, live=facts.mode != "live")
    swept = (await connection.execute(text(_SWEPT))).scalar_one()
    taken, refused = await marked(connection, "webhook"), await marked(connection, "webhook_refused")
    is_refused = refused is not None and (taken is None or taken < refused)
    has_postpaid = (await connection.execute(text(_POSTPAID))).scalar_one()
    return replace(
        facts,
        of_other_mode=of_other,
        swept=swept,
        webhooks_refused=is_refused,
        has_postpaid=has_postpaid,
        refused_buyers=tuple(await refused_buyers(connection)),
        consumers_of=tuple((await connection.execute(text(_CONSUMERS))).scalars()),
    )
