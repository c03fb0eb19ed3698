"""What was sold in a month, with its tax, and what became of the credit: the statement behind the books."""

from fastapi import Request
from fastapi.responses import Response

from appliance.site.audience import Audience
from appliance.site.forms import BadForm
from appliance.site.pages import Routes
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from billing.clock import Clock
from billing.database.db import Database
from billing.documents.statement import month_or_year, read_statement
from billing.errors import NotFound

HERE = "/console/sales"


class SalesPages:
    def __init__(self, render: Render, database: Database, clock: Clock) -> None:
        self._render = render
        self._database = database
        self._clock = clock

    def routes(self) -> Routes:
        return (("GET", HERE, Audience.OPERATOR, self.sales),)

    async def sales(self, request: Request, visitor: Visitor) -> Response:
        chosen = request.query_params.get("period", "") or f"{self._clock():%Y-%m}"
        try:
            period = month_or_year(chosen)
            async with self._database.snapshot() as connection:
                statement = await read_statement(connection, period)
        except NotFound:
            statement = None
        except ValueError:
            raise BadForm from None
        return self._render(visitor, "sales.html", chosen=chosen, statement=statement)
