"""A request's body as it was before its client packed it (``Content-Encoding: gzip``), and never more than is
allowed.

Source: RFC 9110 8.4 and 15.5.16, RFC 1952.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable

from appliance.errors import InvalidRequest, UnsupportedEncoding

FIRST_PIECE_BYTES = 64 << 10
"""Unpacked at once, in a fraction of a millisecond: most bodies have no more."""
PIECE_BYTES = 256 << 10
"""Unpacked at a time after that, by another thread: the gateway's own has all streams to serve."""
GZIP = zlib.MAX_WBITS | 16
NOT_GZIP = "The body is not what its content-encoding says: gzip."


class Plain:
    """A body that is not packed."""

    async def pieces(self, data: bytes) -> AsyncIterator[bytes]:
        yield data

    def end(self) -> None:
        """Raises InvalidRequest if something is missing."""


class Gzip:
    """One that is. A zip bomb is unpacked as far as its reader goes on, piece by piece."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(GZIP)
        self._is_large = False

    async def pieces(self, data: bytes) -> AsyncIterator[bytes]:
        """Raises InvalidRequest."""
        while data:
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(GZIP)  # the next member (RFC 1952, 2.2)
            try:
                piece = await self._next(data)
            except zlib.error:
                raise InvalidRequest(NOT_GZIP) from None
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            yield piece

    async def _next(self, data: bytes) -> bytes:
        if self._is_large:
            return await asyncio.to_thread(self._inflate.decompress, data, PIECE_BYTES)
        piece = self._inflate.decompress(data, FIRST_PIECE_BYTES)
        self._is_large = len(piece) == FIRST_PIECE_BYTES
        return piece

    def end(self) -> None:
        if not self._inflate.eof:
            raise InvalidRequest(NOT_GZIP)


def unpacker(headers: Iterable[tuple[bytes, bytes]]) -> Plain | Gzip:
    """Raises UnsupportedEncoding for anything but gzip, once."""
    named = [value for name, value in headers if name == b"content-encoding"]
    codings = [coding.strip().lower() for value in named for coding in value.split(b",")]
    match [coding for coding in codings if coding not in (b"", b"identity")]:
        case []:
            return Plain()
        case [b"gzip" | b"x-gzip"]:
            return Gzip()
    raise UnsupportedEncoding
