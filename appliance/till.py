"""The only wiring of what takes money: settings in, the services that sell, pay back and hear from Stripe out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from appliance import secrets
from appliance.settings import Settings
from billing.clock import Clock
from billing.database.db import Database
from billing.documents.on_account import require_nobody
from billing.documents.vat import Taxing
from billing.ledger.credit import Credit
from billing.payments.customers import Customers
from billing.payments.disputes import Disputes
from billing.payments.following import Following
from billing.payments.inbox import Handler, Inbox
from billing.payments.invoices import Invoices
from billing.payments.mode import require_one_mode
from billing.payments.provider import EventSeen, Provider
from billing.payments.refunds import Refunds
from billing.payments.settling import Settling
from billing.payments.shop import Bounds, Shop
from billing.payments.stripe.adapter import StripeProvider
from billing.payments.subscriptions.service import Subscriptions
from billing.payments.sweep import Sweep
from billing.payments.top_up import TopUps
from billing.payments.upkeep import Upkeep
from billing.plans.catalog import Plan
from billing.prices.money import CENTS_PER_DOLLAR
from billing.store.postgres import PostgresStore


@dataclass(frozen=True, slots=True)
class Offer:
    """The plans that can be subscribed to; how long one stays unpaid; how an upgrade is charged."""

    plans: Sequence[Plan] = ()
    grace: timedelta = timedelta(days=7)
    prorated: bool = True


@dataclass(frozen=True)
class Till:
    provider: Provider
    settling: Settling
    shop: Shop
    top_ups: TopUps
    refunds: Refunds
    disputes: Disputes
    sweep: Sweep
    customers: Customers
    subscriptions: Subscriptions
    upkeep: Upkeep
    invoices: Invoices
    inbox: Inbox


def provider_of(settings: Settings, clock: Clock) -> StripeProvider | None:
    """To Stripe, or to the sandbox of this machine; None where nothing is sold. Raises SecretsError."""
    if settings.stripe_key is not None:
        return StripeProvider(
            settings.stripe_key, settings.stripe_webhook_secret or "", clock, tax=settings.stripe_tax
        )
    if not settings.sandbox:
        return None
    keys = secrets.read_sandbox(settings.secrets)
    return StripeProvider(keys.key, keys.webhook, clock, base=settings.stripe_sandbox_url, tax=settings.stripe_tax)


async def require_right_start(settings: Settings) -> None:
    """At the start of a system that sells. Raises Conflict, DatabaseUnavailable."""
    if not settings.sells:
        return
    database = Database(settings.sqlalchemy_url, pool_size=1)
    try:
        async with database.begin() as connection:
            await require_one_mode(connection, live=settings.is_live)
            await require_nobody(connection, settings.taxing)
    finally:
        await database.close()


def bounds_of(settings: Settings) -> Bounds:
    section = settings.payments
    return Bounds(*(CENTS_PER_DOLLAR * dollars for dollars in (section.least, section.most, section.most_a_day)))


def offer_of(settings: Settings) -> Offer:
    section = settings.payments
    return Offer(settings.plans, timedelta(days=section.grace_days), section.upgrade == "prorated")


def open_till(
    settings: Settings,
    provider: Provider,
    database: Database,
    clock: Clock,
    handlers: Mapping[str, Handler] | None = None,
) -> Till:
    """``handlers`` are of events that others than those who sell follow."""
    days = settings.billing.refund_days
    offer = offer_of(settings)
    term = timedelta(days=settings.payments.invoice_days)
    return till(database, provider, settings.taxing, bounds_of(settings), clock, days, handlers, offer, term)


def till(
    database: Database,
    provider: Provider,
    taxing: Taxing,
    bounds: Bounds,
    clock: Clock,
    refund_days: int,
    handlers: Mapping[str, Handler] | None = None,
    offer: Offer = Offer(),
    invoice_term: timedelta = timedelta(days=14),
) -> Till:
    store = PostgresStore(database)
    credit = Credit(store, clock, refund_days=refund_days)
    following = Following(database, store, provider, taxing, offer.grace, clock)
    settling = Settling(database, provider, credit, taxing, clock)
    refunds = Refunds(database, provider, credit, clock)
    disputes = Disputes(database, provider, credit, following, clock, invoice_term)
    top_ups = TopUps(database, provider, settling, taxing, bounds, clock)

    async def settle_page(event: EventSeen) -> None:
        """Credit is bought on it, or a plan."""
        page = await provider.checkout(event.object)
        await settling.settle_checkout(page)
        await following.on_checkout(page)

    of_ours: dict[str, Handler] = {
        "checkout.session.": settle_page,
        "customer.subscription.": following.on_subscription,
        "invoice.": following.on_invoice,
        "payment_intent.": settling.settle_intent,
        "refund.": refunds.settle,
        "charge.refund.": refunds.settle,
        "charge.dispute.": disputes.settle,
        "payment_method.detached": top_ups.card_changed,
        "payment_method.automatically_updated": top_ups.card_changed,
    }
    return Till(
        provider,
        settling,
        Shop(database, provider, settling, taxing, bounds, clock),
        top_ups,
        refunds,
        disputes,
        Sweep(database, provider, settling, clock),
        Customers(database, provider, taxing),
        Subscriptions(database, following, provider, offer.plans, taxing, clock, prorated=offer.prorated),
        Upkeep(database, following, provider, clock),
        Invoices(database, provider, taxing, clock),
        Inbox(database, provider, of_ours | dict(handlers or {}), clock),
    )
