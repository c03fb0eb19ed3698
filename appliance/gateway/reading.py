"""Reading a request's body: whole, unpacked, and no more of it than may be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from io import BytesIO

from appliance.door.asgi import Receive, Scope
from appliance.errors import BodyTooLarge, RequestTimeout
from appliance.gateway.asgi import ClientGone
from appliance.gateway.unpack import unpacker

BODY_SECONDS = 60.0
STRANGERS_BODY_BYTES = 64 << 10


async def read_body(
    scope: Scope, receive: Receive, limit_bytes: int, require_known: Callable[[], Awaitable[None]]
) -> bytes:
    """A body that takes room, packed or not, is only read for a key that exists; between pieces others have their
    turn.

    Raises:
        BodyTooLarge, RequestTimeout, UnsupportedEncoding, InvalidRequest: it cannot be taken.
        ClientGone: it does not come.
        ApiError: what ``require_known`` raises.
    """
    if _length(scope) > limit_bytes:
        raise _too_large(limit_bytes)
    packing = unpacker(scope["headers"])
    body, known = BytesIO(), False
    try:
        async with asyncio.timeout(BODY_SECONDS):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                more = message.get("more_body", False)
                async for piece in packing.pieces(message.get("body", b"")):
                    body.write(piece)
                    if body.tell() > limit_bytes:
                        raise _too_large(limit_bytes)
                    if body.tell() > STRANGERS_BODY_BYTES and not known:
                        await require_known()
                        known = True
                    await asyncio.sleep(0)
    except TimeoutError:
        raise RequestTimeout(f"The body did not come within {BODY_SECONDS:.0f} seconds.") from None
    packing.end()
    return body.getvalue()


def _length(scope: Scope) -> int:
    return next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit_bytes} bytes.")
