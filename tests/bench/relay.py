"""The gateway's own cost: CPU seconds per 1,000 streamed answers, and what it adds to the first token.

64 chunks, 10 ms apart, 32 answers at a time, with authentication, admission and settlement on a real PostgreSQL.
The engine is a stub behind the private port's protocol, so that the engine's own share is not in the figures.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil

from appliance import secrets
from appliance.bootstrap import bootstrap, read_demo_key
from appliance.settings import Settings, load_settings
from billing import ledger
from billing.clock import system_clock
from billing.db import Database
from billing.migrations import upgrade
from serving import client
from tests.appliance.postgres_server import running_cluster
from tests.bench.load import Outcome, stream_answers
from tests.bench.report import percentile
from tests.gateway.conftest import publish
from tests.ports import free_port

ANSWERS, WARM_UP, AT_ONCE, CHUNKS, INTERVAL_SECONDS = 1000, 100, 32, 64, 0.01


def measure(answers: int = ANSWERS) -> dict[str, float | int]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(running_cluster())
        env = os.environ | {"APPLIANCE_HOME": str(home), "DATABASE_URL": cluster.url(), "PORT": str(free_port())}
        settings = load_settings(env)
        asyncio.run(_prepare(settings))
        secret = secrets.read(settings.secrets).cluster_secret
        stub_port = free_port()
        stub = ["-m", "tests.stub_engine", "--port", str(stub_port), "--secret", secret]
        stub += ["--chunks", str(CHUNKS), "--interval", str(INTERVAL_SECONDS)]
        stack.enter_context(_process(stub, env, f"http://127.0.0.1:{stub_port}/health"))
        publish(settings.directory, [f"http://127.0.0.1:{stub_port}"])
        gateway = stack.enter_context(
            _process(["-m", "appliance", "serve"], env, f"http://127.0.0.1:{settings.port}/livez")
        )
        return asyncio.run(_run(settings, secret, stub_port, gateway, answers))


async def _prepare(settings: Settings) -> None:
    secrets.create(settings.secrets)
    await upgrade(settings.sqlalchemy_url)
    await bootstrap(settings, system_clock)


async def _run(
    settings: Settings, secret: str, stub_port: int, gateway: psutil.Process, answers: int
) -> dict[str, float | int]:
    key = {"authorization": f"Bearer {read_demo_key(settings)}"}
    inside = {client.HEADER_SECRET: secret, client.HEADER_COMPLETION_LIMIT: "2048"}

    async def through_gateway(count: int) -> Outcome:
        return await stream_answers(f"{settings.base_url}/chat/completions", key, answers=count, at_once=AT_ONCE)

    async def direct(count: int) -> Outcome:
        url = f"http://127.0.0.1:{stub_port}/v1/chat/completions"
        return await stream_answers(
            url, inside, answers=count, at_once=AT_ONCE, fresh_header=client.HEADER_REQUEST
        )

    await through_gateway(WARM_UP)
    before = await direct(answers // 2)
    cpu_before, wall_before = _cpu_seconds(gateway), time.perf_counter()
    relayed = await through_gateway(answers)
    cpu_seconds, wall = _cpu_seconds(gateway) - cpu_before, time.perf_counter() - wall_before
    after = await direct(answers // 2)
    bare = before.first_byte_ms + after.first_byte_ms
    async with (database := Database(settings.sqlalchemy_url)).snapshot() as connection:
        discrepancies = await ledger.verify(connection)
    await database.close()
    return {
        "answers": answers,
        "failures": relayed.failures + before.failures + after.failures,
        "gateway_cpu_seconds_per_1000": cpu_seconds * 1000 / answers,
        "answers_per_second": answers / wall,
        "first_token_ms_p50": percentile(relayed.first_byte_ms, 0.50),
        "first_token_ms_p99": percentile(relayed.first_byte_ms, 0.99),
        "added_first_token_ms_p50": percentile(relayed.first_byte_ms, 0.50) - percentile(bare, 0.50),
        "added_first_token_ms_p99": percentile(relayed.first_byte_ms, 0.99) - percentile(bare, 0.99),
        "gateway_rss_mib": gateway.memory_info().rss >> 20,
        "ledger_discrepancies": len(discrepancies),
    }


@contextmanager
def _process(arguments: list[str], env: Mapping[str, str], ready: str) -> Iterator[psutil.Process]:
    """A child that answers at ``ready`` before the block begins."""
    child = subprocess.Popen([sys.executable, *arguments], env=dict(env))
    try:
        deadline = time.monotonic() + 30
        while not _answers(ready):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{arguments} did not start")
            time.sleep(0.05)
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(30)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1):
            return True
    except OSError as error:
        return getattr(error, "code", 0) == 403


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
