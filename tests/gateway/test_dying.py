"""A replica that is killed over an answer: what the client certainly had of it is charged, and nothing else."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from appliance import secrets
from appliance.worker.reconciling import read_meters
from appliance.worker.recovery import GIVE_UP_AGE, LOST_AGE, ORPHAN_AGE
from billing.clock import system_clock
from billing.proof.reconciliation import Reconciliation, reconcile
from serving.client import replicas
from serving.client.replicas import HEADER_REQUEST
from serving.metering.journal import FileJournal
from serving.metering.marks import Mark, MarkFile, last_of, left_here
from serving.metering.meter import Meter, MeterBook
from serving.replica.guard import Guard
from tests.gateway.conftest import DOLLAR, Customer, House, entry, publish_all
from tests.gateway.test_recovery import only_usage, orphan, recover
from tests.stub_engine import CHUNK, CHUNKS

ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {},
    "/v1/completions": {"prompt": "Hi", "messages": None},
    "/v1/responses": {"input": "Hi", "messages": None, "max_tokens": None, "max_output_tokens": 8},
    "/v1/messages": {},
}


class Dying:
    """A replica that takes one request, marks what it writes, and is gone: connection, port and all."""

    def __init__(self, meters: Path, marked: list[int], chunks: int) -> None:
        """``marked`` are numbers of chunks; each is a token. All are marked, of ``chunks`` the gateway hears."""
        self._meters = meters
        self.marked = marked
        self._chunks = chunks
        self.name = ""
        self.request_id = ""
        self.may_die = asyncio.Event()
        self.may_die.set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
        await reader.readexactly(int(headers["content-length"]))
        self.request_id, path = headers[HEADER_REQUEST], head.split()[1]
        chunk = CHUNKS.get(path, CHUNK)
        if self.marked:
            dead(self._meters, self.name, self.request_id, {number * len(chunk): number for number in self.marked})
        self._server.close()
        if self._chunks:
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            )
        for _ in range(self._chunks):
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
            await asyncio.sleep(0.01)
        await self.may_die.wait()
        writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Its address."""
        self._server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        self.name = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        try:
            yield f"http://{self.name}"
        finally:
            self._server.close()


def dead(meters: Path, replica: str, request_id: str, marks: dict[int, int]) -> None:
    """A killed replica's marks: tokens by bytes."""
    file = MarkFile(meters / "smollm2", replica)
    file._append(Mark(at, Meter(request_id, 10, 2, tokens, model="smollm2")) for at, tokens in marks.items())


@asynccontextmanager
async def dying(
    house: House, marked: list[int], chunks: int, *, alone: bool = True, meters: Path | None = None
) -> AsyncIterator[Dying]:
    """In the house's directory, before its other replicas or alone. ``meters`` are its node's."""
    replica = Dying(meters or house.settings.meters, marked, chunks)
    others = [] if alone else house.replicas()
    async with replica.listening() as endpoint:
        model = entry([endpoint, *others])
        for one in model["replicas"][1:]:
            one["running"] = 100
        publish_all(house.settings.directory, {"smollm2": model})
        await asyncio.sleep(0.15)
        yield replica


@asynccontextmanager
async def beside(house: House, meters: Path) -> AsyncIterator[str]:
    """The address of another replica's guard on the node whose meters these are."""
    secret = secrets.read(house.settings.secrets).cluster_secret
    book = MeterBook(FileJournal(meters / "minilm", "beside"))
    guard = Guard(nothing, engine=nothing, book=book, secret=secret, queue_limit=1, seats=1)  # type: ignore[arg-type]
    guard.left = partial(left_here, meters)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(guard, lifespan="off", log_level="critical"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def nothing(*_: object) -> None:
    """No model."""


async def read(customer: Customer, path: str = "/v1/chat/completions", **body: Any) -> tuple[int, bytes]:
    document = {name: value for name, value in (ASKED[path] | body).items() if value is not None}
    whole = b""
    async with customer.post(path, **document) as response:
        try:
            async for part in response.content.iter_any():
                whole += part
        except aiohttp.ClientError:
            pass
        return response.status, whole


async def reconciled(house: House) -> Reconciliation:
    day = system_clock().date()
    readings = read_meters(house.settings.meters, day)
    result = await reconcile(house.database, day, readings, system_clock)
    assert result.differences == ()
    assert await house.discrepancies() == []
    return result


@pytest.mark.parametrize("path", ASKED)
async def test_what_the_client_certainly_had_is_charged(house: House, path: str) -> None:
    customer = await house.customer()
    async with dying(house, marked=[2, 4, 7], chunks=6):
        _, whole = await read(customer, path, stream=True)
    assert whole.count(CHUNKS.get(path, CHUNK)) == 6
    account, usage = await customer.settled(), await only_usage(customer)
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (10, 2, 4)
    assert usage.ended == "failed"
    assert usage.cost_nanodollars == 8 * 100 + 2 * 20 + 4 * 400 == DOLLAR - account.balance_nanodollars
    result = await reconciled(house)
    assert sum(group.charged_tokens for group in result.groups) == 14


@pytest.mark.parametrize(("left", "tokens"), [(True, 4), (False, 0)])
async def test_a_replica_at_an_address_of_the_network_is_gone_if_its_marks_are_here(
    house: House, monkeypatch: pytest.MonkeyPatch, *, left: bool, tokens: int
) -> None:
    """If they are not, it was another node's: the worker finds out, and nothing is charged."""
    monkeypatch.setattr(replicas, "_is_loopback", lambda _: False)
    customer = await house.customer()
    async with dying(house, marked=[4], chunks=6) as replica:
        if not left:
            replica.marked = []
        await read(customer, stream=True)
    if left:
        await customer.settled()
    else:
        assert await recover(house, GIVE_UP_AGE) == 1
    assert (await only_usage(customer)).completion_tokens == tokens
    await reconciled(house)


@pytest.mark.parametrize(("neighbours", "tokens"), [(1, 4), (0, 0)])
async def test_what_a_replica_of_another_node_left_is_told_by_one_beside_it(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, neighbours: int, tokens: int
) -> None:
    """Nothing is charged if there is none."""
    monkeypatch.setattr(replicas, "_is_loopback", lambda _: False)
    there = tmp_path / "there"
    customer = await house.customer()
    async with dying(house, marked=[2, 4, 7], chunks=6, meters=there) as replica, beside(house, there) as url:
        replica.may_die.clear()
        reading = asyncio.create_task(read(customer, stream=True))
        while not replica.request_id:
            await asyncio.sleep(0.01)
        model = entry([f"http://{replica.name}", *[url] * neighbours])
        publish_all(house.settings.directory, {"smollm2": entry([]), "minilm": model})
        await asyncio.sleep(0.5)
        replica.may_die.set()
        await reading
        if neighbours:
            await customer.settled()
    if not neighbours:
        assert await recover(house, GIVE_UP_AGE) == 1
    assert (await only_usage(customer)).completion_tokens == tokens
    if neighbours:
        (path,) = there.glob("*/*.jsonl")
        assert '"died"' in path.read_text()
        copied_by_the_first_node = house.settings.meters / "smollm2" / path.name
        copied_by_the_first_node.parent.mkdir(parents=True, exist_ok=True)
        copied_by_the_first_node.write_bytes(path.read_bytes())
    await reconciled(house)


async def test_nothing_is_charged_where_nothing_is_certain(house: House) -> None:
    customer = await house.customer()
    async with dying(house, marked=[7], chunks=6):
        await read(customer, stream=True)
    assert (await customer.settled()).balance_nanodollars == DOLLAR
    assert (await only_usage(customer)).ended == "failed"
    await reconciled(house)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_try_of_which_the_client_saw_nothing_costs_nothing(house: House, *, stream: bool) -> None:
    customer = await house.customer()
    async with dying(house, marked=[1, 500], chunks=0, alone=False) as replica:
        status, _ = await read(customer, stream=stream)
    assert replica.request_id
    assert status == 200
    await customer.settled()
    usage = await only_usage(customer)
    assert (usage.completion_tokens, usage.ended) == (8, "complete")


async def test_a_gateway_that_dies_too_takes_what_it_knew_with_it(house: House) -> None:
    """Nobody can say how much the client had: the worker decides for the customer."""
    customer = await house.customer()
    dead(house.settings.meters, "r", str(await orphan(house, customer)), {100: 3})
    assert await recover(house, LOST_AGE) == 1
    assert (await only_usage(customer)).ended == "lost"
    assert (await customer.account()).balance_nanodollars == DOLLAR
    await reconciled(house)


async def test_what_a_gateway_noted_before_it_died_is_charged_by_the_worker(house: House) -> None:
    customer = await house.customer()
    request_id = str(await orphan(house, customer))
    dead(house.settings.meters, "r", request_id, {100: 3, 200: 5})
    last_of(house.settings.meters, "r", request_id, 150)
    assert await recover(house, max(LOST_AGE, ORPHAN_AGE)) == 1
    usage = await only_usage(customer)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.ended) == (10, 3, "failed")
    await reconciled(house)
