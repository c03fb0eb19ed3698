"""Who sells, by the operator's settings: what posting needs, for the worker and the command line."""

from appliance.papers.wording import Words
from appliance.settings import Settings
from billing.clock import Clock
from billing.database.db import Database
from billing.documents.document import SANDBOX_SERIES
from billing.documents.exchange import ExampleExchange, Exchange, KeptExchange, books_currency
from billing.documents.norges_bank import NorgesBank
from billing.documents.posting import Office


def office_of(settings: Settings, database: Database, clock: Clock) -> Office:
    """Without a live key of Stripe, documents are of a series of their own and need nobody's exchange rate."""
    series = settings.document_series
    if not settings.is_live:
        series = f"{SANDBOX_SERIES}{series}"
    return Office(
        settings.seller, series, settings.taxing, Words(settings.site.name), _exchange(settings, database, clock)
    )


def _exchange(settings: Settings, database: Database, clock: Clock) -> Exchange | None:
    currency = books_currency(settings.seller.country)
    if currency is None:
        return None
    if not settings.is_live:
        return ExampleExchange(currency)
    return KeptExchange(database, currency, NorgesBank(), clock)
