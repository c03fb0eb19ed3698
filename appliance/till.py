"""The only wiring of what takes money: settings in, the services that sell, pay back and hear from Stripe out."""

from collections.abc import Mapping
from dataclasses import dataclass

from appliance import secrets
from appliance.settings import Settings
from billing.clock import Clock
from billing.database.db import Database
from billing.documents.vat import Taxing
from billing.ledger.credit import Credit
from billing.payments.customers import Customers
from billing.payments.disputes import Disputes
from billing.payments.inbox import Handler, Inbox
from billing.payments.provider import Provider
from billing.payments.refunds import Refunds
from billing.payments.settling import Settling
from billing.payments.shop import Bounds, Shop
from billing.payments.stripe import StripeProvider
from billing.payments.sweep import Sweep
from billing.payments.top_up import TopUps
from billing.store.postgres import PostgresStore

CENTS_PER_DOLLAR = 100


@dataclass(frozen=True)
class Till:
    settling: Settling
    shop: Shop
    top_ups: TopUps
    refunds: Refunds
    disputes: Disputes
    sweep: Sweep
    customers: Customers
    inbox: Inbox


def provider_of(settings: Settings, clock: Clock) -> StripeProvider | None:
    """To Stripe, or to the sandbox of this machine; None where nothing is sold. Raises SecretsError."""
    if settings.stripe_key is not None:
        return StripeProvider(settings.stripe_key, settings.stripe_webhook_secret or "", clock)
    if not settings.sandbox:
        return None
    keys = secrets.read_sandbox(settings.secrets)
    return StripeProvider(keys.key, keys.webhook, clock, base=settings.stripe_sandbox_url)


def bounds_of(settings: Settings) -> Bounds:
    section = settings.payments
    return Bounds(*(CENTS_PER_DOLLAR * dollars for dollars in (section.least, section.most, section.most_a_day)))


def open_till(
    settings: Settings,
    provider: Provider,
    database: Database,
    clock: Clock,
    handlers: Mapping[str, Handler] | None = None,
) -> Till:
    """``handlers`` are of events that others than those who sell credit follow."""
    days = settings.billing.refund_days
    return till(database, provider, settings.taxing, bounds_of(settings), clock, days, handlers)


def till(
    database: Database,
    provider: Provider,
    taxing: Taxing,
    bounds: Bounds,
    clock: Clock,
    refund_days: int,
    handlers: Mapping[str, Handler] | None = None,
) -> Till:
    credit = Credit(PostgresStore(database), clock, refund_days=refund_days)
    settling = Settling(database, provider, credit, clock)
    refunds = Refunds(database, provider, credit, clock)
    disputes = Disputes(database, provider, credit, clock)
    top_ups = TopUps(database, provider, settling, taxing, bounds, clock)
    of_credit: dict[str, Handler] = {
        "checkout.session.": settling.settle_checkout,
        "payment_intent.": settling.settle_intent,
        "refund.": refunds.settle,
        "charge.refund.": refunds.settle,
        "charge.dispute.": disputes.settle,
        "payment_method.detached": top_ups.card_changed,
        "payment_method.automatically_updated": top_ups.card_changed,
    }
    return Till(
        settling,
        Shop(database, provider, settling, taxing, bounds, clock),
        top_ups,
        refunds,
        disputes,
        Sweep(database, provider, settling, clock),
        Customers(database, provider),
        Inbox(database, provider, of_credit | dict(handlers or {}), clock),
    )
