"""What is offered now: the models that run, with the list's prices and the next change of each; and the plans."""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.settings import Settings
from billing.clock import Clock
from billing.database.db import Database
from billing.plans.catalog import Plan
from billing.prices.money import MICRODOLLARS_PER_DOLLAR, NANODOLLARS_PER_DOLLAR, decimal
from billing.prices.rates import Version, price_list
from serving.catalog.declared import Declared
from serving.catalog.models import Model, partners_of


@dataclass(frozen=True, slots=True)
class Price:
    """In dollars as they are written: tokens by the million, and what else costs something, each."""

    input: str
    cached_input: str
    output: str
    request: str | None
    image: str | None
    audio_second: str | None


@dataclass(frozen=True, slots=True)
class Offered:
    """``partners`` are the names of those that what is asked may be sent to."""

    model: Model
    price: Price | None
    next: Version | None
    next_price: Price | None
    partners: Sequence[str]


async def offer(database: Database, declared: Declared, clock: Clock) -> list[Offered]:
    """In the order of models.yaml. Raises DatabaseUnavailable."""
    models = declared.models()
    async with database.begin() as connection:
        listed = await price_list(connection, clock)
    found = []
    for model in models.values():
        rate = listed.get(model.id)
        names = [partner["name"] for partner in partners_of(model, models)]
        following = None if rate is None else rate.next
        price = None if rate is None else _price(rate.current)
        found.append(Offered(model, price, following, None if following is None else _price(following), names))
    return found


def plans_on_offer(settings: Settings) -> Sequence[Plan]:
    """None where nothing is sold."""
    return settings.plans if settings.sells else ()


def _price(version: Version) -> Price:
    tokens = [
        decimal(getattr(version, name), MICRODOLLARS_PER_DOLLAR) for name in ("input", "cached_input", "output")
    ]
    each = [getattr(version, name) for name in ("request", "image", "audio_second")]
    return Price(*tokens, *(decimal(amount, NANODOLLARS_PER_DOLLAR) if amount else None for amount in each))
