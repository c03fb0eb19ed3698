"""The life of a sign-on: a code, tokens for it, new tokens, what is told of a person, and the end.

Whoever is let in is decided each time anew, as the pages of the site decide it.
"""

import base64
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity import sessions
from appliance.identity.openid import grants, tokens
from appliance.identity.openid.asking import Asked, Refused
from appliance.identity.openid.client import Client
from appliance.identity.openid.grants import CHAT_KEY_LASTS, Grant
from appliance.identity.openid.signing import Keyring, SigningKey
from appliance.identity.openid.tokens import RefreshTokens, Tokens
from appliance.identity.sessions import Signed
from billing.clock import Clock
from billing.customers.keys import renew_chat_key
from billing.database.db import Database

AGAIN_WITHIN = timedelta(seconds=30)
"""So long a refresh token that was used is answered again, by the same new one: two tabs of a browser ask at the
same time, and an answer can get lost. Used later, it is somebody else's."""


class OpenIdProvider:
    """``issuer`` is the site's address, ``may`` whether somebody who is signed in here may use the chat.

    Raises Refused, DatabaseUnavailable.
    """

    def __init__(
        self,
        database: Database,
        client: Client,
        issuer: str,
        may: Callable[[Signed], bool],
        pepper: bytes,
        clock: Clock,
    ) -> None:
        self.client = client
        self.issuer = issuer
        self.keys = Keyring(database, pepper)
        self._database = database
        self._may = may
        self._pepper = pepper
        self._refresh = RefreshTokens(pepper)
        self._clock = clock

    async def begin(self, signed: Signed, asked: Asked) -> str | None:
        """The code for somebody who may; None if the session has ended meanwhile."""
        async with self._database.begin() as connection:
            return await grants.make(connection, signed.session_id, signed.account_id, asked, self._clock())

    async def redeem(self, code: str, verifier: str, redirect_uri: str) -> Tokens:
        """For a code, once. One that comes again is somebody else's: what was made from it ends."""
        now = self._clock()
        key = await self.keys.signing(now)
        async with self._database.begin() as connection:
            grant = await grants.by_code(connection, code)
            if grant is None:
                answer: Tokens | str = "unknown code"
            elif wrong := self._wrong(grant, verifier, redirect_uri, now):
                await grants.end(connection, grant, wrong, now)
                answer = wrong
            else:
                answer = await self._begun(connection, grant, key, now)
        return _or_refused(answer)

    async def refresh(self, token: str) -> Tokens:
        """New tokens. A refresh token that was used before ends the grant, but for the seconds after its use."""
        named, now = self._refresh.read(token), self._clock()
        if named is None:
            raise Refused("invalid_grant", "unknown refresh token")
        key = await self.keys.signing(now)
        async with self._database.begin() as connection:
            grant = await grants.by_id(connection, named[0])
            if grant is None:
                answer: Tokens | str = "ended"
            elif named[1] == grant.generation:
                answer = await self._renewed(connection, grant, key, now)
            elif named[1] == grant.generation - 1 and _just_now(grant, now):
                answer = await self._for(connection, grant, grant.generation, key, now)
            else:
                await grants.end(connection, grant, answer := "used refresh token", now)
        return _or_refused(answer)

    async def who(self, access: str) -> dict[str, object] | None:
        """What is told of whoever an access token is for; None if that is over, or they may no more."""
        now = self._clock()
        told = tokens.read_access_token(access, await self.keys.known(now), self.issuer, now)
        if told is None:
            return None
        async with self._database.begin() as connection:
            found = await grants.session_of(connection, told.grant_id)
            signed = None if found is None else await self._let_in(connection, found[1], now)
        return None if signed is None else tokens.claims(signed)

    async def sign_out(self, signed: Signed | None, hint: str) -> bool:
        """Ends the session here of which the chat's ID token speaks: its person's, or its grant's.

        False if that is not certain, because somebody else is signed in, or the token is none.
        """
        now = self._clock()
        told = tokens.read_id_token(hint, await self.keys.known(now), self.issuer)
        if told is None or (signed is not None and signed.subject != told.subject):
            return False
        async with self._database.begin() as connection:
            here = None if signed is None else (signed.account_id, signed.session_id)
            both = {one for one in (await grants.session_of(connection, told.grant_id), here) if one is not None}
            for account_id in {account_id for account_id, _ in both}:
                await grants.lock_sessions(connection, account_id)
            for account_id, session_id in both:
                await sessions.end(connection, account_id, session_id, now)
        return True

    def _wrong(self, grant: Grant, verifier: str, redirect_uri: str, now: datetime) -> str:
        """Why a code is worth nothing; empty if it is."""
        if grant.generation:
            return "used code"
        if now >= grant.created_at + grants.CODE_LASTS:
            return "expired code"
        if redirect_uri != self.client.redirect_uri:
            return "wrong redirect_uri"
        return "" if hmac.compare_digest(challenge_of(verifier), grant.challenge) else "wrong code_verifier"

    async def _begun(
        self, connection: AsyncConnection, grant: Grant, key: SigningKey, now: datetime
    ) -> Tokens | str:
        await grants.end_older(connection, grant)
        answer = await self._for(connection, grant, 1, key, now, grant.nonce)
        if isinstance(answer, Tokens):
            await grants.begin(connection, grant, now)
        return answer

    async def _renewed(
        self, connection: AsyncConnection, grant: Grant, key: SigningKey, now: datetime
    ) -> Tokens | str:
        answer = await self._for(connection, grant, grant.generation + 1, key, now)
        if isinstance(answer, Tokens):
            await grants.renew(connection, grant, now)
        return answer

    async def _for(
        self,
        connection: AsyncConnection,
        grant: Grant,
        generation: int,
        key: SigningKey,
        now: datetime,
        nonce: str | None = None,
    ) -> Tokens | str:
        """The tokens, and a chat key that lasts; or why not, and then the grant is over."""
        signed = await self._let_in(connection, grant.session_id, now)
        if signed is None:
            await grants.end(connection, grant, "not let in", now)
            return "not let in"
        lasts = min(now + CHAT_KEY_LASTS, signed.ends_at)
        await renew_chat_key(
            connection, signed.account_id, signed.subject, self._pepper, self._clock, expires_at=lasts
        )
        return Tokens(
            access=tokens.access_token(key, self.issuer, signed, grant.id, grant.scope, now),
            id=tokens.id_token(key, self.issuer, signed, grant.id, nonce, now),
            refresh=self._refresh.new(grant.id, generation),
            scope=grant.scope,
        )

    async def _let_in(self, connection: AsyncConnection, session_id: int, now: datetime) -> Signed | None:
        signed = await sessions.by_id(connection, session_id, now)
        return signed if signed is not None and self._may(signed) else None


def challenge_of(verifier: str) -> str:
    """By S256 (RFC 7636)."""
    hashed = sha256(verifier.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(hashed).decode().rstrip("=")


def _just_now(grant: Grant, now: datetime) -> bool:
    return grant.renewed_at is not None and now - grant.renewed_at <= AGAIN_WITHIN


def _or_refused(answer: Tokens | str) -> Tokens:
    """After what it decided is written."""
    if isinstance(answer, str):
        raise Refused("invalid_grant", answer)
    return answer
