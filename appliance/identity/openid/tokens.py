"""The tokens: an ID token says to the chat who somebody is, an access token opens what else is told of them, and a
refresh token has new ones made. The first two are signed, for five minutes; the last is known again without being
kept. Pure.
"""

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from appliance.identity.openid.client import CLIENT_ID
from appliance.identity.openid.signing import ALGORITHM, SigningKey
from appliance.identity.sessions import Signed

LAST = timedelta(minutes=5)
"""So long ID and access tokens are good: whatever ends a sign-on, the chat notices after that at the latest."""
ID_TOKEN, ACCESS_TOKEN = "JWT", "at+jwt"
"""Types in a token's head: neither passes for the other."""
GRANT_BYTES, GENERATION_BYTES, DIGEST_BYTES = 16, 4, 32


@dataclass(frozen=True, slots=True)
class Told:
    """Who a token is about, and by which grant."""

    subject: UUID
    grant_id: UUID


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the chat is given; all three are texts."""

    access: str = field(repr=False)
    id: str = field(repr=False)
    refresh: str = field(repr=False)
    scope: str


def claims(signed: Signed) -> dict[str, object]:
    """What is told of a person."""
    return {
        "sub": str(signed.subject),
        "name": signed.name,
        "email": signed.email,
        "email_verified": True,
        "preferred_username": signed.email,
        "locale": signed.language,
    }


def id_token(
    key: SigningKey, issuer: str, signed: Signed, grant_id: UUID, nonce: str | None, now: datetime
) -> str:
    about = {"aud": CLIENT_ID, "auth_time": int(signed.began_at.timestamp())}
    once = {} if nonce is None else {"nonce": nonce}
    return _signed(key, ID_TOKEN, {**claims(signed), **_of(issuer, grant_id, now), **about, **once})


def access_token(key: SigningKey, issuer: str, signed: Signed, grant_id: UUID, scope: str, now: datetime) -> str:
    """For this provider alone: it opens no model."""
    about = {"sub": str(signed.subject), "aud": issuer, "client_id": CLIENT_ID, "scope": scope}
    return _signed(key, ACCESS_TOKEN, {**about, **_of(issuer, grant_id, now)})


def read_access_token(text: str, keys: Sequence[SigningKey], issuer: str, now: datetime) -> Told | None:
    """None if it is none of ours, or over."""
    return _read(text, keys, ACCESS_TOKEN, issuer, issuer, now)


def read_id_token(text: str, keys: Sequence[SigningKey], issuer: str) -> Told | None:
    """Of whom the chat speaks: one that is over tells that too. None if it is none of ours."""
    return _read(text, keys, ID_TOKEN, issuer, CLIENT_ID, None)


def _of(issuer: str, grant_id: UUID, now: datetime) -> dict[str, object]:
    times = {"iat": int(now.timestamp()), "exp": int((now + LAST).timestamp())}
    return {"iss": issuer, "sid": str(grant_id), **times}


def _signed(key: SigningKey, kind: str, told: dict[str, object]) -> str:
    return jwt.encode({"alg": ALGORITHM, "kid": key.id, "typ": kind}, told, key.key, algorithms=[ALGORITHM])


def _read(
    text: str, keys: Sequence[SigningKey], kind: str, issuer: str, audience: str, now: datetime | None
) -> Told | None:
    try:
        token = jwt.decode(text, KeySet([key.key for key in keys]), algorithms=[ALGORITHM])
        told = token.claims
        if (token.header.get("typ"), told["iss"], told["aud"]) != (kind, issuer, audience):
            return None
        if now is not None and now.timestamp() >= told["exp"]:
            return None
        return Told(UUID(told["sub"]), UUID(told["sid"]))
    except (JoseError, ValueError, KeyError, TypeError, AttributeError):
        return None


class RefreshTokens:
    """Each names its grant, and its generation there: so one that was used before is told from a stranger's."""

    def __init__(self, pepper: bytes) -> None:
        self._key = hmac.digest(pepper, b"openid refresh tokens", "sha256")

    def new(self, grant_id: UUID, generation: int) -> str:
        named = grant_id.bytes + generation.to_bytes(GENERATION_BYTES)
        return base64.urlsafe_b64encode(named + self._digest(named)).decode().rstrip("=")

    def read(self, text: str) -> tuple[UUID, int] | None:
        """Its grant and its generation; None if it is none of ours."""
        try:
            raw = base64.b64decode(text.encode("ascii") + b"==", altchars=b"-_", validate=True)
        except ValueError:
            return None
        named, given = raw[:-DIGEST_BYTES], raw[-DIGEST_BYTES:]
        if len(named) != GRANT_BYTES + GENERATION_BYTES or not hmac.compare_digest(given, self._digest(named)):
            return None
        return UUID(bytes=named[:GRANT_BYTES]), int.from_bytes(named[GRANT_BYTES:])

    def _digest(self, named: bytes) -> bytes:
        return hmac.digest(self._key, named, "sha256")
