"""What the commands about payments share: the services that take money, for as long as one command takes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from appliance.commands.session import fail, settings
from appliance.secrets import SecretsError
from appliance.till import Till, open_till, provider_of
from billing.clock import system_clock
from billing.database.db import Database
from billing.errors import BillingError

Result = TypeVar("Result")


def at_the_till(work: Callable[[Till], Awaitable[Result]]) -> Result:
    """Ends the command where nothing is sold, or it is refused."""

    async def run() -> Result:
        chosen = settings()
        provider = provider_of(chosen, system_clock)
        if provider is None:
            raise fail("there is no Stripe here, and no sandbox")
        database = Database(chosen.sqlalchemy_url, application_name="appliance-cli", pool_size=2)
        try:
            return await work(open_till(chosen, provider, database, system_clock))
        finally:
            await provider.close()
            await database.close()

    try:
        return asyncio.run(run())
    except (BillingError, SecretsError, ValueError) as error:
        raise fail(str(error)) from None
