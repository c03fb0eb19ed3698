"""Runs LibreChat until a signal or its own end: the environment it starts in, TLS in front of it, its log."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from appliance.librechat import QUIET
from appliance.librechat.running.front import Front
from appliance.librechat.running.journal import Journal
from appliance.librechat.running.release import SERVER

DISCOVERY = "/.well-known/openid-configuration"
DISCOVERY_SECONDS = 5.0
POLL_SECONDS = 0.5
STOP_SECONDS = 10.0
LINE_BYTES = 1 << 20
"""Of a longer line of its log the end is not read."""
INHERITED = ("PATH", "HOME", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What LibreChat gets of our own environment: nobody's keys."""
TRUSTS = {"NODE_USE_SYSTEM_CA": "1"}
"""Node would else know its own list of authorities alone, and none of the operator's that this machine knows."""
TELLS_NOBODY = {
    "SCARF_ANALYTICS": "false",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Tls:
    """The way in for this machine's browsers: to LibreChat, and to the site for the sign-on."""

    context: ssl.SSLContext
    certificate: Path
    chat: socket.socket
    sign_on: socket.socket
    site_port: int


@dataclass(frozen=True)
class LibreChat:
    """``node`` runs the server of ``folder`` with ``env``, which names its HOST and PORT. ``issuer`` is ours."""

    node: Path
    folder: Path
    env: Mapping[str, str]
    port: int
    issuer: str
    tls: Tls | None = None


async def run(chat: LibreChat, say: Callable[[str], None]) -> int:
    """LibreChat's exit status; ``say`` takes the lines of its log that are kept."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    servers = await _fronts(chat.tls, chat.port)
    stopping = asyncio.create_task(stopped.wait())
    try:
        # It asks for the issuer once, at its start, and signs nobody on if there is no answer.
        found = asyncio.create_task(_issuer_answers(chat.issuer, chat.tls, say))
        await asyncio.wait({found, stopping}, return_when=asyncio.FIRST_COMPLETED)
        found.cancel()
        return 0 if stopped.is_set() else await _run_server(chat, stopping, say)
    finally:
        stopping.cancel()
        for server in servers:
            server.close()


async def _fronts(tls: Tls | None, port: int) -> list[asyncio.Server]:
    if tls is None:
        return []
    return [
        await Front(port).serve(tls.chat, tls.context),
        await Front(tls.site_port).serve(tls.sign_on, tls.context),
    ]


async def _issuer_answers(issuer: str, tls: Tls | None, say: Callable[[str], None]) -> None:
    trusted = ssl.create_default_context(cafile=None if tls is None else str(tls.certificate))
    timeout = aiohttp.ClientTimeout(total=DISCOVERY_SECONDS)
    said = ""
    while True:
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(issuer + DISCOVERY, ssl=trusted) as response,
            ):
                if response.status == 200:
                    return
                problem = f"status {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            problem = str(error)
        if problem != said:
            said = problem
            say(f"waiting for {issuer}{DISCOVERY}: {problem}")
        await asyncio.sleep(POLL_SECONDS)


async def _run_server(chat: LibreChat, stopping: asyncio.Task[bool], say: Callable[[str], None]) -> int:
    own = {name: value for name, value in os.environ.items() if name in INHERITED}
    ours = {} if chat.tls is None else {"NODE_EXTRA_CA_CERTS": str(chat.tls.certificate)}
    process = await asyncio.create_subprocess_exec(
        chat.node,
        SERVER,
        cwd=chat.folder,
        env={**own, **chat.env, **QUIET, **TELLS_NOBODY, **TRUSTS, **ours},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    logging = asyncio.create_task(_keep_journal(process, say))
    ending = asyncio.create_task(process.wait())
    await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        process.terminate()
        await asyncio.wait({ending}, timeout=STOP_SECONDS)
    if not ending.done():
        process.kill()
    status = await ending
    await logging
    return 0 if stopping.done() else abs(status)


async def _keep_journal(process: asyncio.subprocess.Process, say: Callable[[str], None]) -> None:
    assert process.stdout is not None
    journal, rest = Journal(), b""
    while chunk := await process.stdout.read(LINE_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[:LINE_BYTES]
        for line in lines:
            kept = journal.keep(line.decode(errors="replace").rstrip())
            if kept:
                say(kept)
