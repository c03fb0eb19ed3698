"""Each scenario twice: against our stand-in on a socket (`make test`), against Stripe (`make stripe-check`)."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import stripe

from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.server import sandbox_app
from billing.database.db import Database
from billing.payments.provider import StripeTax
from billing.payments.stripe.adapter import StripeProvider
from tests.billing.conftest import RATE, Bank
from tests.stripe_account.key import required_key
from tests.stripe_account.merchant import Merchant, ScenarioClock
from tests.stripe_sandbox.inprocess import KEY, settings
from tests.stripe_sandbox.serving import served

TIMEOUT_SECONDS = 80.0
SOFTWARE = "txcd_10103001"


@pytest.fixture(params=["sandbox", pytest.param("stripe", marks=pytest.mark.stripe)])
async def merchant(request: pytest.FixtureRequest, fresh_url: str) -> AsyncIterator[Merchant]:
    """In the end everything is told once more, which changes nothing; the books balance; Stripe is tidied."""
    database = Database(fresh_url, pool_size=12)
    clock = ScenarioClock()
    bank = Bank(database, clock, fresh_url)
    await bank.set_rate(RATE)
    opened = standing_in if request.param == "sandbox" else at_stripe
    async with opened(bank, clock) as made:
        try:
            await made.open()
            yield made
            before = await made.books()
            await made.hear()
            await made.hear_again()
            assert await made.books() == before
            assert await made.errors() == []
            assert await bank.discrepancies() == []
        finally:
            await made.close()
    await database.close()


@asynccontextmanager
async def standing_in(bank: Bank, clock: ScenarioClock) -> AsyncIterator[Merchant]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        address = f"http://{host}"
        async with served(sandbox_app(Sandbox(settings(address=address))), listening, door=True):
            yield _merchant(bank, clock, KEY, host, address)


@asynccontextmanager
async def at_stripe(bank: Bank, clock: ScenarioClock) -> AsyncIterator[Merchant]:
    yield _merchant(bank, clock, required_key(os.environ), "checkout.stripe.com", None)


def _merchant(bank: Bank, clock: ScenarioClock, key: str, pages: str, base: str | None) -> Merchant:
    http = stripe.HTTPXClient(timeout=TIMEOUT_SECONDS)
    api = stripe.StripeClient(
        key, http_client=http, max_network_retries=2, base_addresses={} if base is None else {"api": base}
    )
    plain, taxing = (
        StripeProvider(key, "", clock, base=base, http=http, tax=tax) for tax in (None, StripeTax(SOFTWARE, False))
    )
    return Merchant(bank, clock, plain, taxing, api, pages)
