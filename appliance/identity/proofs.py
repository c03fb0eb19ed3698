"""The second factor as it is given: a code (of an authenticator by TOTP, RFC 6238, or a recovery code), or what a
passkey signed.

Each counts once: a code's step of time must be later than the last that was used, a recovery code is deleted, and
what a passkey signs is asked for anew each time.
"""

import base64
import hmac
from datetime import datetime, timedelta

import pyotp
from cryptography.fernet import Fernet
from sqlalchemy import literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity import recovery
from appliance.identity.errors import WrongCredentials
from appliance.identity.passkeys import Passkeys, is_passkeys
from appliance.identity.sessions import Signed, has_second_factor
from appliance.identity.tables import authenticator, person
from appliance.identity.throttle import Rate, Throttle
from appliance.mail import queue
from billing.database.db import Database

STEP_SECONDS = 30
DRIFT_STEPS = 1
"""A clock may be so far off, before and after."""
TRIES = Rate(5, timedelta(minutes=1))
RECOVERY_CODE_USED = "recovery code used"
"""A kind of mail; it is about the account."""


class Authenticators:
    """Their secrets are encrypted with a key that is not in the database."""

    def __init__(self, pepper: bytes) -> None:
        self._box = Fernet(base64.urlsafe_b64encode(hmac.digest(pepper, b"authenticators", "sha256")))

    def seal(self, secret: str) -> bytes:
        return self._box.encrypt(secret.encode())

    def step_of(self, sealed: bytes, code: str, now: datetime, *, after: int) -> int | None:
        """The step of time that the code is of, if it is one of now, and later than ``after``."""
        totp = pyotp.TOTP(self._box.decrypt(sealed).decode(), interval=STEP_SECONDS)
        this, given = int(now.timestamp()) // STEP_SECONDS, "".join(code.split())
        found = None
        for step in range(this - DRIFT_STEPS, this + DRIFT_STEPS + 1):
            right = hmac.compare_digest(totp.generate_otp(step).encode(), given.encode("utf-8", "replace"))
            if right and step > after:
                found = step
        return found


class Proofs:
    """``given`` is a code, or what a passkey signed, as JSON."""

    def __init__(
        self, database: Database, throttle: Throttle, authenticators: Authenticators, passkeys: Passkeys
    ) -> None:
        self._database = database
        self._throttle = throttle
        self._authenticators = authenticators
        self._passkeys = passkeys

    async def spend(self, signed: Signed, now: datetime) -> None:
        """A try, in a transaction of its own: one that fails has been one. Raises TooManyTries."""
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, TRIES, now, "second", str(signed.account_id))

    async def check(self, connection: AsyncConnection, signed: Signed, given: str, now: datetime) -> None:
        """Uses it up. Raises WrongCredentials."""
        if is_passkeys(given):
            await self._passkeys.use(connection, signed.account_id, signed.session_id, given, now)
            return
        mine = authenticator.c.account_id == signed.account_id
        row = (await connection.execute(select(authenticator).where(mine).with_for_update())).one_or_none()
        if row is not None and row.secret is not None:
            step = self._authenticators.step_of(row.secret, given, now, after=row.last_step)
            if step is not None:
                await connection.execute(update(authenticator).where(mine).values(last_step=step))
                return
        if not await recovery.use(connection, signed.account_id, given):
            raise WrongCredentials("This code is not right. Please wait for the next one.")
        await tell(connection, signed.account_id, RECOVERY_CODE_USED, now)

    async def check_if_wanted(
        self, connection: AsyncConnection, signed: Signed, given: str, now: datetime
    ) -> None:
        if await is_wanted(connection, signed.account_id):
            await self.check(connection, signed, given, now)


async def is_wanted(connection: AsyncConnection, account_id: int) -> bool:
    """Whether the account has a second factor that counts."""
    query = select(has_second_factor(literal(account_id)))
    return bool((await connection.execute(query)).scalar_one())


async def tell(connection: AsyncConnection, account_id: int, kind: str, now: datetime) -> None:
    """The account's owner, by mail."""
    query = select(person.c.email, person.c.language).where(person.c.account_id == account_id)
    owner = (await connection.execute(query)).one()
    await queue.enqueue(connection, kind, owner.email, owner.language, now, account_id)
