"""TLS on this machine in front of something that has none: what comes in is passed on, byte by byte."""

from __future__ import annotations

import asyncio
import socket
import ssl

from appliance.librechat.running.certificate import Files

CHUNK_BYTES = 64 << 10
CONNECTIONS_MOST = 256
"""At once, for one machine's browsers and LibreChat itself."""


def context_of(files: Files) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    return context


class Front:
    """From a listening socket with TLS to a port of this machine without."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._places = asyncio.Semaphore(CONNECTIONS_MOST)

    async def serve(self, listener: socket.socket, context: ssl.SSLContext) -> asyncio.Server:
        return await asyncio.start_server(self._connect, sock=listener, ssl=context)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._places:
            try:
                back, forth = await asyncio.open_connection("127.0.0.1", self._to)
            except OSError:
                writer.close()  # what it stands before is not there yet, or no longer
                return
            ways = [asyncio.create_task(_pass(reader, forth)), asyncio.create_task(_pass(back, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                forth.close()
                writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        return  # one side is gone, and with it the connection
