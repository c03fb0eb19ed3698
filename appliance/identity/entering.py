"""Signing in: by a password, and then by the second factor where there is one; or by a passkey, which is both.

What a stranger tries is slowed down, and the owner still gets in.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity import passkeys, sessions
from appliance.identity.arrivals import NEW_COUNTRY, NEW_DEVICE, is_elsewhere
from appliance.identity.devices import Devices
from appliance.identity.emails import compared
from appliance.identity.errors import WrongCredentials
from appliance.identity.origin import Origin
from appliance.identity.passkeys import Passkeys
from appliance.identity.passwords import Passwords
from appliance.identity.places import Places
from appliance.identity.proofs import is_wanted
from appliance.identity.tables import person
from appliance.identity.throttle import Rate, Throttle
from appliance.mail import queue
from billing.clock import Clock
from billing.database.db import Database
from billing.database.tables import account

FROM_ONE_NETWORK = Rate(30, timedelta(seconds=10))
BY_STRANGERS = Rate(10, timedelta(minutes=1))
"""For one account, from browsers that it does not know."""
FROM_ONE_DEVICE = Rate(10, timedelta(minutes=1))


@dataclass(frozen=True, slots=True)
class Entered:
    """What goes into the two cookies: the session's token, and the name by which the browser is known later."""

    session: str
    device: str
    incomplete: bool
    """The second factor is to be given."""


class Entering:
    """Raises WrongCredentials, TooManyTries, DatabaseUnavailable."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        passkeys: Passkeys,
        throttle: Throttle,
        devices: Devices,
        places: Places,
        clock: Clock,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._passkeys = passkeys
        self._throttle = throttle
        self._devices = devices
        self._places = places
        self._clock = clock

    async def sign_in(self, email: str, password: str, origin: Origin, device: str | None = None) -> Entered:
        """The same is done, and takes as long, whether or not there is such an account."""
        now, email_key = self._clock(), compared(email)
        named = person.c.email_key == email_key
        async with self._database.begin() as connection:
            found = await _find(connection, named, lock=False)
            known = self._devices.name_of(device, found.account_id, found.password) if found else None
            if known:
                await self._throttle.spend(connection, FROM_ONE_DEVICE, now, "enter by", known)
            else:
                await self._throttle.spend(connection, FROM_ONE_NETWORK, now, "enter from", origin.network)
                await self._throttle.spend(connection, BY_STRANGERS, now, "enter as", email_key)
        right = await self._passwords.is_right(password, found.password if found else None)
        async with self._database.begin() as connection:
            if not right or found is None or await _find(connection, named, lock=True) != found:
                raise WrongCredentials("The email or the password is not right.")
            wanted = await is_wanted(connection, found.account_id)
            return await self._begin(connection, found, origin, device, incomplete=wanted)

    async def by_passkey(self, given: str, origin: Origin, device: str | None = None) -> Entered:
        """``given`` is what the passkey signed, as JSON. It is both factors."""
        now = self._clock()
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, FROM_ONE_NETWORK, now, "enter from", origin.network)
        async with self._database.begin() as connection:
            account_id = await passkeys.owner(connection, given)
            found = await _find(connection, person.c.account_id == account_id, lock=True)
            if found is None:
                raise WrongCredentials("This passkey is not known here.")
            await self._passkeys.use(connection, found.account_id, None, given, now)
            return await self._begin(connection, found, origin, device, incomplete=False)

    async def _begin(
        self,
        connection: AsyncConnection,
        found: "_Person",
        origin: Origin,
        device: str | None,
        *,
        incomplete: bool,
    ) -> Entered:
        """The owner hears of a browser that the account does not know, and of one that it knows elsewhere."""
        now, owner = self._clock(), found.account_id
        known = self._devices.name_of(device, owner, found.password)
        elsewhere = known is not None and await is_elsewhere(connection, self._places, owner, origin)
        token = await sessions.begin(connection, owner, found.role, origin, now, incomplete=incomplete)
        if known is None or elsewhere:
            about = await sessions.id_of(connection, token)
            await queue.enqueue(
                connection, NEW_COUNTRY if known else NEW_DEVICE, found.email, found.language, now, about
            )
        if known is None or device is None:
            device = self._devices.new(owner, found.password)
        return Entered(token, device, incomplete)


@dataclass(frozen=True, slots=True)
class _Person:
    account_id: int
    email: str
    language: str
    password: str
    role: str


async def _find(connection: AsyncConnection, which: ColumnElement[bool], *, lock: bool) -> _Person | None:
    """``lock``: nothing about how they sign in changes until the transaction ends.

    A lock is written to the log of the database, which takes time: where it would tell who has an account, none.
    """
    columns = (person.c.account_id, person.c.email, person.c.language, person.c.password)
    query = (
        select(*columns, account.c.role)
        .join(account, account.c.id == person.c.account_id)
        .where(which, person.c.password.is_not(None))
    )
    if lock:
        query = query.with_for_update(read=True, of=person)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _Person(**row)
