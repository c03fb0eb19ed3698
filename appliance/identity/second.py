"""The second factor: a code from an authenticator (TOTP, RFC 6238), or one of ten that were written down.

A session begins without it, and is good for nothing else until it was given. A code counts once: the step of time
that it is of must be later than the last that was used.
"""

import base64
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyotp
from cryptography.fernet import Fernet
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity import sessions
from appliance.identity.credentials import Credentials
from appliance.identity.errors import WrongCredentials
from appliance.identity.sessions import Signed
from appliance.identity.tables import authenticator, person, recovery_code
from appliance.identity.throttle import Rate, Throttle
from appliance.identity.tokens import digest
from appliance.mail import queue
from billing.clock import Clock
from billing.database.db import Database

STEP_SECONDS = 30
DRIFT_STEPS = 1
"""A clock may be so far off, before and after."""
CODES, CODE_BYTES, GROUP = 10, 16, 4
TRIES = Rate(5, timedelta(minutes=1))
SECOND_FACTOR_ON, SECOND_FACTOR_OFF = "second factor on", "second factor off"
RECOVERY_CODE_USED = "recovery code used"
"""Kinds of mail; they are about the account."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What an authenticator is given: as text, and as the address in the picture that it scans."""

    secret: str
    uri: str


class SecondFactor:
    """Raises WrongCredentials, TooManyTries, DatabaseUnavailable."""

    def __init__(
        self, database: Database, credentials: Credentials, throttle: Throttle, pepper: bytes, clock: Clock
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._throttle = throttle
        self._clock = clock
        self._box = Fernet(base64.urlsafe_b64encode(hmac.digest(pepper, b"authenticators", "sha256")))

    async def set_up(self, signed: Signed, password: str, service: str, code: str = "") -> Setup:
        """A new secret, which counts when a code of it was given. One that counts already goes on until then.

        ``code`` is of the one that counts already: nobody replaces it who does not have it.
        """
        await self._credentials.confirm(signed, password)
        await self._spend(signed, self._clock())
        secret = pyotp.random_base32()
        sealed = self._box.encrypt(secret.encode())
        values = {"account_id": signed.account_id, "wanted": sealed}
        statement = upsert(authenticator).values(**values)
        again = statement.on_conflict_do_update(index_elements=["account_id"], set_={"wanted": sealed})
        async with self._database.begin() as connection:
            await sessions.hold(connection, signed)
            if await is_wanted(connection, signed.account_id):
                await self._check(connection, signed, code, self._clock())
            await connection.execute(again)
        return Setup(secret, pyotp.TOTP(secret, name=signed.email, issuer=service).provisioning_uri())

    async def begin(self, signed: Signed, code: str) -> list[str]:
        """It counts from now on. The recovery codes, which are shown once and replace those before."""
        sessions.must_be_complete(signed)
        now, codes = self._clock(), [_new_code() for _ in range(CODES)]
        await self._spend(signed, now)
        async with self._database.begin() as connection:
            await sessions.hold(connection, signed)
            mine = authenticator.c.account_id == signed.account_id
            row = (await connection.execute(select(authenticator).where(mine).with_for_update())).one_or_none()
            step = None if row is None or row.wanted is None else self._step_of(row.wanted, code, now, after=0)
            if row is None or step is None:
                raise WrongCredentials("This code is not right. Please wait for the next one.")
            await connection.execute(
                update(authenticator).where(mine).values(secret=row.wanted, wanted=None, last_step=step)
            )
            await _write_codes(connection, signed.account_id, codes)
            await sessions.end_all(connection, signed.account_id, but=signed.session_id)
            await _tell(connection, signed.account_id, SECOND_FACTOR_ON, now)
        return codes

    async def enter(self, signed: Signed, code: str) -> str:
        """The token of the session, which is good for everything now; the one before it is worth nothing."""
        now = self._clock()
        await self._spend(signed, now)
        async with self._database.begin() as connection:
            await sessions.hold(connection, signed)
            await self._check(connection, signed, code, now)
            return await sessions.complete(connection, signed.session_id)

    async def turn_off(self, signed: Signed, password: str, code: str) -> None:
        await self._credentials.confirm(signed, password)
        now = self._clock()
        await self._spend(signed, now)
        async with self._database.begin() as connection:
            await sessions.hold(connection, signed)
            await self._check(connection, signed, code, now)
            for table in (authenticator, recovery_code):
                await connection.execute(delete(table).where(table.c.account_id == signed.account_id))
            await _tell(connection, signed.account_id, SECOND_FACTOR_OFF, now)

    async def codes_left(self, signed: Signed) -> int:
        query = select(func.count()).where(recovery_code.c.account_id == signed.account_id)
        async with self._database.begin() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def _spend(self, signed: Signed, now: datetime) -> None:
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, TRIES, now, "second", str(signed.account_id))

    async def _check(self, connection: AsyncConnection, signed: Signed, code: str, now: datetime) -> None:
        """Uses the code up. Raises WrongCredentials."""
        mine = authenticator.c.account_id == signed.account_id
        row = (await connection.execute(select(authenticator).where(mine).with_for_update())).one_or_none()
        if row is not None and row.secret is not None:
            step = self._step_of(row.secret, code, now, after=row.last_step)
            if step is not None:
                await connection.execute(update(authenticator).where(mine).values(last_step=step))
                return
            used = delete(recovery_code).where(
                recovery_code.c.account_id == signed.account_id, recovery_code.c.digest == _digest(code)
            )
            if (await connection.execute(used)).rowcount:
                await _tell(connection, signed.account_id, RECOVERY_CODE_USED, now)
                return
        raise WrongCredentials("This code is not right. Please wait for the next one.")

    def _step_of(self, sealed: bytes, code: str, now: datetime, *, after: int) -> int | None:
        """The step of time that the code is of, if it is one of now, and later than ``after``."""
        totp = pyotp.TOTP(self._box.decrypt(sealed).decode(), interval=STEP_SECONDS)
        this, given = int(now.timestamp()) // STEP_SECONDS, "".join(code.split())
        found = None
        for step in range(this - DRIFT_STEPS, this + DRIFT_STEPS + 1):
            right = hmac.compare_digest(totp.generate_otp(step).encode(), given.encode("utf-8", "replace"))
            if right and step > after:
                found = step
        return found


async def is_wanted(connection: AsyncConnection, account_id: int) -> bool:
    """Whether the account has a second factor that counts."""
    query = select(authenticator.c.secret.is_not(None)).where(authenticator.c.account_id == account_id)
    return bool((await connection.execute(query)).scalar_one_or_none())


async def _write_codes(connection: AsyncConnection, account_id: int, codes: list[str]) -> None:
    await connection.execute(delete(recovery_code).where(recovery_code.c.account_id == account_id))
    rows = [{"account_id": account_id, "digest": _digest(code)} for code in codes]
    await connection.execute(insert(recovery_code), rows)


async def _tell(connection: AsyncConnection, account_id: int, kind: str, now: datetime) -> None:
    query = select(person.c.email, person.c.language).where(person.c.account_id == account_id)
    owner = (await connection.execute(query)).one()
    await queue.enqueue(connection, kind, owner.email, owner.language, now, account_id)


def _new_code() -> str:
    """128 random bits, in groups that can be written down: so many need no salt and no slow hash."""
    letters = base64.b32encode(secrets.token_bytes(CODE_BYTES)).decode().rstrip("=").lower()
    return "-".join(letters[at : at + GROUP] for at in range(0, len(letters), GROUP))


def _digest(code: str) -> bytes:
    """However it is written: in large letters, with or without the dashes."""
    return digest("".join(code.split()).replace("-", "").lower())
