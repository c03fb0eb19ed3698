"""A partner's replica in this process, without Ray; the test is the gateway, and the partner is fake."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from serving.catalog.models import parse_models
from serving.client import replicas as client
from serving.metering.journal import FileJournal
from serving.metering.meter import Meter, MeterBook
from serving.partner.start import RunningPartner, start
from tests.fake_partner import FakePartner
from tests.gateway.conftest import served

SECRET = "cluster"
KEY = "sk-of-the-operator"
ALL = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
RATES = {"input": "1", "cached_input": "0.1", "output": "2"}


@dataclass
class Port:
    """The replica as a gateway reaches it."""

    url: str
    running: RunningPartner
    book: MeterBook
    partner: FakePartner
    http: aiohttp.ClientSession

    async def post(
        self, text: str, path: str = "/v1/chat/completions", *, limits: dict[str, int] | None = None, **fields: Any
    ) -> tuple[aiohttp.ClientResponse, str, Meter | None]:
        """The answer, its text as far as it came, and the meter."""
        prompts: dict[str, dict[str, Any]] = {
            "/v1/chat/completions": {"messages": [{"role": "user", "content": text}]},
            "/v1/completions": {"prompt": text},
            "/v1/embeddings": {"input": text},
        }
        body = json.dumps({"model": "big", **prompts[path], **fields}).encode()
        request_id = str(uuid.uuid4())
        decided = {"prompt-limit": 1000, "completion-limit": 4096, "sequences": 1, "images": 9} | (limits or {})
        headers = {f"x-appliance-{name}": str(value) for name, value in decided.items()}
        headers |= {client.HEADER_SECRET: SECRET, client.HEADER_REQUEST: request_id, client.HEADER_MODEL: "big"}
        headers[client.HEADER_SALT] = "tenant"
        answer = b""
        async with self.http.post(self.url + path, data=body, headers=headers) as response:
            try:
                async for piece in response.content.iter_any():
                    answer += piece
            except aiohttp.ClientError:
                answer += b"<broken off>"
        return response, answer.decode(), await self.book.find(request_id, 2)


Started = Callable[..., AbstractAsyncContextManager[Port]]


@pytest.fixture
def started(tmp_path: Path) -> Started:
    """Of what models.yaml says of the partner, beyond its address."""

    @asynccontextmanager
    async def begin(**fields: Any) -> AsyncIterator[Port]:
        partner = FakePartner(KEY)
        async with served(partner) as port, aiohttp.ClientSession() as http:
            entry = {
                "name": "Example AI", "url": f"http://127.0.0.1:{port}/v1/", "key": "EXAMPLE_KEY",
                "model": partner.model, "endpoints": ALL,
            }  # fmt: skip
            (model,) = parse_models(
                {"models": [{"id": "big", "partner": entry | fields, "context_length": 4096, "rates": RATES}]}
            )
            assert model.partner is not None
            book = MeterBook(FileJournal(tmp_path, "r"))
            running = start(model, model.partner, KEY, book, SECRET)
            async with served(running.guard) as own:
                yield Port(f"http://127.0.0.1:{own}", running, book, partner, http)
            await running.stop()

    return begin


@pytest.fixture
async def port(started: Started) -> AsyncIterator[Port]:
    async with started() as one:
        yield one
