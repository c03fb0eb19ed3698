"""The mail that waits goes out, by the operator's server or into the outbox."""

import logging
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.letters import Letters, Site
from appliance.identity.places import Places
from appliance.inbox.letters import KINDS as INBOX_KINDS
from appliance.inbox.letters import InboxLetters
from appliance.mail.letter import Letter, Sender
from appliance.mail.queue import Mail, backlog
from appliance.mail.sending import Sending, Write
from appliance.mail.way import Outbox, Smtp, Way
from appliance.news.letters import NewsLetters
from appliance.news.telling import NEWS, tell
from appliance.papers.letters import PaperLetters
from appliance.papers.papers import Papers
from appliance.review.letters import FOUND, ReviewLetters
from appliance.settings import Settings
from appliance.worker.metrics import WorkerMetrics
from billing.clock import Clock
from billing.database.db import Database

OUTBOX_KEPT = timedelta(days=30)

log = logging.getLogger(__name__)


class Mailing:
    def __init__(
        self, database: Database, settings: Settings, places: Places, metrics: WorkerMetrics, clock: Clock
    ) -> None:
        site = Site(settings.site.name, settings.site_url)
        sender = Sender(settings.site.name, settings.mail.sender)
        self._database = database
        self._sending = Sending(
            database, way_of(settings), writer(site, places, clock, settings.site.accent), sender, clock
        )
        self._metrics = metrics
        self._outbox = settings.outbox
        self._clock = clock

    async def run_once(self) -> None:
        """Raises DatabaseUnavailable."""
        async with self._database.begin() as connection:
            await tell(connection, self._clock())
        if sent := await self._sending.run_once():
            log.info("%d mails were sent", sent)
        async with self._database.begin() as connection:
            waiting, since = await backlog(connection)
        self._metrics.mails_waiting.set(waiting)
        self._metrics.mails_oldest_seconds.set(0 if since is None else (self._clock() - since).total_seconds())

    async def clear_outbox(self) -> None:
        """Of mail that was written to files: what is in it is known by now, or never will be."""
        oldest = self._clock() - OUTBOX_KEPT
        for file in self._outbox.glob("*.eml"):
            if file.stat().st_mtime < oldest.timestamp():
                file.unlink()


def writer(site: Site, places: Places, clock: Clock, accent: str) -> Write:
    """Each kind of mail is written by the room that it is of."""
    of_identity, of_inbox, of_review = Letters(site, places, clock), InboxLetters(site), ReviewLetters(site)
    of_news = NewsLetters(site, PaperLetters(site, Papers(accent)))

    async def write(connection: AsyncConnection, one: Mail) -> Letter | None:
        if one.kind == NEWS:
            return await of_news.write(connection, one)
        if one.kind == FOUND:
            return await of_review.write(connection, one)
        room = of_inbox if one.kind in INBOX_KINDS else of_identity
        return await room.write(connection, one)

    return write


def way_of(settings: Settings) -> Way:
    mail = settings.mail
    if not mail.server:
        return Outbox(settings.outbox)
    return Smtp(mail.server, mail.port, mail.security, mail.user or None, settings.mail_password)
