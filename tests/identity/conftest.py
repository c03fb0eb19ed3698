"""A house with a door: everything of identity over one database, and the mail that waits in it."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import select

from appliance.identity import credentials, joining, sessions
from appliance.identity.credentials import Credentials
from appliance.identity.devices import Devices
from appliance.identity.entering import Entered, Entering
from appliance.identity.joining import Form, Joining
from appliance.identity.origin import Origin
from appliance.identity.passkeys import Passkeys
from appliance.identity.passwords import Cost, Passwords
from appliance.identity.places import Places
from appliance.identity.proofs import Authenticators, Proofs
from appliance.identity.second import SecondFactor
from appliance.identity.tables import applicant
from appliance.identity.throttle import Throttle
from appliance.mail import queue
from billing.database.db import Database
from tests.billing.conftest import TurnedClock

PASSWORD = "correct horse battery staple"
PEPPER = b"p" * 32
ADDRESS = "https://site.example"
HOME = Origin("192.0.2.17", "Firefox on Linux")


@pytest.fixture
def passwords() -> Passwords:
    """Quick ones: most tests are not about what a hash costs."""
    return Passwords(Cost(passes=1, memory_kib=64, lanes=1))


@dataclass
class Door:
    database: Database
    passwords: Passwords
    clock: TurnedClock = field(default_factory=TurnedClock)
    places: Places = field(default_factory=lambda: Places(None))

    def __post_init__(self) -> None:
        throttle = Throttle(PEPPER)
        self.joining = Joining(self.database, self.passwords, throttle, self.clock)
        devices = Devices(PEPPER)
        authenticators, passkeys = Authenticators(PEPPER), Passkeys(ADDRESS, "The Service", throttle, PEPPER)
        proofs = Proofs(self.database, throttle, authenticators, passkeys)
        self.entering = Entering(
            self.database, self.passwords, passkeys, throttle, devices, self.places, self.clock
        )
        self.credentials = Credentials(self.database, self.passwords, proofs, throttle, devices, self.clock)
        self.second = SecondFactor(self.database, self.credentials, proofs, authenticators, passkeys, self.clock)

    async def apply(
        self, email: str = "ada@example.com", origin: Origin = HOME, *, name: str = "Ada", password: str = PASSWORD
    ) -> str:
        return await self.joining.apply(Form(name, email, password, "en", "2025-10-28"), origin)

    async def mail(self) -> list[queue.Mail]:
        """All that waits, taken as if it were sent."""
        found = []
        async with self.database.begin() as connection:
            while (one := await queue.claim(connection, self.clock())) is not None:
                await queue.done(connection, one)
                found.append(one)
        return found

    async def link(self) -> str | None:
        """What the newest mail that asks for confirmation would have in it."""
        (*_, one) = [one for one in await self.mail() if one.kind == joining.CONFIRM_EMAIL]
        assert one.about is not None
        async with self.database.begin() as connection:
            return await joining.new_link(connection, one.about, self.clock())

    async def reset_link(self, email: str = "ada@example.com") -> str | None:
        """Of the mail to whoever forgot a password; None if there is nobody to send it to."""
        (one,) = await self.mail()
        assert (one.kind, one.email) == (credentials.RESET_PASSWORD, email)
        async with self.database.begin() as connection:
            found = await credentials.new_reset_link(connection, one.email, self.clock())
        return None if found is None else found[0]

    async def email_link(self) -> str | None:
        """Of the mail to a new address. The old one is told too."""
        one, told = await self.mail()
        assert (one.kind, told.kind) == (credentials.CONFIRM_CHANGE, credentials.EMAIL_CHANGE_ASKED)
        assert one.about is not None
        async with self.database.begin() as connection:
            return await credentials.new_email_link(connection, one.about, one.email, self.clock())

    async def join(self, email: str = "ada@example.com") -> Entered:
        """Somebody with an account, who has signed in once."""
        browser = await self.apply(email, Origin(f"198.51.{uuid.uuid4().int % 256}.1", "x"))
        link = await self.link()
        assert link is not None
        await self.joining.confirm(link, HOME, browser=browser)
        entered = await self.entering.sign_in(email, PASSWORD, HOME)
        await self.mail()
        return entered

    async def signed(self, token: str) -> sessions.Signed | None:
        async with self.database.begin() as connection:
            return await sessions.find(connection, token, self.clock())

    async def applicants(self) -> int:
        async with self.database.begin() as connection:
            return len((await connection.execute(select(applicant.c.id))).all())


@pytest.fixture
async def door(fresh_url: str, passwords: Passwords) -> AsyncIterator[Door]:
    database = Database(fresh_url, pool_size=8)
    yield Door(database, passwords)
    await database.close()
