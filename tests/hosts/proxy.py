"""The hosts' way to the packages: a proxy for HTTP on their bridge, as they have no other way out.

``python -m tests.hosts.proxy ADDRESS PORT FOLDER``. A Debian package never changes under its address, so those
that were fetched are kept in FOLDER and are handed out from there. Each connection carries one request.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

HEAD_BYTES = 65536
SECONDS = 60
CHUNK = 65536


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """``folder`` is where packages are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SECONDS)).decode("latin-1")
            method, target, _ = head.split("\r\n", 1)[0].split(" ")
            if method == "CONNECT":
                await self.tunnel(target, reader, writer)
            elif method == "GET" and target.endswith(".deb"):
                await self.package(target, head, writer)
            else:
                await self.forward(target, head, reader, writer)
        except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
            with suppress(OSError):
                writer.write(f"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n{error}\n".encode())
                await writer.drain()
        finally:
            writer.close()

    async def tunnel(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        there = await asyncio.wait_for(asyncio.open_connection(host, int(port)), SECONDS)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await both_ways((reader, writer), there)

    async def forward(
        self, target: str, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there = await self.ask(target, head)
        await both_ways((reader, writer), there)

    async def package(self, target: str, head: str, writer: asyncio.StreamWriter) -> None:
        """Whole requests for a package alone are answered from the folder; a broken one is never kept."""
        kept = self.folder / f"{hashlib.sha256(target.encode()).hexdigest()[:24]}.deb"
        if not kept.exists() or "\r\nrange:" in head.lower():
            reader, there = await self.ask(target, head)
            answer = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            length = content_length(answer)
            part = kept.with_suffix(f".{id(writer)}")
            with part.open("wb") as file:
                while chunk := await reader.read(CHUNK):
                    file.write(chunk)
                    writer.write(chunk)
                    await writer.drain()
            there.close()
            if answer.split(b" ", 2)[1] == b"200" and part.stat().st_size == length:
                part.rename(kept)
            else:
                part.unlink()
            return
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Length: {kept.stat().st_size}\r\nConnection: close\r\n\r\n".encode()
        )
        with kept.open("rb") as file:
            while chunk := file.read(CHUNK):
                writer.write(chunk)
                await writer.drain()

    async def ask(self, target: str, head: str) -> Streams:
        """The request, sent to its server with the path alone, as the only one of its connection."""
        url = urlsplit(target)
        if url.scheme != "http" or url.hostname is None:
            raise ValueError(f"not an address that a proxy is asked for: {target}")
        reader, writer = await asyncio.wait_for(asyncio.open_connection(url.hostname, url.port or 80), SECONDS)
        path = target.split("/", 3)[3] if target.count("/") > 2 else ""
        line, *fields = head.rstrip("\r\n").split("\r\n")
        kept = [one for one in fields if not one.lower().startswith(("connection:", "proxy-connection:"))]
        lines = [f"{line.split(' ')[0]} /{path} HTTP/1.1", *kept, "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode("latin-1"))
        return reader, writer


def content_length(head: bytes) -> int | None:
    for field in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = field.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return None


async def both_ways(here: Streams, there: Streams) -> None:
    """Until one side has nothing more to say and the other has heard it."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()

    try:
        asking = asyncio.create_task(pass_on(here[0], there[1]))
        await pass_on(there[0], here[1])
        asking.cancel()
    finally:
        there[1].close()


async def main(address: str, port: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    server = await asyncio.start_server(Proxy(folder).serve, address, port, limit=HEAD_BYTES)
    print("ready", flush=True)  # noqa: T201
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
