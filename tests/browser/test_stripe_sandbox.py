"""The sandbox's pages in a browser: usable by everybody, and somebody buys credit that is then disputed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
import stripe
from playwright.sync_api import Browser

from tests.browser.test_every_page import visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
KEY = "sk_test_browser"
PATIENCE_SECONDS = 30


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the command, run as an operator runs it."""
    home: Path = tmp_path_factory.mktemp("sandbox")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    environment = {**os.environ, "APPLIANCE_HOME": str(home)}
    command = [sys.executable, "-m", "appliance", "stripe-sandbox", "--port", str(port), "--api-key", KEY]
    with subprocess.Popen(command, env=environment) as running:
        address = f"http://127.0.0.1:{port}"
        wait_for(address)
        yield address
        running.terminate()


def wait_for(address: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            httpx.get(f"{address}/sandbox")
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the sandbox did not start")


def session(address: str, **more: Any) -> stripe.checkout.Session:
    api = stripe.StripeClient(KEY, base_addresses={"api": address})
    params: Any = {
        "mode": "payment",
        "success_url": f"{address}/sandbox?{{CHECKOUT_SESSION_ID}}",
        "cancel_url": f"{address}/sandbox",
        "automatic_tax": {"enabled": True},
        "line_items": [
            {
                "quantity": 1,
                "price_data": {"currency": "usd", "unit_amount": 2000, "product_data": {"name": "Credit"}},
            }
        ],
        **more,
    }
    return api.v1.checkout.sessions.create(params)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_somebody_buys_and_the_bank_disputes(
    browser: Browser, address: str, scheme: Literal["light", "dark"], width: int
) -> None:
    context = browser.new_context(
        base_url=address, color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True
    )
    page = context.new_page()
    made = session(address)
    visit(page, str(made.url))
    page.get_by_label("Card number").fill("4000002760003184")
    page.get_by_label("Email").fill("buyer@example.com")
    page.get_by_label("Country").select_option("NO")
    page.get_by_role("button", name="Pay").click()
    assert page.get_by_text("$25.00").is_visible(), "the bank asks for the sum with its tax"
    visit(page, page.url)
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url(f"**/sandbox?{made.id}")
    for path in ("/sandbox", "/sandbox/objects/charge", "/sandbox/objects/event", "/none"):
        visit(page, path)
    page.goto("/sandbox/objects/charge")
    page.get_by_role("button", name="Dispute this payment").first.click()
    page.goto("/sandbox/objects/dispute")
    page.get_by_role("button", name="Lost").first.click()
    assert page.get_by_role("cell", name="lost", exact=True).first.is_visible()
    context.close()
