"""Processes on one socket are replaced under load: a connection that is kept loses no request."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp
import pytest

from appliance.door.limits import Limits
from tests.gateway.test_door import GET, Running, door, heard, status

CLIENTS = 48
REPLACED = 6
LAST = Limits(head_seconds=5, idle_seconds=30, last_request_seconds=0.5)
BEGUN = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"

SERVER = """
import asyncio, sys
from appliance.door.limits import Limits
from appliance.door.protocol import Door
from appliance.door.server import serve

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(int(scope["path"][1:])):
        await send({"type": "http.response.body", "body": b"word ", "more_body": True})
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b"end"})

door = Door(Limits(last_request_seconds=1.0), (), lambda _: None, lambda _: None)
serve(app, door, (), fds=[int(sys.argv[1])], host="", port=0, shutdown_seconds=20)
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield listener


def server(listener: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVER, str(listener.fileno())], pass_fds=(listener.fileno(),), env=os.environ
    )


@dataclass
class Seen:
    whole: int = 0
    lost: list[str] = field(default_factory=list)


async def ask_on(http: aiohttp.ClientSession, url: str, words: int, seen: Seen, is_over: asyncio.Event) -> None:
    """One after another, over a connection that is kept; a POST, which no client asks again by itself."""
    while not is_over.is_set():
        try:
            async with http.post(f"{url}/{words}", data=b"question") as answer:
                text = await answer.text()
            if text.endswith("end"):
                seen.whole += 1
            else:
                seen.lost.append(text[-20:])
        except (aiohttp.ClientError, OSError) as error:
            seen.lost.append(repr(error))
        await asyncio.sleep(words * 0.001)


async def test_every_request_is_answered_while_each_process_is_replaced_by_another(
    listener: socket.socket,
) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    seen, over = Seen(), asyncio.Event()
    processes = [server(listener), server(listener)]
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            asking = [asyncio.create_task(ask_on(http, url, number % 12, seen, over)) for number in range(CLIENTS)]
            for _ in range(REPLACED):
                await asyncio.sleep(0.7)
                processes.append(server(listener))
                await asyncio.sleep(0.7)
                oldest = processes.pop(0)
                oldest.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(oldest.wait, 15) == -signal.SIGTERM
            over.set()
            await asyncio.gather(*asking)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert seen.whole > 20 * CLIENTS
    assert seen.lost == []


async def ended(running: Running) -> float:
    """Tells the process to end. Returns when it was told."""
    running.server.should_exit = True
    await asyncio.sleep(0.25)  # it looks every tenth of a second
    return time.monotonic()


async def test_a_request_on_a_kept_connection_is_answered_after_the_process_was_told_to_end() -> None:
    async with door(LAST) as running:
        reader, writer = await running.connect()
        writer.write(GET + b"\r\n")
        assert b"connection: close" not in await reader.readuntil(b"0\r\n\r\n")
        await ended(running)
        writer.write(GET + b"\r\n")
        answer = await heard(reader)
        assert status(answer) == 200
        assert b"connection: close" in answer
        assert answer.endswith(b"0\r\n\r\n")
        assert reader.at_eof()


async def test_an_answer_that_had_promised_to_keep_the_connection_is_followed_by_one_more() -> None:
    async with door(LAST) as running:
        reader, writer = await running.connect()
        writer.write(BEGUN)
        assert b"connection: close" not in await reader.readuntil(b"\r\n\r\n")
        await ended(running)
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(GET + b"\r\n")
        answer = await heard(reader)
        assert status(answer) == 200
        assert b"connection: close" in answer


async def test_a_request_whose_head_was_on_its_way_is_answered() -> None:
    async with door(LAST) as running:
        reader, writer = await running.connect()
        writer.write(GET)
        await asyncio.sleep(0.05)
        await ended(running)
        await asyncio.sleep(LAST.last_request_seconds)
        writer.write(b"\r\n")
        assert status(await heard(reader)) == 200


@pytest.mark.parametrize("asked", [False, True])
async def test_a_connection_that_brings_no_more_requests_is_closed_in_time(asked: bool) -> None:
    async with door(LAST) as running:
        reader, writer = await running.connect()
        if asked:
            writer.write(GET + b"\r\n")
            await reader.readuntil(b"0\r\n\r\n")
        await asyncio.sleep(0.05)
        told = await ended(running)
        assert not reader.at_eof()
        assert await heard(reader, 3) == b""
        assert reader.at_eof()
        assert time.monotonic() - told < LAST.last_request_seconds + 0.5
