"""The first start: rates, plans, an operator account, and a demo account with a key where one is wanted."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from appliance import secrets
from appliance.settings import Settings
from billing.clock import Clock
from billing.customers import accounts, keys
from billing.database.db import Database
from billing.ledger.credit import Credit
from billing.plans.versions import publish
from billing.prices.money import NANODOLLARS_PER_DOLLAR
from billing.prices.rates import Prices, first_rates
from billing.store.postgres import PostgresStore
from serving.catalog.models import Model
from serving.files import write_secret

KEY_VARIABLE = "OPENAI_API_KEY="
OPERATOR = "operator"
DEMO = "demo"
DEMO_GRANT = uuid.UUID("01920000-0000-7000-8000-000000000001")
DEMO_CREDIT_NANODOLLARS = 10 * NANODOLLARS_PER_DOLLAR


@dataclass(frozen=True)
class Bootstrapped:
    """``demo_key`` is the demo account's key where this call made it.

    ``different_rates`` are the models that cost something else than models.yaml says.
    """

    demo_key: str | None
    different_rates: list[str]


def declared_prices(models: Sequence[Model]) -> dict[str, Prices]:
    """What models.yaml says that each model costs."""
    return {model.id: Prices(model.rates.input, model.rates.cached_input, model.rates.output) for model in models}


async def bootstrap(settings: Settings, clock: Clock) -> Bootstrapped:
    """Does what is not done yet; the key is on disk before it counts, and the demo's credit is given once."""
    database = Database(settings.sqlalchemy_url)
    try:
        async with database.begin() as connection:
            _, different = await first_rates(connection, declared_prices(settings.models), clock)
            await publish(connection, settings.plans, clock)
            if await accounts.find_account(connection, OPERATOR) is None:
                await accounts.create_account(connection, OPERATOR, "operator", clock)
        demo_key = await _demo(settings, database, clock) if settings.billing.demo_account else None
    finally:
        await database.close()
    return Bootstrapped(demo_key, different)


async def _demo(settings: Settings, database: Database, clock: Clock) -> str | None:
    """Its key, where this call made it."""
    pepper = secrets.read(settings.secrets).key_pepper
    made = None
    async with database.begin() as connection:
        if await accounts.find_account(connection, DEMO) is None:
            demo = await accounts.create_account(connection, DEMO, "customer", clock)
            _, made = await keys.create_key(connection, demo.id, "demo.env", pepper, clock)
        if key := made or read_demo_key(settings):
            _write_demo(settings, key)
        account = await accounts.find_account(connection, DEMO)
    if account is not None and account.status == "active":
        await Credit(PostgresStore(database), clock).grant(
            account.id, DEMO_CREDIT_NANODOLLARS, "demonstration", DEMO_GRANT, OPERATOR
        )
    return made


def read_demo_key(settings: Settings) -> str | None:
    """What ``demo.env`` says; None if it is gone."""
    try:
        lines = settings.demo.read_text().splitlines()
    except FileNotFoundError:
        return None
    keys_found = [line.removeprefix(KEY_VARIABLE) for line in lines if line.startswith(KEY_VARIABLE)]
    return keys_found[0] if keys_found else None


def _write_demo(settings: Settings, key: str) -> None:
    """The address may have changed since the key was made, so that this is written at every start."""
    text = f"OPENAI_BASE_URL={settings.base_url}\n{KEY_VARIABLE}{key}\n"
    write_secret(settings.demo, text)
