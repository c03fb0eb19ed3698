"""Who asks: the API key in the request's headers, or the person in whose name the chat asks.

Nothing of the body tells who asks. The chat, which is LibreChat, sends one key for all of its users, and names the
one who is asking in a header. That key is no account's: without the header, or from elsewhere, it opens nothing.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request

from appliance.door.address import NOWHERE, Network, cut_short, parsed
from appliance.door.asgi import Scope
from appliance.errors import InvalidKey
from appliance.gateway import chat_words
from appliance.gateway.nearby import is_near
from appliance.librechat import USER_HEADER
from appliance.logs import note
from appliance.texts import ENGLISH, speaker
from billing.customers import keys

Headers = Sequence[tuple[bytes, bytes]]
_NAMED_BY = USER_HEADER.lower().encode("ascii")
_SUBJECT = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A UUID in the one way that we write it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """``digest`` is that of the key, as the database has it; ``in_chat``: it is somebody who uses the chat."""

    digest: bytes
    in_chat: bool = False


@dataclass(frozen=True, slots=True)
class ChatAccess:
    """The key that LibreChat asks by, and the networks from which that key is believed."""

    service_key: str
    networks: tuple[Network, ...]


class Callers:
    """``pepper`` turns keys into digests (32 bytes). Without ``chat`` nobody asks in another's name."""

    def __init__(self, pepper: bytes, chat: ChatAccess | None = None) -> None:
        self._pepper = pepper
        self._service_digest = b"" if chat is None else keys.digest(pepper, chat.service_key)
        self._networks = () if chat is None else chat.networks

    def sent(self, scope: Scope, *, anthropic: bool = False) -> Caller | None:
        """None if no key was sent. Anthropic's clients send it as ``x-api-key``.

        Raises InvalidKey if it cannot be a good one, ChatSignInNeeded if the chat does not say for whom it asks.
        """
        key = _sent_key(scope["headers"], anthropic=anthropic)
        if key is None:
            return None
        digest = keys.digest(self._pepper, key)
        return self._named(scope) if hmac.compare_digest(digest, self._service_digest) else Caller(digest)

    def require(self, scope: Scope, *, anthropic: bool = False) -> Caller:
        """As ``sent``, and raises InvalidKey if there is none."""
        caller = self.sent(scope, anthropic=anthropic)
        if caller is None:
            also = " or `x-api-key: <key>`" if anthropic else ""
            raise InvalidKey(
                f"You didn't provide an API key. Send it in the header `Authorization: Bearer <key>`{also}."
            )
        return caller

    def _named(self, scope: Scope) -> Caller:
        """Whoever has the service key from elsewhere is not told that it is one."""
        if not is_near(Request(scope), self._networks, itself=False):
            address = parsed(scope["client"][0]) if scope["client"] else None
            note("chat-key-elsewhere", bad=True, network=cut_short(address or NOWHERE))
            raise wrong_key()
        subject = _subject(scope["headers"])
        if subject is None:
            raise chat_words.not_named(speaker(ENGLISH))
        return Caller(keys.chat_digest(self._pepper, subject), in_chat=True)


def wrong_key() -> InvalidKey:
    return InvalidKey("Incorrect API key provided. Check the key, or create a new one.")


def _sent_key(headers: Headers, *, anthropic: bool) -> str | None:
    """As it was sent. Raises InvalidKey if it cannot be one of ours."""
    for name, value in headers:
        text = value.decode("latin-1").strip()
        if anthropic and name == b"x-api-key":
            return _well_formed(text)
        if name == b"authorization":
            scheme, _, key = text.partition(" ")
            return _well_formed(key.strip() if scheme.lower() == "bearer" else "")
    return None


def _well_formed(key: str) -> str:
    if not keys.is_well_formed(key):
        raise wrong_key()
    return key


def _subject(headers: Headers) -> UUID | None:
    """None unless exactly one person is named. A placeholder that LibreChat did not fill in names nobody."""
    named = [value for name, value in headers if name == _NAMED_BY]
    if len(named) != 1 or not _SUBJECT.fullmatch(named[0]):
        return None
    return UUID(named[0].decode("ascii"))
