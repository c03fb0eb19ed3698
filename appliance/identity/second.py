"""The second factor is set up, given and turned off: an authenticator, passkeys, or both.

A session begins without it, and is good for nothing else until it was given. To change anything about it takes the
password, and the factor that counts already: a session that was left open is not enough.
"""

from dataclasses import dataclass
from datetime import datetime

import pyotp
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity import passkeys, recovery, sessions
from appliance.identity.credentials import Credentials
from appliance.identity.errors import WrongCredentials
from appliance.identity.origin import Origin
from appliance.identity.passkeys import Passkey, Passkeys
from appliance.identity.proofs import Authenticators, Proofs, is_wanted, tell
from appliance.identity.sessions import Signed
from appliance.identity.tables import authenticator
from billing.clock import Clock
from billing.database.db import Database

SECOND_FACTOR_ON, SECOND_FACTOR_OFF = "second factor on", "second factor off"
PASSKEY_ADDED, PASSKEY_REMOVED = "passkey added", "passkey removed"
"""Kinds of mail; they are about the account."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What an authenticator is given: as text, and as the address in the picture that it scans."""

    secret: str
    uri: str


@dataclass(frozen=True, slots=True)
class Factors:
    """What somebody has, as it is shown."""

    authenticator: bool
    passkeys: list[Passkey]
    codes_left: int


class SecondFactor:
    """``given`` is a code, or what a passkey signed. Raises IdentityError, DatabaseUnavailable."""

    def __init__(
        self,
        database: Database,
        credentials: Credentials,
        proofs: Proofs,
        authenticators: Authenticators,
        passkeys: Passkeys,
        clock: Clock,
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._proofs = proofs
        self._authenticators = authenticators
        self._passkeys = passkeys
        self._clock = clock

    async def factors(self, signed: Signed) -> Factors:
        async with self._database.begin() as connection:
            by_code = await _has_authenticator(connection, signed.account_id)
            mine = await passkeys.of(connection, signed.account_id)
            return Factors(by_code, mine, await recovery.left(connection, signed.account_id))

    async def enter(self, signed: Signed, given: str) -> str:
        """The token of the session, which is good for everything now; the one before it is worth nothing."""
        now = self._clock()
        await self._proofs.spend(signed, now)
        async with self._database.begin() as connection:
            await sessions.hold(connection, signed)
            await self._proofs.check(connection, signed, given, now)
            return await sessions.complete(connection, signed.session_id, signed.account_id)

    async def set_up(self, signed: Signed, password: str, service: str, given: str = "") -> Setup:
        """A new secret, which counts when a code of it was given. One that counts already goes on until then."""
        now = await self._confirm(signed, password)
        secret = pyotp.random_base32()
        sealed = self._authenticators.seal(secret)
        values = {"account_id": signed.account_id, "wanted": sealed}
        statement = upsert(authenticator).values(**values)
        again = statement.on_conflict_do_update(index_elements=["account_id"], set_={"wanted": sealed})
        async with self._database.begin() as connection:
            await sessions.hold(connection, signed)
            await self._proofs.check_if_wanted(connection, signed, given, now)
            await connection.execute(again)
        return Setup(secret, pyotp.TOTP(secret, name=signed.email, issuer=service).provisioning_uri())

    async def begin(self, signed: Signed, code: str) -> list[str]:
        """It counts from now on. The recovery codes, which are shown once and replace those before."""
        sessions.must_be_complete(signed)
        now = self._clock()
        await self._proofs.spend(signed, now)
        async with self._database.begin() as connection:
            await sessions.hold(connection, signed)
            mine = authenticator.c.account_id == signed.account_id
            row = (await connection.execute(select(authenticator).where(mine).with_for_update())).one_or_none()
            wanted = None if row is None else row.wanted
            step = None if wanted is None else self._authenticators.step_of(wanted, code, now, after=0)
            if step is None:
                raise WrongCredentials("This code is not right. Please wait for the next one.")
            values = {"secret": wanted, "wanted": None, "last_step": step}
            await connection.execute(update(authenticator).where(mine).values(**values))
            await sessions.end_all(connection, signed.account_id, but=signed.session_id)
            await tell(connection, signed.account_id, SECOND_FACTOR_ON, now)
            return await recovery.renew(connection, signed.account_id)

    async def turn_off(self, signed: Signed, password: str, given: str) -> None:
        """The authenticator; passkeys stay."""
        now = await self._confirm(signed, password)
        async with self._database.begin() as connection:
            await sessions.hold(connection, signed)
            await self._proofs.check(connection, signed, given, now)
            mine = authenticator.c.account_id == signed.account_id
            if not (await connection.execute(delete(authenticator).where(mine))).rowcount:
                raise WrongCredentials("There is no authenticator.")
            await self._after_one_is_gone(connection, signed, SECOND_FACTOR_OFF, now)

    async def ask_passkey(self, signed: Signed | None, origin: Origin) -> str:
        """What a browser gives to a passkey that is to be used: of whoever is signed in, or of anybody."""
        async with self._database.begin() as connection:
            return await self._passkeys.to_use(connection, signed, origin, self._clock())

    async def ask_new_passkey(self, signed: Signed, password: str, given: str = "") -> str:
        """What a browser gives to a passkey that is to be made."""
        now = await self._confirm(signed, password)
        async with self._database.begin() as connection:
            await sessions.hold(connection, signed)
            await self._proofs.check_if_wanted(connection, signed, given, now)
            return await self._passkeys.to_add(connection, signed, now)

    async def add_passkey(self, signed: Signed, name: str, made: str) -> list[str]:
        """It counts from now on. Recovery codes, if it is the first factor: they are shown once.

        ``made`` answers what ``ask_new_passkey`` gave, in this session. Raises InvalidPersonName too.
        """
        sessions.must_be_complete(signed)
        now, codes = self._clock(), list[str]()
        async with self._database.begin() as connection:
            await sessions.hold(connection, signed)
            first = not await is_wanted(connection, signed.account_id)
            await self._passkeys.add(connection, signed, name, made, now)
            if first:
                codes = await recovery.renew(connection, signed.account_id)
                await sessions.end_all(connection, signed.account_id, but=signed.session_id)
            await tell(connection, signed.account_id, PASSKEY_ADDED, now)
        return codes

    async def remove_passkey(self, signed: Signed, passkey_id: int, password: str, given: str) -> None:
        now = await self._confirm(signed, password)
        async with self._database.begin() as connection:
            await sessions.hold(connection, signed)
            await self._proofs.check(connection, signed, given, now)
            if not await passkeys.remove(connection, signed.account_id, passkey_id):
                raise WrongCredentials("There is no such passkey.")
            await self._after_one_is_gone(connection, signed, PASSKEY_REMOVED, now)

    async def _confirm(self, signed: Signed, password: str) -> datetime:
        await self._credentials.confirm(signed, password)
        now = self._clock()
        await self._proofs.spend(signed, now)
        return now

    async def _after_one_is_gone(
        self, connection: AsyncConnection, signed: Signed, kind: str, now: datetime
    ) -> None:
        """An operator keeps one. Raises WrongCredentials."""
        if not await is_wanted(connection, signed.account_id):
            if signed.role == "operator":
                raise WrongCredentials("An operator needs a second factor. Please add another one first.")
            await recovery.drop(connection, signed.account_id)
        await tell(connection, signed.account_id, kind, now)


async def _has_authenticator(connection: AsyncConnection, account_id: int) -> bool:
    query = select(authenticator.c.secret.is_not(None)).where(authenticator.c.account_id == account_id)
    return bool((await connection.execute(query)).scalar_one_or_none())
