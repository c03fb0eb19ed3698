"""The business at a glance: money, what waits for the operator, the models; and the trail of what was done."""

from fastapi import Request
from fastapi.responses import Response

from appliance.console.today import Today
from appliance.inbox.messages import count_open
from appliance.review.findings import count_findings
from appliance.site.audience import Audience
from appliance.site.pages import Routes
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from billing.clock import Clock
from billing.customers.accounts import count_late_deletions, recent_audit
from billing.database.db import Database
from billing.payments.listing import count_troubles
from billing.statements import closing
from billing.statements.money import read_money
from serving.client.published import Directory

TRAIL = 200


class OverviewPages:
    def __init__(self, render: Render, database: Database, directory: Directory, clock: Clock) -> None:
        self._render = render
        self._database = database
        self._directory = directory
        self._today = Today(database, clock)
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", "/console", Audience.OPERATOR, self.overview),
            ("GET", "/console/audit", Audience.OPERATOR, self.audit),
        )

    async def overview(self, _: Request, visitor: Visitor) -> Response:
        async with self._database.snapshot() as connection:
            money = await read_money(connection, self._clock())
            waiting = await count_open(connection)
            checked = await closing.newest(connection)
            findings = await count_findings(connection)
            troubles = await count_troubles(connection)
            late = await count_late_deletions(connection, self._clock())
        return self._render(
            visitor,
            "console.html",
            money=money,
            today=await self._today.charged(),
            waiting=waiting,
            findings=findings,
            troubles=troubles,
            late=late,
            checked=checked,
            views=self._directory.models(),
        )

    async def audit(self, _: Request, visitor: Visitor) -> Response:
        async with self._database.begin() as connection:
            trail = await recent_audit(connection, TRAIL)
        return self._render(visitor, "audit.html", trail=trail)
