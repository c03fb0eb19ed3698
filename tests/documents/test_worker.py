"""The worker posts: in a trial by itself, for a real seller only if documents can be lawful."""

import pytest
from prometheus_client import CollectorRegistry

from appliance.settings import load_settings
from appliance.worker.metrics import WorkerMetrics
from appliance.worker.papers import Papering
from billing.documents.exchange import EXAMPLE_SOURCE
from tests.documents.conftest import Shop

LIVE = {"STRIPE_API_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}


def papering(shop: Shop, environment: dict[str, str]) -> Papering:
    metrics = WorkerMetrics(CollectorRegistry())
    return Papering(shop.bank.database, load_settings(environment), metrics, shop.bank.clock)


async def test_a_trial_has_its_receipts_without_any_network(shop: Shop) -> None:
    await shop.sells(await shop.bank.customer(0), 2500)
    await papering(shop, {}).run_once()
    (receipt,) = await shop.documents()
    assert receipt.name == "SANDBOX-1"
    assert receipt.exchange is not None
    assert receipt.exchange.source == EXAMPLE_SOURCE
    assert receipt.lines[0].text == "Appliance: credit of $25.00 for use of the API"


async def test_a_seller_without_an_address_posts_nothing(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    await shop.sells(await shop.bank.customer(0), 2500)
    await papering(shop, LIVE).run_once()
    assert await shop.documents() == []
    assert "seller in appliance.yaml lacks address, city, number" in caplog.text
