"""Looks through what was seen, puts on the list what is strange, and suspends where the operator wants that."""

from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity import sessions
from appliance.identity.places import Places
from appliance.identity.tables import person, session
from appliance.mail import queue
from appliance.review import findings, rules, sightings
from appliance.review.letters import FOUND, reasons
from appliance.review.rules import SignIn, Strange
from appliance.review.sightings import HOUR
from appliance.review.tables import finding
from appliance.settings import ReviewSettings, Signal
from appliance.texts import ENGLISH, speaker
from billing.clock import Clock
from billing.customers.standing import Standings
from billing.database.db import Database
from billing.database.tables import account
from billing.errors import Conflict, NotFound

ACTOR = "appliance"


class Review:
    """``operator`` is where mail about new findings goes; nowhere if it is empty. Raises DatabaseUnavailable."""

    def __init__(
        self,
        database: Database,
        standings: Standings,
        places: Places,
        settings: ReviewSettings,
        operator: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._standings = standings
        self._places = places
        self._settings = settings
        self._operator = operator
        self._clock = clock

    async def run_once(self) -> int:
        """How many findings are new."""
        now, new = self._clock(), 0
        async with self._database.begin() as connection:
            for one in await self._strange(connection, now):
                to_suspend = one.signal in self._settings.suspend
                found = await findings.record(connection, one, now, to_suspend=to_suspend)
                if found is not None:
                    new += 1
                    if self._operator:
                        await queue.enqueue(connection, FOUND, self._operator, ENGLISH, now, found)
        await self._suspend()
        return new

    async def forget(self, connection: AsyncConnection, now: datetime) -> None:
        """What is older than it is kept."""
        before = now - timedelta(days=self._settings.keep_days)
        await sightings.forget(connection, before)
        await findings.forget(connection, before)

    async def _strange(self, connection: AsyncConnection, now: datetime) -> list[Strange]:
        closed = await findings.last_closed(connection)
        limits = self._settings
        since = sightings.hour_of(now) - rules.WINDOW + HOUR
        seen = await sightings.striking(connection, since, networks=limits.networks, refused=limits.refused)
        arrived = await self._sign_ins(connection, now - rules.longest_journey(limits))

        def counts(signal: Signal, account_id: int, at: datetime) -> bool:
            """Not what an operator found harmless, as long as that is remembered, nor what was dealt with."""
            known = closed.get((account_id, signal))
            return known is None or (known.outcome == "dealt_with" and at >= known.at)

        return rules.strangest(
            (
                *rules.many_networks((it for it in seen if counts("networks", it.account_id, it.hour)), limits),
                *rules.many_refused((it for it in seen if counts("refused", it.account_id, it.hour)), limits),
                *rules.impossible_travel((it for it in arrived if counts("travel", it.account_id, it.at)), limits),
            )
        )

    async def _sign_ins(self, connection: AsyncConnection, since: datetime) -> list[SignIn]:
        """Of customers in good standing, as far as it is known where they were."""
        query = (
            select(session.c.account_id, session.c.created_at, session.c.network)
            .join(account, account.c.id == session.c.account_id)
            .where(session.c.created_at >= since, ~session.c.incomplete)
            .where(account.c.role == "customer", account.c.status == "active")
        )
        found = []
        for account_id, at, network in await connection.execute(query):
            place = self._places.of(network)
            if place is not None and place.point is not None:
                point = place.point
                found.append(SignIn(account_id, at, network, place.country, point.latitude, point.longitude))
        return found

    async def _suspend(self) -> None:
        """Each finding that is to, once: an account that is opened again stays open until there is a new one."""
        due = select(finding.c.id, finding.c.account_id, finding.c.signal, person.c.language)
        due = due.join(person, person.c.account_id == finding.c.account_id, isouter=True)
        async with self._database.begin() as connection:
            rows = (await connection.execute(due.where(finding.c.to_suspend))).all()
        for row in rows:
            reason = reasons(speaker(row.language or ENGLISH))[row.signal]
            still = select(finding.c.to_suspend).where(finding.c.id == row.id)
            async with self._database.begin() as connection:
                if not (await connection.execute(still)).scalar_one_or_none():
                    continue  # an operator was quicker
            with suppress(Conflict, NotFound):  # it is closed already
                await self._standings.suspend(row.account_id, ACTOR, reason)
            async with self._database.begin() as connection:
                await sessions.end_all(connection, row.account_id)
                is_done = update(finding).where(finding.c.id == row.id).values(to_suspend=False)
                await connection.execute(is_done)
