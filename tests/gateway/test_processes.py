"""Several gateway processes on one socket: one set of books, one set of metrics."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from appliance.door.headers import NO_PAGE, strict_transport
from tests.gateway.conftest import House
from tests.stub_engine import PROMPT_TOKENS


def counting(folder: Path, metric: str) -> set[str]:
    """The processes that have begun to count it."""
    files = (folder / "metrics").glob("*.db")
    return {path.name.rpartition("_")[2] for path in files if metric.encode() in path.read_bytes()}


@contextmanager
def two_gateways(house: House, metrics: Path, **more: str) -> Iterator[str]:
    metrics.mkdir()
    env = os.environ | {
        "APPLIANCE_HOME": str(house.settings.home),
        "DATABASE_URL": str(house.settings.database_url),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        **more,
    }
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        command = [sys.executable, "-m", "appliance", "serve", "--fd", str(listener.fileno())]
        children = [subprocess.Popen(command, env=env, pass_fds=(listener.fileno(),)) for _ in range(2)]
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for child in children:
                child.terminate()
            codes = [child.wait(20) for child in children]
        assert codes == [-signal.SIGTERM, -signal.SIGTERM]


async def test_metrics_are_the_sum_of_all_gateway_processes(house: House, tmp_path: Path) -> None:
    customer = await house.customer()
    with two_gateways(house, tmp_path / "metrics") as url:
        house.url = url
        while len(counting(tmp_path, "appliance_sightings_dropped_total")) < 2:
            await asyncio.sleep(0.05)

        async def ask() -> None:
            async with aiohttp.ClientSession() as own:
                house.http, before = own, house.http
                request = customer.post(stream=True)
                house.http = before
                async with request as response:
                    assert response.status == 200
                    await response.read()

        requests = 0
        while len(counting(tmp_path, "appliance_requests_total")) < 2:
            await asyncio.gather(*(ask() for _ in range(20)))
            requests += 20
        async with aiohttp.ClientSession() as fresh, fresh.get(url + "/metrics") as response:
            text = await response.text()
    labels = 'endpoint="/v1/chat/completions",model="smollm2",status="200"'
    assert f"appliance_requests_total{{{labels}}} {float(requests)}" in text
    prompt = 'appliance_tokens_total{kind="prompt",model="smollm2"}'
    assert f"{prompt} {float(requests * PROMPT_TOKENS)}" in text
    assert f"appliance_settlement_seconds_count {float(requests)}" in text
    batches = re.search(r"appliance_settlement_batch_size_sum (\S+)", text)
    assert batches is not None
    assert float(batches[1]) == requests
    assert len(await customer.usage()) == requests


async def test_every_answer_tells_a_browser_to_run_and_to_frame_nothing(house: House, tmp_path: Path) -> None:
    customer = await house.customer()
    config = tmp_path / "appliance.yaml"
    config.write_text("site: {api_address: 'https://api.example.com'}")
    origin = {"origin": "https://page.example", "access-control-request-method": "POST"}
    with two_gateways(house, tmp_path / "metrics", APPLIANCE_CONFIG=str(config)) as url:
        house.url = url
        for request, status in (
            (customer.post(stream=True), 200),
            (customer.post(), 200),
            (customer.post(model="nothing"), 404),
            (customer.post_raw(b"{"), 400),
            (house.http.get(f"{url}/v1/models"), 200),
            (house.http.get(f"{url}/v1/nothing"), 404),
            (house.http.get(f"{url}/livez"), 200),
            (house.http.options(f"{url}/v1/models", headers=origin), 200),
            (house.http.get(f"{url}/", headers={"x-long": "a" * (70 << 10)}), 431),
        ):
            async with request as answer:
                assert answer.status == status
                for name, value in (
                    *NO_PAGE,
                    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
                ):
                    assert answer.headers.getall(name) == [value]
                await answer.read()


def test_browsers_are_held_to_tls_where_there_is_tls_and_below_it_if_the_operator_lets_them() -> None:
    assert strict_transport("", subdomains=True) == ()
    assert strict_transport("http://localhost:8001", subdomains=True) == ()
    ((_, value),) = strict_transport("https://example.com", subdomains=False)
    assert value == "max-age=31536000"
