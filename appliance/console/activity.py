"""What goes on: models and their replicas, requests that run, and those that ended last; never their content."""

from collections.abc import Collection, Mapping

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.site.audience import Audience
from appliance.site.pages import Routes
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from billing.clock import Clock
from billing.database.db import Database
from billing.database.tables import account
from billing.statements.usage import list_running, list_usage
from serving.client.published import Directory

MOST_SHOWN = 50


class ActivityPages:
    def __init__(self, render: Render, database: Database, directory: Directory, clock: Clock) -> None:
        self._render = render
        self._database = database
        self._directory = directory
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", "/console/models", Audience.OPERATOR, self.models),
            ("GET", "/console/activity", Audience.OPERATOR, self.activity),
        )

    async def models(self, _: Request, visitor: Visitor) -> Response:
        return self._render(visitor, "console-models.html", views=self._directory.models())

    async def activity(self, _: Request, visitor: Visitor) -> Response:
        async with self._database.snapshot() as connection:
            running = await list_running(connection, MOST_SHOWN)
            ended = await list_usage(connection, MOST_SHOWN)
            asking = {one.account_id for one in running} | {one.account_id for one in ended}
            names = await _names(connection, asking)
        return self._render(visitor, "activity.html", running=running, ended=ended, names=names, now=self._clock())


async def _names(connection: AsyncConnection, account_ids: Collection[int]) -> Mapping[int, str]:
    query = select(account.c.id, account.c.name).where(account.c.id.in_(account_ids))
    return {row.id: row.name for row in await connection.execute(query)}
