"""The keys that sign tokens: each has a life, the next is published before it signs, and the one before stays
published until what it signed is over. Private keys are encrypted at rest with a key that is not in the database.
"""

import asyncio
import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from joserfc.jwk import KeyParameters, RSAKey
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.openid.tables import openid_key
from billing.database.db import Database

ALGORITHM = "RS256"
"""The one that every client of OpenID Connect knows."""
KEY_BITS = 3072
SIGNS = timedelta(days=30)
KNOWN_BEFORE = timedelta(days=1)
KNOWN_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SigningKey:
    id: str
    key: RSAKey = field(repr=False)
    signs_from: datetime
    signs_until: datetime


class Keyring:
    """Raises DatabaseUnavailable."""

    def __init__(self, database: Database, pepper: bytes) -> None:
        self._database = database
        self._box = Fernet(base64.urlsafe_b64encode(hmac.digest(pepper, b"openid keys", "sha256")))
        self._opened: dict[str, RSAKey] = {}

    async def known(self, now: datetime) -> Sequence[SigningKey]:
        """All whose signatures count: one of them signs now, and the next is among them in time."""
        found = await self._read(now)
        if _signing(found, now) is None:
            await self._make(now)
        elif max(key.signs_until for key in found) - now <= KNOWN_BEFORE:
            await self._make(max(key.signs_until for key in found))
        else:
            return found
        return await self._read(now)

    async def signing(self, now: datetime) -> SigningKey:
        found = _signing(await self.known(now), now)
        assert found is not None
        return found

    async def _read(self, now: datetime) -> Sequence[SigningKey]:
        """One that cannot be opened was sealed with another pepper, which somebody may know: it counts no more."""
        async with self._database.begin() as connection:
            query = select(openid_key).where(openid_key.c.ends_at > now).order_by(openid_key.c.signs_from)
            rows = (await connection.execute(query)).all()
        found = []
        for row in rows:
            key = self._opened.get(row.id) or self._open(row.id, row.sealed)
            if key is not None:
                self._opened[row.id] = key
                found.append(SigningKey(row.id, key, row.signs_from, row.signs_until))
        return found

    async def _make(self, signs_from: datetime) -> None:
        """Of two who do this at once only one decides. Takes a third of a second, beside the event loop."""
        key = await asyncio.to_thread(RSAKey.generate_key, KEY_BITS)
        signs_until = signs_from + SIGNS
        row = {
            "id": key.thumbprint(),
            "sealed": self._box.encrypt(key.as_pem(private=True)),
            "signs_from": signs_from,
            "signs_until": signs_until,
            "ends_at": signs_until + KNOWN_AFTER,
        }
        async with self._database.begin() as connection:
            await connection.execute(upsert(openid_key).values(**row).on_conflict_do_nothing())

    def _open(self, key_id: str, sealed: bytes) -> RSAKey | None:
        about: KeyParameters = {"kid": key_id, "use": "sig", "alg": ALGORITHM}
        try:
            return RSAKey.import_key(self._box.decrypt(sealed), about)
        except InvalidToken:
            return None


def published(keys: Sequence[SigningKey]) -> dict[str, list[dict[str, Any]]]:
    """The set of public keys, as clients read it (RFC 7517)."""
    return {"keys": [key.key.as_dict(private=False) for key in keys]}


async def forget(connection: AsyncConnection, now: datetime) -> None:
    """Those whose signatures count no more."""
    await connection.execute(delete(openid_key).where(openid_key.c.ends_at <= now))


def _signing(keys: Sequence[SigningKey], now: datetime) -> SigningKey | None:
    """The newest of those whose time it is."""
    return next((key for key in reversed(keys) if key.signs_from <= now < key.signs_until), None)
