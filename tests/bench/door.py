"""What strangers can do to the gateway before it knows who they are: its memory, and what a bystander notices.

The bystander asks for short streamed answers all the time. The attacks come from a process of their own, which
gets what processor time the others leave: a stranger's work is done elsewhere.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from appliance import secrets
from appliance.bootstrap import read_demo_key
from appliance.settings import load_settings
from tests.appliance.postgres_server import running_cluster
from tests.bench.child import running_child
from tests.bench.load import stream_answers
from tests.bench.relay import prepare
from tests.bench.report import percentile
from tests.gateway.conftest import publish
from tests.ports import free_port

ANSWERS_A_PIECE = 25
QUIET_SECONDS = 15.0
ROUNDS = 3
HEADER_BYTES = 300 << 20
SILENT, DRIPPING, ADDRESSES = 10_000, 1_000, 20
FIELDS = 490_000
SECONDS = 14.0
"""Longer than headers may take."""
Attack = Callable[[str, str], Coroutine[Any, Any, None]]


def measure() -> dict[str, float | int | str]:
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
        stub += ["--chunks", "4", "--interval", "0.005"]
        stack.enter_context(running_child(stub, env, f"{engine}/health"))
        publish(settings.directory, [engine])
        url = f"http://127.0.0.1:{settings.port}"
        gateway = stack.enter_context(
            running_child([sys.executable, "-m", "appliance", "serve"], env, f"{url}/livez")
        )
        key = read_demo_key(settings)
        assert key is not None
        return asyncio.run(_measure(url, key, gateway))


async def _measure(url: str, key: str, gateway: psutil.Process) -> dict[str, float | int | str]:
    """Rounds of a quiet time and each attack: a minute in which the machine is slow weighs on all alike."""
    await _bystander(url, key)
    at_first = gateway.memory_info().rss
    quiet: list[float] = []
    seen: dict[str, list[float]] = {name: [] for name in ATTACKS}
    most = dict.fromkeys(ATTACKS, 0)
    refused: dict[str, Counter[str]] = {name: Counter() for name in ATTACKS}
    for _ in range(ROUNDS):
        quiet += await _bystander(url, key, QUIET_SECONDS)
        for name in ATTACKS:
            before, rss, answers = _refused(url), gateway.memory_info().rss, len(seen[name])
            with _attacker(name, url, key) as attack:
                while attack.poll() is None or len(seen[name]) - answers < 8 * ANSWERS_A_PIECE:
                    seen[name] += await _bystander(url, key)
                    most[name] = max(most[name], gateway.memory_info().rss - rss)
            if attack.returncode:
                raise RuntimeError(f"the attack {name} failed")
            refused[name] += _refused(url) - before
    figures: dict[str, float | int | str] = {"quiet: first token ms p99": percentile(quiet, 0.99)}
    for name in ATTACKS:
        figures[f"{name}: first token p99, times quiet"] = percentile(seen[name], 0.99) / percentile(quiet, 0.99)
        figures[f"{name}: memory, MiB more"] = most[name] / (1 << 20)
        figures |= {f"{name}: {reason}": count for reason, count in refused[name].items()}
    figures["after all of it: memory, MiB more"] = (gateway.memory_info().rss - at_first) / (1 << 20)
    return figures


def _attacker(name: str, url: str, key: str) -> "subprocess.Popen[str]":
    """It has just begun: its start, which costs as much as an attack, is over."""
    command = [sys.executable, "-m", __name__, name, url, key]
    attack = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert attack.stdin is not None
    assert attack.stdout is not None
    attack.stdout.readline()
    attack.stdin.write("begin\n")
    attack.stdin.flush()
    return attack


async def _bystander(url: str, key: str, seconds: float = 0) -> list[float]:
    """Milliseconds to the first byte: of a piece at least, and for so long."""
    seen: list[float] = []
    until = time.monotonic() + seconds
    headers = {"authorization": f"Bearer {key}"}
    while True:
        outcome = await stream_answers(url + "/v1/chat/completions", headers, answers=ANSWERS_A_PIECE, at_once=2)
        if outcome.failures:
            raise RuntimeError(f"{outcome.failures} of the bystander's answers failed")
        seen += outcome.first_byte_ms
        if time.monotonic() >= until:
            return seen


def _refused(url: str) -> Counter[str]:
    with urlopen(url + "/metrics", timeout=10) as response:
        text = response.read().decode()
    found = re.findall(r'appliance_connections_refused_total\{reason="(\w+)"\} (\S+)', text)
    return Counter({reason: int(float(count)) for reason, count in found})


async def _open(url: str, number: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    source = f"127.0.1.{1 + number % ADDRESSES}"
    return await asyncio.open_connection(host, int(port), local_addr=(source, 0))


async def huge_header(url: str, _: str) -> None:
    """Sent as far as it is taken; twenty times."""
    for number in range(20):
        reader, writer = await _open(url, number)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nx-long: ")
        with suppress(ConnectionError):
            for _sent in range(HEADER_BYTES >> 16):
                writer.write(b"a" * 65536)
                await writer.drain()
                if reader.at_eof():
                    break
        writer.close()


async def silent(url: str, _: str) -> None:
    await _many(url, SILENT, _says_nothing)


async def dripping(url: str, _: str) -> None:
    await _many(url, DRIPPING, _drips)


async def _many(url: str, count: int, do: Callable[..., Coroutine[Any, Any, None]]) -> None:
    until = time.monotonic() + SECONDS
    gate = asyncio.Semaphore(200)

    async def one(number: int) -> None:
        async with gate:
            try:
                reader, writer = await _open(url, number)
            except OSError:
                return
        with suppress(OSError):
            await do(reader, writer, until)
        writer.close()

    await asyncio.gather(*(one(number) for number in range(count)))


async def _says_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter, until: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.1, until - time.monotonic())):
            await reader.read()


async def _drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: float) -> None:
    for byte in b"POST /v1/chat/completions HTTP/1.1\r\nhost: here\r\n":
        if time.monotonic() > until or reader.at_eof():
            return
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


async def zip_bomb(url: str, key: str) -> None:
    packed = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    head = packed.compress(bytes(1 << 24)) + packed.flush(zlib.Z_FULL_FLUSH)
    again = packed.compress(bytes(1 << 24)) + packed.flush(zlib.Z_FULL_FLUSH)
    bomb = head + 63 * again  # a gigabyte that takes its maker no time
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        status = await _post(url, key, bomb, b"content-encoding: gzip\r\n")
        if status != 413:
            raise RuntimeError(f"the bomb was answered with {status}")


async def many_fields(url: str, key: str) -> None:
    fields = {f"f{number}": number for number in range(FIELDS)}
    body = json.dumps({"model": "smollm2", "messages": [], "metadata": fields}).encode()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        status = await _post(url, key, body, b"")
        if status != 400:
            raise RuntimeError(f"the fields were answered with {status}")


async def _post(url: str, key: str, body: bytes, more: bytes) -> int:
    reader, writer = await _open(url)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer %s\r\n%scontent-length: %d\r\n\r\n"
    writer.write(head % (key.encode(), more, len(body)) + body)
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


ATTACKS: dict[str, Attack] = {
    "300 MB header": huge_header,
    "10,000 silent": silent,
    "1,000 dripping": dripping,
    "zip bomb": zip_bomb,
    "490,000 fields": many_fields,
}

if __name__ == "__main__":
    attack, where, whose = sys.argv[1:]
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    asyncio.run(ATTACKS[attack](where, whose))
