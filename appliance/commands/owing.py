"""What a customer owes is lowered, by a command."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from appliance.commands.session import fail, settings
from billing.clock import system_clock
from billing.database.db import Database
from billing.errors import BillingError
from billing.ledger.credit import Credit
from billing.payments.debts import Debts
from billing.store.postgres import PostgresStore

Result = TypeVar("Result")


def act_on_debts(work: Callable[[Debts], Awaitable[Result]]) -> Result:
    return act_on_invoices(lambda database, credit: work(Debts(database, credit, system_clock)))


def act_on_invoices(work: Callable[[Database, Credit], Awaitable[Result]]) -> Result:
    """A BillingError or a ValueError ends the command."""

    async def run() -> Result:
        database = Database(settings().sqlalchemy_url, application_name="appliance-cli", pool_size=1)
        try:
            return await work(database, Credit(PostgresStore(database), system_clock))
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except asyncpg.PostgresError as error:
        raise fail(f"PostgreSQL refused this: {error}") from None
    except (BillingError, ValueError) as error:
        raise fail(str(error)) from None
