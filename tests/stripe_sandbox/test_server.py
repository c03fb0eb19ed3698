"""On a port: the SDK over a real socket, the pages as a browser sees them, webhooks that arrive."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
import stripe
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typer.testing import CliRunner

from appliance.cli import app as command_line
from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.server import SandboxRefused, check, sandbox_app
from tests.stripe_sandbox.buying import ASKS_ALWAYS, DECLINED, PAYS
from tests.stripe_sandbox.inprocess import KEY, SECRET, settings
from tests.stripe_sandbox.serving import served


@dataclass
class Site:
    """Takes webhooks; refuses the first."""

    events: list[stripe.Event] = field(default_factory=list)
    tries: int = 0

    async def take(self, request: Request) -> Response:
        self.tries += 1
        if self.tries == 1:
            return Response(status_code=500)
        api = stripe.StripeClient(KEY)
        body = await request.body()
        self.events.append(api.construct_event(body, request.headers["stripe-signature"], SECRET))
        return Response()


@dataclass
class Running:
    sandbox: Sandbox
    site: Site
    address: str
    api: stripe.StripeClient


@asynccontextmanager
async def whole() -> AsyncIterator[Running]:
    site = Site()
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("127.0.0.1", 0)) as theirs:
        address = f"http://127.0.0.1:{ours.getsockname()[1]}"
        hook = f"http://127.0.0.1:{theirs.getsockname()[1]}/webhooks"
        sandbox = Sandbox(settings(address=address, webhook_url=hook))
        receiver = Starlette(routes=[Route("/webhooks", site.take, methods=["POST"])])
        api = stripe.StripeClient(KEY, base_addresses={"api": address}, http_client=stripe.HTTPXClient())
        async with served(sandbox_app(sandbox), ours, door=True), served(receiver, theirs):
            yield Running(sandbox, site, address, api)


async def test_a_customer_buys_on_the_page_and_the_site_is_told() -> None:
    async with whole() as running, httpx.AsyncClient() as browser:
        api = running.api
        customer = await api.v1.customers.create_async({"email": "buyer@example.com"})
        session = await api.v1.checkout.sessions.create_async(
            {
                "mode": "payment",
                "customer": customer.id,
                "success_url": "https://site.test/back?session={CHECKOUT_SESSION_ID}",
                "cancel_url": "https://site.test/cancelled",
                "line_items": [
                    {
                        "quantity": 2,
                        "price_data": {
                            "currency": "usd",
                            "unit_amount": 1050,
                            "product_data": {"name": "Credit <b>"},
                        },
                    }
                ],
            }
        )
        url = str(session.url)
        page = await browser.get(url)
        assert page.status_code == 200
        for part in (
            "SANDBOX",
            "No real money",
            "Credit &lt;b&gt; x 2",
            "$21.00",
            "https://site.test/cancelled",
            PAYS,
        ):
            assert part in page.text
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        labelled = re.findall(r'<label for="(\w+)"', page.text)
        assert sorted(labelled) == sorted(re.findall(r'<(?:input|select) id="(\w+)"', page.text))
        declined = await browser.post(url, data={"number": DECLINED})
        assert declined.status_code == 402
        assert "declined" in declined.text
        bank = await browser.post(url, data={"number": ASKS_ALWAYS})
        assert bank.status_code == 303
        assert "$21.00" in (await browser.get(bank.headers["location"])).text
        back = await browser.post(bank.headers["location"], data={"answer": "fail"})
        assert "not confirmed" in (await browser.get(back.headers["location"])).text
        clicks = await asyncio.gather(
            *(browser.post(url, data={"number": "4242 4242 4242 4242"}) for _ in range(2))
        )
        assert sorted(click.status_code for click in clicks) == [303, 409]
        paid = next(click for click in clicks if click.status_code == 303)
        assert paid.headers["location"] == f"https://site.test/back?session={session.id}"
        intents = await api.v1.payment_intents.list_async({"customer": customer.id})
        assert [(one.status, one.amount) for one in intents.data] == [("succeeded", 2100)]
        running.sandbox.move_clock(running.sandbox.clock.now() + 10)  # the first was refused: it comes again
        listed = (await api.v1.events.list_async({"limit": 100})).data
        while len(running.site.events) < len(listed):
            await asyncio.sleep(0.02)
        assert {event.id for event in running.site.events} == {event.id for event in listed}


async def test_the_operator_moves_the_clock_and_lets_a_bank_dispute() -> None:
    async with whole() as running, httpx.AsyncClient(base_url=running.address) as browser:
        api = running.api
        customer = (await api.v1.customers.create_async({"email": "a@example.com"})).id
        paid = await api.v1.payment_intents.create_async(
            {
                "amount": 900,
                "currency": "usd",
                "customer": customer,
                "payment_method": "pm_card_visa",
                "confirm": True,
            }
        )
        before = running.sandbox.clock.now()
        assert (await browser.post("/sandbox/clock", data={"seconds": "86400"})).status_code == 303
        assert running.sandbox.clock.now() >= before + 86_400
        back = await browser.post("/sandbox/clock", data={"to": str(before)})
        assert back.status_code == 400
        assert "never back" in back.text
        await browser.post("/sandbox/dispute", data={"charge": str(paid.latest_charge)})
        dispute = (await api.v1.disputes.list_async()).data[0]
        lists = await browser.get("/sandbox/objects/dispute")
        assert dispute.id in lists.text
        assert "Won" in lists.text
        overview = await browser.post(
            "/sandbox/decide", data={"dispute": dispute.id, "won": "true"}, headers={"accept": "application/json"}
        )
        assert overview.json()["counts"]["dispute"] == 1
        assert (await api.v1.disputes.retrieve_async(dispute.id)).status == "won"
        for kind in overview.json()["counts"]:
            assert (await browser.get(f"/sandbox/objects/{kind}")).status_code == 200
        shown = await browser.get(f"/sandbox/objects/charge/{paid.latest_charge}")
        assert "&#34;amount&#34;: 900" in shown.text
        page = await browser.get("/sandbox")
        assert "charge.dispute.created" in page.text
        method = running.sandbox.state.table("payment_method").newest()
        assert "_number" not in (await browser.get(f"/sandbox/objects/payment_method/{next(method)['id']}")).text
        for missing in (
            "/sandbox/objects/_job",
            "/sandbox/objects/none",
            "/c/pay/cs_none",
            "/3ds/pi_none",
            "/invoices/x",
        ):
            assert (await browser.get(missing)).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.test"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.test"}, 403),
        ({}, 303),
    ],
)
async def test_another_site_cannot_act_through_the_operators_browser(headers: dict[str, str], status: int) -> None:
    async with whole() as running, httpx.AsyncClient(base_url=running.address) as browser:
        answer = await browser.post("/sandbox/clock", data={"seconds": "1"}, headers=headers)
        assert answer.status_code == status


async def test_a_lost_answer_is_a_broken_connection_and_the_sdk_asks_again() -> None:
    async with whole() as running:
        running.sandbox.trouble.lose_next = 1
        api = stripe.StripeClient(
            KEY,
            base_addresses={"api": running.address},
            http_client=stripe.HTTPXClient(),
            max_network_retries=2,
        )
        made = await api.v1.customers.create_async({"name": "A"})
        assert [row["id"] for row in running.sandbox.state.table("customer").rows.values()] == [made.id]
        assert running.sandbox.trouble.lose_next == 0


@pytest.mark.parametrize("key", ["sk_live_1", "rk_live_1"])
def test_it_does_not_start_beside_a_live_key(key: str) -> None:
    with pytest.raises(SandboxRefused, match="live key"):
        check(settings(api_key=key))
    result = CliRunner().invoke(command_line, ["stripe-sandbox", "--api-key", KEY], env={"STRIPE_API_KEY": key})
    assert result.exit_code != 0
    assert "live key" in result.output
    assert key not in result.output


@pytest.mark.parametrize("chosen", [{"api_key": ""}, {"webhook_secret": "", "webhook_url": "http://site.test/"}])
def test_it_does_not_start_without_its_secrets(chosen: dict[str, str]) -> None:
    with pytest.raises(SandboxRefused):
        check(settings(**chosen))
