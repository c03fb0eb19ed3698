"""Postpaid accounts: an invoice at the month's end, a reminder, a stop, and an end of that once it is paid."""

import logging

from appliance.papers.office import office_of
from appliance.settings import Settings
from billing.clock import Clock
from billing.customers.standing import Standings
from billing.database.db import Database
from billing.documents.crediting import InvoiceCrediting
from billing.documents.invoicing import Invoicing
from billing.ledger.credit import Credit
from billing.payments.reminding import Patience, Reminding
from billing.store.postgres import PostgresStore

log = logging.getLogger(__name__)


class InvoicingJob:
    """Raises DatabaseUnavailable."""

    def __init__(self, database: Database, settings: Settings, standings: Standings, clock: Clock) -> None:
        section = settings.payments
        credit = Credit(PostgresStore(database), clock)
        office = office_of(settings, database, clock)
        self._invoicing = Invoicing(database, office, credit, clock, invoice_days=section.invoice_days)
        self._crediting = InvoiceCrediting(database, office, clock)
        patience = Patience(section.reminder_days, section.stop_days)
        self._reminding = Reminding(database, standings, patience, clock)

    async def run_once(self) -> None:
        posted = await self._invoicing.run_once()
        if posted.documents:
            log.info("%d invoices were posted", posted.documents)
        if posted.waiting:
            log.warning("%d invoices wait: for who buys, or for an exchange rate", posted.waiting)
        credited = await self._crediting.run_once()
        if credited.documents:
            log.info("%d credit notes of unpaid invoices were posted", credited.documents)
        reminded = await self._reminding.run_once()
        if reminded.reminders:
            log.info("%d unpaid invoices were reminded of", reminded.reminders)
