"""Customers who ask one question after another over connections that they keep: ``python -m tests.hosts.load``.

Arguments: the API's URL, a key, how many customers; then, for one of TLS, the address that its name leads to and
the file of its authority. They ask until standard input ends; then a report in JSON is printed. Half of the
answers are streamed. What did not come whole, for whatever reason, is dropped.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

MODEL = "smollm2"
TOKENS = 8
SECONDS = 120
PAUSES = (0.0, 0.05, 0.5, 2.0)
"""Before the next question, in seconds: by turns."""


@dataclass
class Report:
    """``usage`` has the tokens of each whole answer, prompt and completion, by its request id."""

    usage: dict[str, tuple[int, int]] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    releases: list[str] = field(default_factory=list)
    """What whole answers said in ``x-release``, in order of their ends."""
    ends: list[float] = field(default_factory=list)
    """When they ended: Unix time."""


class Names(AbstractResolver):
    """Every name leads to one address."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=self.address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """It has nothing."""


async def ask(http: aiohttp.ClientSession, url: str, key: str, number: int, report: Report) -> None:
    is_streamed = number % 2 == 0
    body: dict[str, Any] = {
        "model": MODEL, "messages": [{"role": "user", "content": f"Count to {number}."}],
        "max_tokens": TOKENS, "ignore_eos": True, "stream": is_streamed,
    }  # fmt: skip
    if is_streamed:
        body["stream_options"] = {"include_usage": True}
    began = time.time()
    try:
        async with http.post(
            f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
        ) as answer:
            text = await answer.text()
            if answer.status != 200:
                raise ValueError(f"status {answer.status}: {text[:200]}")
            usage = usage_of(text) if is_streamed else json.loads(text)["usage"]
            report.usage[answer.headers["x-request-id"]] = (usage["prompt_tokens"], usage["completion_tokens"])
            report.releases.append(answer.headers.get("x-release", ""))
            report.ends.append(time.time())
    except (aiohttp.ClientError, OSError, ValueError) as error:
        report.dropped.append(f"{began:.2f} + {time.time() - began:.2f} s: {error!r}")


def usage_of(text: str) -> dict[str, int]:
    """Of a streamed answer. Raises ValueError when it has no end."""
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if not events or events[-1] != "[DONE]":
        raise ValueError(f"it ends with {events[-1:]}")
    usage: dict[str, int] = json.loads(events[-2])["usage"]
    return usage


async def main(url: str, key: str, customers: int, address: str = "", authority: str = "") -> None:
    report, over = Report(), asyncio.Event()

    async def customer(number: int) -> None:
        turn = 0
        while not over.is_set():
            await ask(http, url, key, number + turn, report)
            await asyncio.sleep(PAUSES[(number + turn) % len(PAUSES)])
            turn += 1

    timeout = aiohttp.ClientTimeout(total=SECONDS)
    connector = aiohttp.TCPConnector(
        limit=0, keepalive_timeout=5,
        ssl=ssl.create_default_context(cafile=authority or None), resolver=Names(address) if address else None,
    )  # fmt: skip
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
        asking = [asyncio.create_task(customer(number)) for number in range(customers)]
        await asyncio.to_thread(sys.stdin.read)
        over.set()
        await asyncio.gather(*asking)
    sys.stdout.write(json.dumps(asdict(report)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))
