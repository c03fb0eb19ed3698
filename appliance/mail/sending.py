"""The queue is sent: each mail written when its turn comes, and tried until it is somebody else's.

A mail is sent at least once. Who is killed between the sending and the note of it sends it again.
"""

import logging
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.mail import queue
from appliance.mail.letter import Letter, Sender, as_message
from appliance.mail.queue import Mail
from appliance.mail.way import Never, NotNow, Way
from billing.clock import Clock
from billing.database.db import Database
from billing.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

Write = Callable[[AsyncConnection, Mail], Awaitable[Letter | None]]
"""What the mail says now; None if there is nothing to say any more. What it makes for it, a link, is kept."""


class Sending:
    def __init__(self, database: Database, way: Way, write: Write, sender: Sender, clock: Clock) -> None:
        self._database = database
        self._way = way
        self._write = write
        self._sender = sender
        self._clock = clock

    async def run_once(self) -> int:
        """All that is due; returns how many were sent. Raises DatabaseUnavailable."""
        sent = 0
        while True:
            async with self._database.begin() as connection:
                one = await queue.claim(connection, self._clock())
            if one is None:
                return sent
            try:
                async with self._database.begin() as connection:
                    letter = await self._write(connection, one)
            except DatabaseUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 -- one mail that cannot be written keeps no other
                await self._put_off(one, type(error).__name__)
                continue
            sent += await self._send(one, letter)

    async def _send(self, one: Mail, letter: Letter | None) -> bool:
        gone = letter is None
        if letter is not None:
            try:
                to = letter.to or one.email
                message = as_message(letter, self._sender, to, one.language, self._clock())
                await self._way.send(message)
            except NotNow as error:
                await self._put_off(one, str(error))
                return False
            except Never as error:
                log.warning("mail %d (%s) is refused: %s", one.id, one.kind, error)
                gone = True
            except ValueError:  # its text would say to whom
                log.error("mail %d (%s) cannot be written", one.id, one.kind)
                gone = True
        async with self._database.begin() as connection:
            await queue.done(connection, one)
        return not gone

    async def _put_off(self, one: Mail, why: str) -> None:
        async with self._database.begin() as connection:
            if await queue.put_off(connection, one, self._clock()):
                log.info("mail %d (%s) waits: %s", one.id, one.kind, why)
            else:
                log.error("mail %d (%s) is given up: %s", one.id, one.kind, why)
