"""The worker posts: in a trial by itself, for a real seller in a series of its own."""

from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from appliance.papers.office import office_of
from appliance.settings import load_settings
from appliance.worker.metrics import WorkerMetrics
from appliance.worker.papers import Papering
from billing.documents.exchange import EXAMPLE_SOURCE, ExampleExchange, KeptExchange
from tests.documents.conftest import FixedExchange, Shop

LIVE = {"STRIPE_WEBHOOK_SECRET": "whsec_1"}
SELLER = """
site: {address: "https://example.com"}
seller: {name: Example AS, address: Storgata 1, postal_code: "0155", city: Oslo, number: "999 999 999", series: A}
"""


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


@pytest.mark.parametrize("key", ["sk_test_1", "sk_live_1"])
async def test_documents_are_of_the_real_series_with_a_live_key_alone(
    shop: Shop, tmp_path: Path, key: str
) -> None:
    config = tmp_path / "appliance.yaml"
    config.write_text(SELLER + "payments: {practice: true}\n")
    environment = LIVE | {"STRIPE_API_KEY": key, "APPLIANCE_CONFIG": str(config)}
    office = office_of(load_settings(environment), shop.bank.database, shop.bank.clock)
    if key == "sk_test_1":
        assert office.series == "SANDBOXA"
        assert isinstance(office.exchange, ExampleExchange)
    else:
        assert office.series == "A"
        assert isinstance(office.exchange, KeptExchange)


async def test_a_receipt_without_a_rate_is_counted(shop: Shop) -> None:
    await shop.sells(await shop.bank.customer(0), 2500)
    registry = CollectorRegistry()
    worker = Papering(shop.bank.database, load_settings({}), WorkerMetrics(registry), shop.bank.clock)
    shop.exchange = FixedExchange(rate=None)
    worker._posting = shop.posting
    await worker.run_once()
    assert registry.get_sample_value("appliance_documents_waiting") == 1
    shop.exchange.rate = Decimal("10.85")
    await worker.run_once()
    assert registry.get_sample_value("appliance_documents_waiting") == 0
