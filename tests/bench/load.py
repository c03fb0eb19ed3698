"""Clients that stream answers and note when the first bytes came. One connection each, as SDKs keep theirs."""

import asyncio
import json
import time
from dataclasses import dataclass, field

import aiohttp

END_BYTES = 400


@dataclass
class Outcome:
    """Times in milliseconds."""

    first_byte_ms: list[float] = field(default_factory=list)
    failures: int = 0


async def stream_answers(
    url: str, headers: dict[str, str], *, answers: int, at_once: int, fresh_header: str | None = None
) -> Outcome:
    """``answers`` streamed chat completions from ``url``, ``at_once`` at a time, each read to its end."""
    outcome = Outcome()
    left = iter(range(answers))
    body = json.dumps(
        {"model": "smollm2", "messages": [{"role": "user", "content": "Tell me a story."}], "stream": True}
    ).encode()

    async def client(http: aiohttp.ClientSession) -> None:
        for number in left:
            own = headers | ({fresh_header: f"{time.time_ns()}-{number}"} if fresh_header else {})
            started = time.perf_counter()
            async with http.post(url, data=body, headers=own) as response:
                chunks = response.content.iter_any()
                end = await anext(chunks, b"")
                outcome.first_byte_ms.append((time.perf_counter() - started) * 1000)
                async for chunk in chunks:
                    end = (end + chunk)[-END_BYTES:]
                outcome.failures += response.status != 200 or b"[DONE]" not in end

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        await asyncio.gather(*(client(http) for _ in range(at_once)))
    return outcome
