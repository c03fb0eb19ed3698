"""A place to try a model: the page asks the API itself, by a key of its own that is good for a while.

So it costs what every request costs, and nothing of what is said comes by here: the pages' process sees the key,
and afterwards the price.
"""

from datetime import timedelta
from uuid import UUID

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from appliance.settings import Settings
from appliance.site.audience import Audience
from appliance.site.forms import BadForm
from appliance.site.pages import Routes
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from billing.clock import Clock
from billing.customers.keys import renew_playground_key
from billing.database.db import Database
from billing.prices.money import format_dollars
from billing.statements.usage import find_usage
from serving.catalog.declared import Declared

KEY_LASTS = timedelta(hours=1)


class PlaygroundPages:
    def __init__(
        self,
        render: Render,
        database: Database,
        pepper: bytes,
        settings: Settings,
        declared: Declared,
        clock: Clock,
    ) -> None:
        self._render = render
        self._database = database
        self._pepper = pepper
        self._settings = settings
        self._declared = declared
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", "/playground", Audience.CUSTOMER, self.playground),
            ("POST", "/playground/key", Audience.CUSTOMER, self.key),
            ("GET", "/playground/cost", Audience.CUSTOMER, self.cost),
        )

    async def playground(self, _: Request, visitor: Visitor) -> Response:
        models = [model.id for model in self._declared.models().values()]
        return self._render(visitor, "playground.html", models=models, api=self._settings.api_url)

    async def key(self, _: Request, visitor: Visitor) -> Response:
        """For the page's script, in memory alone."""
        async with self._database.begin() as connection:
            account_id = visitor.person.account_id
            text = await renew_playground_key(connection, account_id, self._pepper, self._clock, KEY_LASTS)
        return JSONResponse({"key": text})

    async def cost(self, request: Request, visitor: Visitor) -> Response:
        """What one of the account's own requests was charged; null until it is."""
        try:
            request_id = UUID(request.query_params.get("request", ""))
        except ValueError:
            raise BadForm from None
        async with self._database.begin() as connection:
            usage = await find_usage(connection, request_id, visitor.person.account_id)
        return JSONResponse({"cost": None if usage is None else format_dollars(usage.cost_nanodollars)})
