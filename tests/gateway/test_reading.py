"""Bodies that come packed, and those that are not what they say."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from appliance.door.asgi import Message
from appliance.errors import BodyTooLarge, InvalidRequest, UnsupportedEncoding
from appliance.gateway.reading import STRANGERS_BODY_BYTES, read_body
from appliance.gateway.unpack import PIECE_BYTES, Gzip
from tests.gateway.conftest import House

LIMIT = 8 << 20
HELLO = b'{"model": "smollm2", "prompt": "Hello"}'


class Stranger(Exception):
    pass


async def nobody() -> None:
    raise Stranger


async def known() -> None:
    pass


async def read(body: bytes, *encodings: str, at_a_time: int = 1000, by: object = known) -> bytes:
    headers = [(b"content-encoding", value.encode()) for value in encodings]
    pieces = [body[at : at + at_a_time] for at in range(0, len(body), at_a_time)] or [b""]

    async def receive() -> Message:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    return await read_body({"headers": headers}, receive, LIMIT, by)  # type: ignore[arg-type]


@pytest.mark.parametrize("at_a_time", [1, 7, 1 << 20])
async def test_a_packed_body_is_read_as_what_it_was(at_a_time: int) -> None:
    packed = gzip.compress(HELLO)
    for encodings in ((), ("identity",), ("",)):
        assert await read(HELLO, *encodings, at_a_time=at_a_time) == HELLO
    for encodings in (("gzip",), ("GZIP",), ("x-gzip",), ("identity, gzip",)):
        assert await read(packed, *encodings, at_a_time=at_a_time) == HELLO
    assert await read(packed + packed, "gzip", at_a_time=at_a_time) == HELLO * 2


@pytest.mark.parametrize(
    "encodings", [("br",), ("deflate",), ("gzip, gzip",), ("gzip", "gzip"), ("zstd",), ("nonsense",)]
)
async def test_any_other_way_of_packing_is_named_as_such(encodings: tuple[str, ...]) -> None:
    with pytest.raises(UnsupportedEncoding) as refused:
        await read(HELLO, *encodings)
    assert refused.value.headers() == [(b"accept-encoding", b"gzip")]


@pytest.mark.parametrize(
    "body",
    [b"", b"plain", gzip.compress(HELLO)[:-3], gzip.compress(HELLO) + b"more", zlib.compress(HELLO)],
    ids=["nothing", "plain", "cut", "more", "deflate"],
)
async def test_what_is_no_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not what its content-encoding says"):
        await read(body, "gzip")


async def test_a_bomb_is_unpacked_no_further_than_the_limit_and_for_strangers_hardly_at_all() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    assert len(bomb) < LIMIT // 32
    with pytest.raises(BodyTooLarge):
        await read(bomb, "gzip", at_a_time=1 << 16)
    with pytest.raises(Stranger):
        await read(bomb, "gzip", at_a_time=1 << 16, by=nobody)
    assert len(await anext(Gzip().pieces(bomb[: 1 << 16]))) <= STRANGERS_BODY_BYTES
    assert PIECE_BYTES <= LIMIT
    assert STRANGERS_BODY_BYTES <= PIECE_BYTES


async def test_a_body_that_comes_in_crumbs_takes_no_more_room_than_one_that_comes_whole() -> None:
    size, sent = 128 << 10, 0

    async def receive() -> Message:
        nonlocal sent
        sent += 2
        return {"type": "http.request", "body": sent.to_bytes(4, "big")[2:], "more_body": sent < size}

    tracemalloc.start()
    try:
        assert len(await read_body({"headers": []}, receive, LIMIT, known)) == size
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * size


async def test_a_client_may_pack_its_request(house: House) -> None:
    customer = await house.customer()
    headers = {"authorization": f"Bearer {customer.key}", "content-encoding": "gzip"}
    body = gzip.compress(b'{"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}')
    async with house.http.post(house.url + "/v1/chat/completions", data=body, headers=headers) as answer:
        assert answer.status == 200
    headers["content-encoding"] = "br"
    async with house.http.post(house.url + "/v1/chat/completions", data=body, headers=headers) as answer:
        assert (answer.status, answer.headers["accept-encoding"]) == (415, "gzip")
