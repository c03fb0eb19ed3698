"""The gateway's own cost: CPU seconds per 1,000 streamed answers, and what it adds to the first token.

64 chunks, 10 ms apart, 32 answers at a time, with authentication, admission and settlement on a real PostgreSQL.
The engine is a stub behind the private port's protocol, so that the engine's own share is not in the figures.
"""

import asyncio
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from appliance import secrets
from appliance.bootstrap import bootstrap, read_demo_key
from appliance.settings import Settings, load_settings
from billing.clock import system_clock
from billing.database.db import Database
from billing.database.migrations import upgrade
from billing.proof import rules as ledger
from serving.catalog.declared import declare
from serving.client import replicas as client
from tests.appliance.postgres_server import running_cluster
from tests.bench import partner, peer
from tests.bench.child import cpu_seconds, running_child
from tests.bench.load import Outcome, stream_answers
from tests.bench.report import percentile
from tests.gateway.conftest import publish
from tests.ports import free_port

ANSWERS, WARM_UP, AT_ONCE, CHUNKS, INTERVAL_SECONDS = 1000, 100, 32, 64, 0.01


def measure(answers: int = ANSWERS) -> dict[str, float | int | str]:
    """The figures of one run, the peer's among them if it can be installed."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(running_cluster())
        env = os.environ | {"APPLIANCE_HOME": str(home), "DATABASE_URL": cluster.url(), "PORT": str(free_port())}
        settings = load_settings(env)
        asyncio.run(prepare(settings))
        secret = secrets.read(settings.secrets).cluster_secret
        engine_port = free_port()
        engine = f"http://127.0.0.1:{engine_port}"
        stub = [sys.executable, "-m", "tests.stub_engine", "--port", str(engine_port), "--secret", secret]
        stub += ["--chunks", str(CHUNKS), "--interval", str(INTERVAL_SECONDS)]
        stack.enter_context(running_child(stub, env, f"{engine}/health"))
        publish(settings.directory, [engine])
        command = [sys.executable, "-m", "appliance", "serve"]
        with running_child(command, env, f"http://127.0.0.1:{settings.port}/livez") as gateway:
            figures = asyncio.run(_measure_gateway(settings, secret, engine, gateway, answers))
        figures |= partner.measure(home, answers, AT_ONCE, CHUNKS, INTERVAL_SECONDS)
        try:
            python = peer.install()
        except peer.PeerMissing as missing:
            return {**figures, "peer": str(missing)}
        peer_port = free_port()
        with peer.running(python, home, peer_port, engine, secret) as proxy:
            peers_cpu = asyncio.run(_measure_peer(peer_port, proxy, answers // 5))
        return {
            **figures,
            "peer": peer.PACKAGE,
            "peer_cpu_seconds_per_1000": peers_cpu,
            "times_the_peers_cpu": figures["gateway_cpu_seconds_per_1000"] / peers_cpu,
            "partner_path_times_the_peers_cpu": (
                figures["gateway_cpu_seconds_per_1000"] + figures["partner_replica_cpu_seconds_per_1000"]
            )
            / peers_cpu,
        }


async def prepare(settings: Settings) -> None:
    secrets.create(settings.secrets)
    await upgrade(settings.sqlalchemy_url)
    await bootstrap(settings, system_clock)
    declare(settings.declared, settings.models)


async def relayed_cpu(settings: Settings, gateway: int, answers: int) -> float:
    """The gateway's CPU seconds per 1,000 answers; ``gateway`` is its process."""
    key = {"authorization": f"Bearer {read_demo_key(settings)}"}
    process = psutil.Process(gateway)
    before = cpu_seconds(process)
    outcome = await stream_answers(f"{settings.base_url}/chat/completions", key, answers=answers, at_once=AT_ONCE)
    if outcome.failures:
        raise RuntimeError(f"{outcome.failures} answers failed")
    return (cpu_seconds(process) - before) * 1000 / answers


async def _measure_peer(port: int, proxy: psutil.Process, answers: int) -> float:
    """CPU seconds per 1,000 answers."""
    url, headers = f"http://127.0.0.1:{port}/v1/chat/completions", {"authorization": f"Bearer {peer.KEY}"}
    await stream_answers(url, headers, answers=AT_ONCE, at_once=AT_ONCE)
    before = cpu_seconds(proxy)
    outcome = await stream_answers(url, headers, answers=answers, at_once=AT_ONCE)
    if outcome.failures:
        raise RuntimeError(f"{outcome.failures} of the peer's answers failed")
    return (cpu_seconds(proxy) - before) * 1000 / answers


async def _measure_gateway(
    settings: Settings, secret: str, engine: str, gateway: psutil.Process, answers: int
) -> dict[str, float | int]:
    key = {"authorization": f"Bearer {read_demo_key(settings)}"}
    inside = {client.HEADER_SECRET: secret, client.HEADER_COMPLETION_LIMIT: "2048"}

    async def through_gateway(count: int) -> Outcome:
        return await stream_answers(f"{settings.base_url}/chat/completions", key, answers=count, at_once=AT_ONCE)

    async def direct(count: int) -> Outcome:
        return await stream_answers(
            f"{engine}/v1/chat/completions",
            inside,
            answers=count,
            at_once=AT_ONCE,
            fresh_header=client.HEADER_REQUEST,
        )

    await through_gateway(WARM_UP)
    before = await direct(answers // 2)
    cpu_before, wall_before = cpu_seconds(gateway), time.perf_counter()
    relayed = await through_gateway(answers)
    used, wall = cpu_seconds(gateway) - cpu_before, time.perf_counter() - wall_before
    after = await direct(answers // 2)
    bare = before.first_byte_ms + after.first_byte_ms
    async with (database := Database(settings.sqlalchemy_url)).snapshot() as connection:
        discrepancies = await ledger.verify(connection)
    await database.close()
    return {
        "answers": answers,
        "failures": relayed.failures + before.failures + after.failures,
        "gateway_cpu_seconds_per_1000": used * 1000 / answers,
        "answers_per_second": answers / wall,
        "first_token_ms_p50": percentile(relayed.first_byte_ms, 0.50),
        "first_token_ms_p99": percentile(relayed.first_byte_ms, 0.99),
        "added_first_token_ms_p50": percentile(relayed.first_byte_ms, 0.50) - percentile(bare, 0.50),
        "added_first_token_ms_p99": percentile(relayed.first_byte_ms, 0.99) - percentile(bare, 0.99),
        "gateway_rss_mib": gateway.memory_info().rss >> 20,
        "ledger_discrepancies": len(discrepancies),
    }
