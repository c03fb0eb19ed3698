"""A partner's replica alone: CPU seconds per 1,000 streamed answers, each taken apart and put together again.

``python -m tests.bench.partner HOME PORT PARTNER_PORT SECRET`` is the replica, without Ray, before a fake partner.
"""

import asyncio
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from serving.catalog.models import parse_models
from serving.client import replicas as client
from serving.control.deployments import private_server
from serving.metering.journal import FileJournal
from serving.metering.meter import MeterBook
from serving.partner.start import start
from tests.bench.child import cpu_seconds, running_child
from tests.bench.load import stream_answers
from tests.fake_partner import FakePartner
from tests.ports import free_port

KEY, SECRET = "sk-bench", "bench"


def measure(
    home: Path, answers: int, at_once: int, chunks: int, interval_seconds: float
) -> dict[str, float | int]:
    port, partner_port = free_port(), free_port()
    partner = [sys.executable, "-m", "tests.fake_partner", "--port", str(partner_port), "--key", KEY]
    partner += ["--tokens", str(chunks), "--interval", str(interval_seconds)]
    replica = [sys.executable, "-m", "tests.bench.partner", str(home), str(port), str(partner_port), SECRET]
    headers = {client.HEADER_SECRET: SECRET}
    url = f"http://127.0.0.1:{port}"

    def load(count: int) -> int:
        path = f"{url}/v1/chat/completions"
        fresh = client.HEADER_REQUEST
        return asyncio.run(
            stream_answers(path, headers, answers=count, at_once=at_once, fresh_header=fresh)
        ).failures

    with ExitStack() as stack:
        stack.enter_context(running_child(partner, os.environ, f"http://127.0.0.1:{partner_port}/bill"))
        process = stack.enter_context(running_child(replica, os.environ, f"{url}/health"))
        load(at_once)
        before = cpu_seconds(process)
        failures = load(answers)
        return {
            "partner_replica_cpu_seconds_per_1000": (cpu_seconds(process) - before) * 1000 / answers,
            "partner_replica_failures": failures,
            "partner_replica_rss_mib": process.memory_info().rss >> 20,
        }


async def serve(home: Path, port: int, partner_port: int, secret: str) -> None:
    url, name = f"http://127.0.0.1:{partner_port}", FakePartner(KEY).model
    entry = {
        "id": "big",
        "context_length": 4096,
        "rates": {"input": "1", "cached_input": "1", "output": "1"},
        "partner": {"name": "Bench", "url": url, "key": "KEY", "model": name},
    }
    (model,) = parse_models({"models": [entry]})
    assert model.partner is not None
    running = start(model, model.partner, KEY, MeterBook(FileJournal(home / "meters", "r")), secret)
    await private_server(running.guard).serve(sockets=[socket.create_server(("127.0.0.1", port))])
    await running.stop()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
