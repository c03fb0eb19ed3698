"""What the worker does, each job by itself. Every one may raise DatabaseUnavailable and is then tried again."""

import logging
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

from appliance.identity import retention
from appliance.identity.profile import subject_of
from appliance.inbox import messages
from appliance.librechat.data import ChatData, ChatUnavailable
from appliance.news.telling import notice_ends
from appliance.review.looking import Review
from appliance.worker.metrics import WorkerMetrics
from appliance.worker.reconciling import describe, read_meters
from appliance.worker.recovery import Recovery
from billing.clock import Clock
from billing.customers import accounts
from billing.customers.standing import Standings
from billing.database.db import Database
from billing.database.partitions import make_partitions
from billing.errors import Conflict
from billing.ledger.holds import look_at_holds
from billing.ledger.sweep import Sweeper
from billing.proof import rules as ledger
from billing.proof import seals as chain
from billing.proof.archive import archive_year, drop_archived_months, years_due
from billing.proof.reconciliation import reconcile
from billing.proof.seals import BrokenSeal
from billing.statements import closing
from billing.statements.closing import Closing
from billing.statements.period import Period

log = logging.getLogger(__name__)

RECENT = timedelta(days=2)


class Jobs:
    def __init__(
        self,
        database: Database,
        recovery: Recovery,
        sweeper: Sweeper,
        standings: Standings,
        metrics: WorkerMetrics,
        meters: Path,
        archive: Path,
        messages_kept: timedelta,
        review: Review,
        chat: ChatData | None,
        clock: Clock,
    ) -> None:
        """Without ``chat`` there is none whose data would go with an account."""
        self._database = database
        self._recovery = recovery
        self._sweeper = sweeper
        self._standings = standings
        self._metrics = metrics
        self._meters = meters
        self._archive = archive
        self._messages_kept = messages_kept
        self._review = review
        self._chat = chat
        self._clock = clock
        self._closed: date | None = None

    async def recover(self) -> None:
        async with self._database.begin() as connection:
            open_holds = await look_at_holds(connection)
        self._metrics.holds_open.set(open_holds.count)
        self._metrics.holds_oldest_seconds.set(_age_seconds(open_holds.oldest_at, self._clock()))
        if resolved := await self._recovery.run_once():
            log.info("%d holds without a gateway were resolved", resolved)
            self._metrics.holds_recovered.inc(resolved)

    async def sweep(self) -> None:
        if swept := await self._sweeper.run_once():
            log.info("the credit of %d lots was over", swept)

    async def make_months(self) -> None:
        async with self._database.begin() as connection:
            for name in await make_partitions(connection, self._clock):
                log.info("partition %s was made", name)

    async def seal(self) -> None:
        async with self._database.begin(timeout_seconds=None) as connection:
            await chain.without_limit(connection)
            for sealed in await chain.seal_days(connection, self._clock):
                log.info("day %s is sealed: %d records, %s", sealed.day, sealed.records, sealed.digest.hex())
            broken = await chain.verify_seals(connection, (self._clock() - RECENT).date())
        self._report_seals("recent", broken)

    async def archive(self) -> None:
        async with self._database.snapshot() as connection:
            due = await years_due(connection, self._clock)
        for year in due:
            try:
                async with self._database.begin(timeout_seconds=None) as connection:
                    archived = await archive_year(connection, year, self._archive, self._clock)
            except Conflict as error:
                log.error("%d is not archived: %s", year, error)
                break
            for one in archived:
                log.info("%d records are archived in %s, SHA-256 %s", one.records, one.file, one.digest.hex())
        async with self._database.begin() as connection:
            await drop_archived_months(connection)

    async def delete_accounts(self) -> None:
        async with self._database.begin() as connection:
            due = await accounts.due_for_deletion(connection, self._clock)
        waiting = 0
        for account_id in due:
            try:
                await self._delete_chat(account_id)
                await self._standings.delete(account_id, "appliance")
            except Conflict as error:
                log.warning("account %d is not deleted: %s", account_id, error)
            except ChatUnavailable as error:
                waiting += 1
                log.error("account %d waits to be deleted: %s", account_id, error)
            else:
                log.info("account %d is deleted", account_id)
        self._metrics.deletions_waiting.set(waiting)

    async def _delete_chat(self, account_id: int) -> None:
        """Before the account is deleted: afterwards nothing says whose it was. Raises ChatUnavailable."""
        if self._chat is None:
            return
        async with self._database.begin() as connection:
            subject = await subject_of(connection, account_id)
        if subject is not None:
            await self._chat.delete(subject)

    async def forget(self) -> None:
        """What is kept of people no longer, and those whose accounts are deleted; and what is about to end."""
        async with self._database.begin() as connection:
            now = self._clock()
            await notice_ends(connection, now)
            await messages.forget(connection, now, self._messages_kept)
            await self._review.forget(connection, now)
            if emails := await retention.forget(connection, now):
                await messages.forget_writers(connection, emails)
                log.info("people of %d emails are forgotten", len(emails))

    async def review(self) -> None:
        if found := await self._review.run_once():
            log.warning("%d findings are new on the review list", found)

    async def verify(self) -> None:
        await self._verify("recent", self._clock() - RECENT)

    async def close_day(self) -> None:
        """Once for each day that is over: reconciles it, and checks all there ever was."""
        yesterday = self._clock().date() - timedelta(days=1)
        if self._closed == yesterday:
            return
        found = await reconcile(self._database, yesterday, read_meters(self._meters, yesterday), self._clock)
        self._metrics.reconciliation_differences.set(found.count)
        self._metrics.reconciled_until.set(Period(yesterday, yesterday).end.timestamp())
        for difference in found.differences:
            log.error("the books are not what was metered: %s", describe(difference))
        requests = sum(group.requests for group in found.groups)
        log.info("%s is reconciled: %d requests, %d differences", yesterday, requests, found.count)
        discrepancies = await self._verify("all", None)
        async with self._database.snapshot() as connection:
            broken = await chain.verify_seals(connection)
        self._report_seals("all", broken)
        result = Closing(yesterday, requests, found.count, discrepancies, len(broken), self._clock())
        async with self._database.begin() as connection:
            await closing.record(connection, result)
        self._closed = yesterday

    async def _verify(self, scope: str, since: datetime | None) -> int:
        """How many rules of the books are broken, and where."""
        async with self._database.snapshot() as connection:
            discrepancies = await ledger.verify(connection, since)
        self._metrics.ledger_discrepancies.labels(scope).set(len(discrepancies))
        self._metrics.ledger_checked_at.labels(scope).set(self._clock().timestamp())
        for found in discrepancies:
            log.error("the books do not balance: %s: %s", found.rule, found.subject)
        return len(discrepancies)

    def _report_seals(self, scope: str, broken: Sequence[BrokenSeal]) -> None:
        self._metrics.seals_broken.labels(scope).set(len(broken))
        for found in broken:
            log.error("the records of %s are not what was sealed: %s", found.day, found.what)


def _age_seconds(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else (now - since).total_seconds()
