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
from billing.database.db import Database, fetch
from billing.database.tables import account

FROM_ONE_NETWORK = Rate(30, timedelta(seconds=10))
BY_STRANGERS = Rate(10, timedelta(minutes=1))
"""For one account, from browsers that it does not know."""
FROM_ONE_DEVICE = Rate(10, timedelta(minutes=1))
BY_DEVICES = Rate(20, timedelta(seconds=6))
"""For one account, by all browsers that it knows: whoever has many of them keeps nobody else waiting."""
BY_PASSKEY = Rate(60, timedelta(seconds=2))
"""From one network. To check one takes a millisecond."""
_LOOK = """
SELECT max(account_id) AS account_id, max(password) AS password
FROM person WHERE email_key = $1 AND password IS NOT NULL
"""


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
        async with self._database.begin() as connection:
            account_id, hashed = await _look(connection, email_key)
            known = self._devices.name_of(device, account_id or 0, hashed or "")
            if known:
                await self._throttle.spend(connection, FROM_ONE_DEVICE, now, "enter by", known)
                await self._throttle.spend(connection, BY_DEVICES, now, "enter known", str(account_id))
            else:
                self._passwords.must_have_room()
                await self._throttle.spend(connection, FROM_ONE_NETWORK, now, "enter from", origin.network)
                await self._throttle.spend(connection, BY_STRANGERS, now, "enter as", email_key)
        right = await self._passwords.is_right(password, hashed, stranger=not known)
        async with self._database.begin() as connection:
            found = await _hold(connection, person.c.email_key == email_key) if right else None
            if found is None or (found.account_id, found.password) != (account_id, hashed):
                raise WrongCredentials("The email or the password is not right.")
            wanted = await is_wanted(connection, found.account_id)
            return await self._begin(connection, found, origin, device, incomplete=wanted)

    async def by_passkey(self, given: str, origin: Origin, device: str | None = None) -> Entered:
        """``given`` is what the passkey signed, as JSON. It is both factors."""
        now = self._clock()
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, BY_PASSKEY, now, "passkey from", origin.network)
        async with self._database.begin() as connection:
            account_id = await passkeys.owner(connection, given)
            found = await _hold(connection, person.c.account_id == account_id)
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


async def _look(connection: AsyncConnection, email_key: str) -> tuple[int | None, str | None]:
    """The account and its password's hash; of an email without an account, a row with none of both.

    A row more or less takes time, and so does a lock, which is written to the database's log: that would tell.
    """
    (row,) = await fetch(connection, _LOOK, email_key)
    return row.account_id, row.password


async def _hold(connection: AsyncConnection, which: ColumnElement[bool]) -> _Person | None:
    """Nothing about how they sign in changes until the transaction ends."""
    columns = (person.c.account_id, person.c.email, person.c.language, person.c.password)
    query = (
        select(*columns, account.c.role)
        .join(account, account.c.id == person.c.account_id)
        .where(which, person.c.password.is_not(None))
        .with_for_update(read=True, of=person)
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _Person(**row)
