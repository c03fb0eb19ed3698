"""Raw connections at the gateway's door: what is refused, how, and that nobody else notices."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import uvicorn

from appliance.door.address import counted_as, forwarded_for, parsed
from appliance.door.census import Census, Refusal
from appliance.door.headers import NO_PAGE
from appliance.door.limits import Limits
from appliance.door.protocol import Door

GET = b"GET /seen HTTP/1.1\r\nhost: x\r\n"
QUICK = Limits(head_bytes=4096, head_fields=20, head_seconds=0.3, idle_seconds=1, stalled_seconds=0.5)
UPGRADE = b"POST /seen HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
HUGE = 64 << 20
SHUTDOWN_SECONDS = 5


async def seen(scope: Any, receive: Any, send: Any) -> None:
    """Tells what came: the client, and how long the body is.

    ``/flood`` answers with more than anybody reads, ``/slow`` takes its time once it has begun, ``/early`` waits
    for no body.
    """
    assert scope["type"] == "http"
    if scope["path"] == "/early":
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})
        return
    body = 0
    while True:
        message = await receive()
        body += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    document = json.dumps({"client": scope["client"][0], "body": body}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/flood":
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    if scope["path"] == "/slow":
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0.5)
    await send({"type": "http.response.body", "body": document})


@dataclass
class Running:
    port: int
    server: uvicorn.Server
    refused: Counter[str] = field(default_factory=Counter)
    open: int = 0

    async def connect(self, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0), limit=1 << 20)

    async def say(self, data: bytes, source: str = "127.0.0.1") -> bytes:
        """What comes back until the connection ends, or has been silent for a while."""
        reader, writer = await self.connect(source)
        try:
            writer.write(data)
            return await heard(reader)
        finally:
            writer.close()


async def heard(reader: asyncio.StreamReader, seconds: float = 1.5) -> bytes:
    came = b""
    try:
        async with asyncio.timeout(seconds):
            while piece := await reader.read(1 << 16):
                came += piece
    except (TimeoutError, ConnectionError):
        pass
    return came


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@asynccontextmanager
async def door(limits: Limits) -> AsyncIterator[Running]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    refused: Counter[str] = Counter()

    def opened(count: int) -> None:
        running.open = count

    guard = Door(limits, NO_PAGE, lambda reason: refused.update([reason]), opened)
    config = uvicorn.Config(
        seen, http=guard.protocol, log_level="critical", access_log=False, lifespan="off",  # type: ignore[arg-type]
        proxy_headers=False, timeout_keep_alive=int(limits.idle_seconds),
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )  # fmt: skip
    server = uvicorn.Server(config)
    running = Running(listener.getsockname()[1], server, refused)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield running
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def quick() -> AsyncIterator[Running]:
    async with door(QUICK) as running:
        yield running


async def test_an_ordinary_request_is_answered_and_the_connection_kept(quick: Running) -> None:
    reader, writer = await quick.connect()
    for body in (b"", b"x" * 10_000):
        writer.write(b"POST /seen HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        assert status(head) == 200
        await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    assert not quick.refused


async def test_an_answer_that_does_not_wait_for_the_body_reaches_who_still_sends_it(quick: Running) -> None:
    """A proxy that keeps no connections asks like this. What comes unread to a closed socket resets it."""
    reader, writer = await quick.connect()
    writer.write(b"POST /early HTTP/1.1\r\nconnection: close\r\ncontent-length: 300000\r\n\r\n")
    for _ in range(3):
        await asyncio.sleep(0.05)
        writer.write(b"x" * 100_000)
        await writer.drain()
    answer = await reader.read()
    assert status(answer) == 401
    assert answer.endswith(b"\r\n\r\nno")
    writer.close()


async def test_a_proxy_may_send_a_whole_body_behind_its_answer() -> None:
    """It would take the reset for a failure of the gateway's, say so to the client, and the client try again."""
    proxied = replace(QUICK, trusted_proxies=(ipaddress.ip_network("127.0.0.0/8"),))
    async with door(proxied) as running:
        reader, writer = await running.connect()
        size = 33 << 20
        writer.write(b"POST /early HTTP/1.1\r\nx-forwarded-for: 192.0.2.1\r\nconnection: close\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % size + bytes(size))
        await writer.drain()
        assert status(await reader.readuntil(b"no")) == 401
        assert await reader.read() == b""
        writer.close()


async def test_a_header_without_end_is_refused_as_it_comes(quick: Running) -> None:
    """Of three hundred megabytes nothing more is read than the limit."""
    reader, writer = await quick.connect()
    writer.write(GET + b"x-long: ")
    sent = 0
    try:
        while sent < HUGE and not reader.at_eof() and not writer.is_closing():
            writer.write(b"a" * 65536)
            sent += 65536
            await asyncio.wait_for(writer.drain(), 5)
    except (ConnectionError, TimeoutError):
        pass
    assert sent < HUGE
    assert quick.refused == {Refusal.LARGE: 1}
    assert status(await quick.say(GET + b"x-long: " + b"a" * 5000)) == 431
    assert status(await quick.say(b"GET /" + b"a" * 5000)) == 431
    assert status(await quick.say(GET + b"".join(b"x-%d: 1\r\n" % i for i in range(30)) + b"\r\n")) == 431


async def test_who_is_refused_is_told_to_run_and_to_frame_nothing(quick: Running) -> None:
    for request in (GET + b"x-long: " + b"a" * 5000, b"GET / HTTP/9\r\n\r\n", GET):
        answer = await quick.say(request)
        assert status(answer) in (400, 408, 431)
        for name, value in NO_PAGE:
            assert f"\r\n{name}: {value}\r\n".encode() in answer


async def test_headers_that_do_not_come_are_given_up_however_slowly_they_drip(quick: Running) -> None:
    reader, writer = await quick.connect()
    silent_reader, silent_writer = await quick.connect()
    hearing = asyncio.create_task(heard(reader, 5))  # meanwhile: a byte too late resets what was not yet read
    for byte in GET:
        if hearing.done():
            break
        writer.write(bytes([byte]))
        await asyncio.sleep(0.03)
    assert status(await hearing) == 408
    assert await heard(silent_reader) == b""
    assert silent_reader.at_eof()
    assert quick.refused == {Refusal.SLOW: 1, Refusal.SILENT: 1}
    writer.close()
    silent_writer.close()


@pytest.mark.parametrize("drip", [b"\r\n", b"G"])
async def test_a_kept_connection_that_drips_is_given_up_too(quick: Running, drip: bytes) -> None:
    reader, writer = await quick.connect()
    writer.write(GET + b"\r\n")
    await reader.readuntil(b"0\r\n\r\n")
    for _ in range(40):
        if reader.at_eof() or writer.is_closing():
            break
        writer.write(drip)
        await asyncio.sleep(0.03)
    await heard(reader)
    assert quick.refused.total() == 1
    writer.close()


async def test_a_trailer_without_end_is_refused(quick: Running) -> None:
    start = b"POST /seen HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    assert await quick.say(start + b"x-trailer: " + b"a" * 20_000) == b""
    assert await quick.say(start[:-3] + b"1;" + b"e" * 20_000) == b""
    assert quick.refused == {Refusal.LARGE: 2}
    assert status(await quick.say(start + b"x-trailer: 1\r\n\r\n")) == 200


async def test_many_small_chunks_are_no_abuse(quick: Running) -> None:
    chunks = b"1\r\nx\r\n" * 20_000
    answer = await quick.say(b"POST /seen HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert b'"body": 20000' in answer
    assert not quick.refused


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /seen HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /seen HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"POST /seen HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /seen HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        b"POST /seen HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\nx",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"NONSENSE\r\n\r\n",
    ],
    ids=["two-lengths", "twice", "negative", "no-number", "list", "tls", "nonsense"],
)
async def test_what_could_be_read_in_two_ways_is_not_read(quick: Running, request_bytes: bytes) -> None:
    answer = await quick.say(request_bytes)
    assert status(answer) == 400
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"
    assert quick.refused == {Refusal.MALFORMED: 1}


@pytest.mark.parametrize("split", [1, 30, 150, 0, 3, 5])
async def test_a_client_that_would_rather_speak_http_2_is_answered_as_ever(quick: Running, split: int) -> None:
    """As Java's does with each request, its body behind the head."""
    sent = UPGRADE + b"Content-Length: 5\r\n\r\nhello"
    cut = split if split > 5 else len(sent) - split
    reader, writer = await quick.connect()
    for _ in range(2):
        writer.write(sent[:cut])
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(sent[cut:])
        assert status(await reader.readuntil(b"\r\n\r\n")) == 200
        assert b'"body": 5' in await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    assert not quick.refused


async def test_what_a_client_would_rather_speak_changes_nothing_of_what_it_sends(quick: Running) -> None:
    sent = UPGRADE + b"Content-Length: 5\r\n\r\nhello"
    chunked = UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert (await quick.say(chunked + sent)).count(b'"body": 5') == 2
    assert b'"body": 0' in await quick.say(GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert not quick.refused


async def test_nobody_tunnels_through(quick: Running) -> None:
    assert status(await quick.say(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n")) == 400


async def test_no_more_connections_than_one_address_may_have() -> None:
    async with door(replace(QUICK, connections=6, connections_per_address=3, head_seconds=5)) as running:
        kept = [await running.connect("127.0.0.5") for _ in range(3)]
        await asyncio.sleep(0.05)
        assert running.open == 3
        answer = await running.say(b"", "127.0.0.5")
        assert status(answer) == 429
        assert b"retry-after: " in answer
        assert status(await running.say(GET + b"connection: close\r\n\r\n", "127.0.0.6")) == 200
        assert running.refused == {Refusal.ADDRESS: 1}
        for _, writer in kept:
            writer.close()
        async with asyncio.timeout(5):
            while running.open:
                await asyncio.sleep(0.02)
        assert status(await running.say(GET + b"connection: close\r\n\r\n", "127.0.0.5")) == 200


async def test_who_has_no_request_gives_way_and_who_has_one_does_not() -> None:
    async with door(replace(QUICK, connections=3, head_seconds=5)) as running:
        silent = [await running.connect("127.0.0.7") for _ in range(3)]
        assert status(await running.say(GET + b"connection: close\r\n\r\n", "127.0.0.8")) == 200
        assert await heard(silent[0][0], 0.5) == b""
        assert silent[0][0].at_eof()
        busy = [await running.connect("127.0.0.8") for _ in range(3)]
        for _, writer in busy:
            writer.write(b"POST /seen HTTP/1.1\r\ncontent-length: 1\r\n\r\n")
        await asyncio.sleep(0.1)
        assert status(await running.say(GET + b"\r\n", "127.0.0.9")) == 503
        assert running.refused == {Refusal.CROWDED: 3, Refusal.FULL: 1}
        for reader, writer in busy:
            writer.write(b"x")
            assert status(await reader.readuntil(b"\r\n\r\n")) == 200
        for _, writer in (*silent, *busy):
            writer.close()


async def test_behind_a_trusted_proxy_an_address_is_the_clients() -> None:
    limits = replace(QUICK, connections_per_address=1, trusted_proxies=(ipaddress.ip_network("127.0.0.9"),))
    async with door(limits) as running:

        def asks(named: bytes, rest: bytes = b"connection: close\r\n\r\n") -> bytes:
            return GET + b"x-forwarded-for: 6.6.6.6, " + named + b"\r\n" + rest

        assert b'"client": "1.2.3.4"' in await running.say(asks(b"1.2.3.4"), "127.0.0.9")
        assert b'"client": "127.0.0.1"' in await running.say(asks(b"1.2.3.4"))
        unfinished = [await running.connect("127.0.0.9") for _ in range(2)]
        unfinished[0][1].write(asks(b"1.2.3.4", b"content-length: 5\r\n\r\n"))
        await asyncio.sleep(0.05)
        assert status(await running.say(asks(b"1.2.3.4"), "127.0.0.9")) == 429
        assert b'"client": "1.2.3.5"' in await running.say(asks(b"1.2.3.5"), "127.0.0.9")
        unfinished[0][1].write(b"abcde")
        await unfinished[0][0].readuntil(b"0\r\n\r\n")
        assert b'"client": "1.2.3.4"' in await running.say(asks(b"1.2.3.4"), "127.0.0.9")
        for _, writer in unfinished:
            writer.close()


async def test_an_answer_that_nobody_reads_is_given_up(quick: Running) -> None:
    reader, writer = await quick.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /flood HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(5):
        while not quick.refused:
            await asyncio.sleep(0.02)
        while quick.open:
            await asyncio.sleep(0.02)
    assert quick.refused == {Refusal.STALLED: 1}
    writer.close()
    assert reader is not None


async def test_requests_ahead_of_their_answers_are_few(quick: Running) -> None:
    held = b"POST /seen HTTP/1.1\r\ncontent-length: 1\r\n\r\n"
    several = await quick.say(held + b"x" + (GET + b"\r\n") * 8)
    assert several.count(b"HTTP/1.1 200") == 9
    await quick.say(held + b"x" + (GET + b"\r\n") * 1000)
    assert quick.refused == {Refusal.PIPELINED: 1}


def test_the_address_is_the_last_that_is_no_proxys() -> None:
    trusted = [ipaddress.ip_network("10.0.0.0/8")]

    def named(*values: str) -> str:
        return str(forwarded_for([(b"x-forwarded-for", value.encode()) for value in values], trusted))

    assert named("9.9.9.9, 1.2.3.4") == "1.2.3.4"
    assert named("9.9.9.9, 1.2.3.4, 10.1.1.1") == "1.2.3.4"
    assert named("9.9.9.9", "1.2.3.4") == "1.2.3.4"
    assert named("1.2.3.4, nobody") == "None"
    assert named("10.1.1.1") == "None"
    assert named() == "None"


def test_an_ipv6_network_counts_as_one() -> None:
    one, other, mapped = (parsed(text) for text in ("2001:db8::1", "2001:db8::ffff:1", "::ffff:1.2.3.4"))
    assert one is not None
    assert other is not None
    assert mapped is not None
    assert counted_as(one) == counted_as(other)
    assert counted_as(mapped) == "1.2.3.4"


def test_the_census_forgets_who_has_left() -> None:
    census = Census(Limits(connections_per_address=2))
    assert [census.claim("a") for _ in range(3)] == [None, None, Refusal.ADDRESS]
    census.release("a")
    census.release("a")
    assert census.claim("a") is None
