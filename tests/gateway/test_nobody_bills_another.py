"""Every try to be taken for somebody in the chat is refused: no model answers, and nobody is charged."""

import asyncio
import logging
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest

from billing.clock import system_clock
from billing.customers.keys import generate_key, set_end
from billing.customers.standing import Standings
from billing.database.db import fetch
from billing.store.postgres import PostgresStore
from tests.gateway.chatting import Chatter, chatter, service_key, with_chat
from tests.gateway.conftest import House
from tests.gateway.test_sightings import behind_the_door

ASKED = b'{"model":"smollm2","messages":[{"role":"user","content":"Hi"}],"max_tokens":8,"user":"%s"}'
ENDPOINTS = (b"POST /v1/chat/completions", b"POST /v1/messages", b"GET /v1/models", b"GET /v1/usage")
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
MUTATIONS = 150
REFUSED = (400, 401, 403, 431)
Fields = tuple[bytes, ...]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return with_chat(tmp_path, f"{HERE}/32", "9.9.9.0/24")


@dataclass(frozen=True)
class Try:
    """Fields of the head, each with its name, and where it is sent from; ``head`` is in place of all of it."""

    what: str
    fields: Fields
    source: str = HERE
    query: bytes = b""
    trailer: bytes = b""
    user: bytes = b""
    endpoints: tuple[bytes, ...] = field(default=ENDPOINTS)

    def request(self, endpoint: bytes, key: bytes) -> bytes:
        """With the service key, unless the try has its own."""
        body = ASKED % self.user if endpoint.startswith(b"POST") else b""
        own_key = any(one.lower().startswith((b"authorization", b"x-api-key")) for one in self.fields)
        fields = self.fields if own_key else (b"Authorization: Bearer " + key, *self.fields)
        length = b"Transfer-Encoding: chunked" if self.trailer else b"Content-Length: %d" % len(body)
        sent = b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(body), body, self.trailer) if self.trailer and body else body
        lines = (endpoint + self.query + b" HTTP/1.1", b"Host: x", b"Connection: close", length, *fields)
        return b"\r\n".join((*lines, b"", b"")) + sent


async def said(url: str, source: str, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HERE, int(url.rpartition(":")[2]), local_addr=(source, 0))
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


def named(value: bytes, name: bytes = b"X-Appliance-User") -> bytes:
    return name + b": " + value


def values(subject: UUID, other: UUID, account_id: int) -> Iterator[tuple[str, bytes]]:
    """What the header could say, and is not exactly what we call somebody."""
    good = str(subject).encode()
    yield "nobody", b""
    yield "upper case", good.upper()
    yield "one letter in upper case", re.sub(rb"[a-f]", lambda found: found[0].upper(), good, count=1)
    yield "in braces", b"{%s}" % good
    yield "as a URN", b"urn:uuid:" + good
    yield "without dashes", subject.hex.encode()
    yield "bytes in the other order", UUID(bytes_le=subject.bytes).bytes_le.hex().encode()
    yield "bare bytes", subject.bytes.translate(None, b"\r\n\0")
    yield "as a number", str(subject.int).encode()
    yield "percent-encoded", "".join(f"%{letter:02x}" for letter in good).encode()
    yield "percent-encoded dashes", quote(str(subject), safe="").replace("-", "%2d").encode()
    yield "percent-encoded NUL", good + b"%00"
    yield "in quotes", b'"%s"' % good
    yield "as a word of MIME", b"=?utf-8?q?%s?=" % good
    yield "a list", good + b"," + good
    yield "a list of two", good + b", " + str(other).encode()
    yield "a list of two, the other first", str(other).encode() + b", " + good
    yield "a list by semicolons", good + b";" + str(other).encode()
    yield "a list by spaces", good + b" " + str(other).encode()
    yield "a space within", good[:8] + b" " + good[8:]
    yield "a tab within", good[:8] + b"\t" + good[8:]
    yield "a no-break space behind", good + b"\xa0"
    yield "a no-break space before, in UTF-8", b"\xc2\xa0" + good
    yield "a zero-width space", good + "\u200b".encode()
    yield "a byte order mark", "\ufeff".encode() + good
    yield "full-width digits", "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in str(subject)).encode()
    yield "superscript digits", good.replace(b"2", b"\xb2").replace(b"3", b"\xb3").replace(b"1", b"\xb9") + b"\xb9"
    yield "dashes that are none", str(subject).replace("-", "\u2010").encode()
    yield "UTF-16", str(subject).encode("utf-16-le").replace(b"\0", b"\x01")
    yield "NUL behind", good + b"\0"
    yield "NUL within", good[:9] + b"\0" + good[9:]
    yield "a bare carriage return", good + b"\rx"
    yield "a bare line feed", good[:8] + b"\n" + good[8:]
    yield "a delete", good + b"\x7f"
    yield "an escape", b"\\u0030" + good
    yield "long", good * 40
    yield "very long", good * 4000
    yield "short", good[:-1]
    yield "a digit more", good + b"0"
    yield "a placeholder", b"{{LIBRECHAT_USER_OPENIDID}}"
    yield "a placeholder and somebody", b"{{LIBRECHAT_USER_OPENIDID}}" + good
    yield "half a placeholder", b"{{" + good
    yield "the end of a placeholder", good + b"}}"
    yield "null", b"null"
    yield "undefined", b"undefined"
    yield "an object", b'{"sub":"%s"}' % good
    yield "the account's number", b"%d" % account_id
    yield "an email", b"%d@example.com" % account_id
    yield "SQL", good + b"' OR '1'='1"
    yield "a wildcard", b"%"
    yield "the chat key's own text", b"chat:" + good
    yield "nil", b"00000000-0000-0000-0000-000000000000"
    yield "all", b"ffffffff-ffff-ffff-ffff-ffffffffffff"
    yield "somebody unknown", str(uuid4()).encode()


def mutated(subject: UUID, count: int) -> Iterator[tuple[str, bytes]]:
    """One byte changed, added or left out; a space at either end is no part of a field's value."""
    rng, good = random.Random(17), str(subject).encode()
    while count:
        at, byte = rng.randrange(1, len(good) - 1), bytes([rng.randrange(256)])
        changed = good[:at] + rng.choice((byte + good[at:], byte + good[at + 1 :], good[at + 1 :]))
        if changed != good and b"\r" not in changed and b"\n" not in changed:
            count -= 1
            yield f"mutation {count}", changed


def tries(ada: Chatter, bob: Chatter, key: str) -> Iterator[Try]:
    good, service = str(ada.subject).encode(), key.encode()
    ours, bearer = named(good), b"Authorization: Bearer "
    for what, value in (*values(ada.subject, bob.subject, ada.account_id), *mutated(ada.subject, MUTATIONS)):
        endpoints = ENDPOINTS[:1] if what.startswith("mutation") else ENDPOINTS
        yield Try(what, (named(value),), endpoints=endpoints)
    yield Try("nobody at all", ())
    yield Try("twice", (ours, ours))
    yield Try("twice, in two cases", (ours, named(good, b"x-appliance-user")))
    yield Try("twice, of two people", (ours, named(str(bob.subject).encode())))
    yield Try("twice, one of them empty", (named(b""), ours))
    yield Try("twice, far apart", (ours, *(b"X-%d: 1" % n for n in range(60)), named(good, b"X-APPLIANCE-USER")))
    yield Try("folded", (b"X-Appliance-User:\r\n " + good,))
    yield Try("folded within", (b"X-Appliance-User: " + good[:9] + b"\r\n " + good[9:],))
    yield Try("a space before the colon", (named(good, b"X-Appliance-User "),))
    for name in (
        b"X_Appliance_User", b"X-Appliance-User-", b"Appliance-User", b"X-Appliance-Users", b"X-Forwarded-User",
        b"X-LC-User-OpenID-ID", b"From", b"Cookie", b"X-Remote-User", b"OpenAI-Organization",
        b"\xc5\xbf-Appliance-User",
    ):  # fmt: skip
        yield Try(f"by the name {name!r}", (named(good, name),))
    yield Try("in the address", (), query=b"?x-appliance-user=" + good)
    yield Try("in the body", (), user=good)
    yield Try("behind the body", (), trailer=ours, endpoints=ENDPOINTS[:2])
    yield Try("another in the body", (named(str(uuid4()).encode()),), user=good)
    for what, wrong in (
        ("a wrong service key", generate_key().encode()), ("a mistyped one", service[:-1] + b"!"),
        ("half of one", service[:20]), ("in upper case", service.upper()), ("twice", service + b"," + service),
        ("a NUL behind it", service + b"\0"), ("percent-encoded", service.replace(b"-", b"%2d")), ("none", b""),
        ("the subject", good), ("the chat key's text", b"chat:" + good),
        ("a placeholder", b"{{CHAT_SERVICE_KEY}}"),
    ):  # fmt: skip
        yield Try(f"by another key: {what}", (bearer + wrong, ours))
    yield Try("by a key for another scheme", (b"Authorization: Basic " + service, ours))
    yield Try("by a wrong key before the right one", (bearer + generate_key().encode(), bearer + service, ours))
    for name in (b"X-Forwarded-For", b"X-Real-IP", b"Forwarded"):
        for value in (HERE.encode(), b"for=127.0.0.1", b"::1", b"", b"127.0.0.1, 127.0.0.1"):
            yield Try(f"from elsewhere, by {name!r}", (ours, name + b": " + value), ELSEWHERE)
            yield Try(f"through a proxy, by {name!r}", (ours, name + b": " + value))
    yield Try("from elsewhere", (ours,), ELSEWHERE)


async def nothing_is_charged(house: House) -> bool:
    async with house.database.begin() as connection:
        (counts,) = await fetch(
            connection, "SELECT (SELECT count(*) FROM usage) AS used, (SELECT count(*) FROM hold) AS held"
        )
    return (counts.used, counts.held) == (0, 0) and not any(stub.seen for stub in house.stubs)


async def let_in(url: str, key: str, asked: list[Try]) -> list[tuple[str, bytes, bytes]]:
    """Those that were not refused."""
    found = []
    for one in asked:
        for endpoint in one.endpoints:
            answer = await said(url, one.source, one.request(endpoint, key.encode()))
            status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 400
            if status not in REFUSED:
                found.append((one.what, endpoint, answer))
    return found


async def test_nobody_bills_another(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ada, bob, key = await chatter(house), await chatter(house), service_key(house)
    async with behind_the_door(house, trusted=False) as url:
        asked = list(tries(ada, bob, key))
        assert await let_in(url, key, asked) == []
        assert await nothing_is_charged(house)
        right = Try("right", (named(str(ada.subject).encode()),))
        assert len(await let_in(url, key, [right])) == len(ENDPOINTS)
    assert (len(await ada.usage()), len(await bob.usage())) == (2, 0)
    events = [record.getMessage() for record in caplog.records if record.name == "appliance.events"]
    assert events
    assert set(events) == {"event=chat-key-elsewhere network=127.0.0.0/24"}
    assert str(ada.subject) not in caplog.text
    assert key not in caplog.text


async def test_nobody_bills_another_from_behind_a_proxy(house: House) -> None:
    """The proxy is believed: whom it names is of the chat's networks, or is refused."""
    ada, key = await chatter(house), service_key(house)
    ours = named(str(ada.subject).encode())
    async with behind_the_door(house, trusted=True) as url:
        lies = (b"192.0.2.1", b"9.9.9.9, 192.0.2.1", b"127.0.0.1, 192.0.2.1", b"9.9.9.9, x", b"x", b"", b"9.9.9")
        asked = [Try(f"named {lie!r}", (ours, b"X-Forwarded-For: " + lie)) for lie in lies]
        assert await let_in(url, key, asked) == []
        assert await nothing_is_charged(house)
        named_by_proxy = Try("right", (ours, b"X-Forwarded-For: 192.0.2.1, 9.9.9.9"))
        assert len(await let_in(url, key, [named_by_proxy])) == len(ENDPOINTS)


async def test_whoever_may_not_ask_is_not_billed(house: House) -> None:
    ended, expired, gone, key = *[await chatter(house) for _ in range(3)], service_key(house)
    closing, closed = Standings(PostgresStore(house.database), system_clock), []
    for close in (closing.suspend, closing.terminate, closing.mark_for_deletion):
        closed.append(one := await chatter(house))
        await close(one.account_id, "operator", "a reason")
    await ended.sign_out()
    async with house.database.begin() as connection:
        await set_end(connection, await expired.key_id(), system_clock() - timedelta(seconds=1))
        await fetch(connection, "DELETE FROM person WHERE account_id = $1 RETURNING 1 AS gone", gone.account_id)
        await fetch(
            connection, "UPDATE api_key SET revoked_at = now() WHERE account_id = $1 RETURNING id", gone.account_id
        )
    async with behind_the_door(house, trusted=False) as url:
        asked = [
            Try(f"account {one.account_id}", (named(str(one.subject).encode()),), endpoints=ENDPOINTS[:2])
            for one in (ended, expired, gone, *closed)
        ]
        assert await let_in(url, key, asked) == []
        assert await nothing_is_charged(house)
