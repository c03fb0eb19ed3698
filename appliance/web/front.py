"""The pages for everybody: what is offered, what it costs, and on which terms."""

from fastapi import Request
from fastapi.responses import Response

from appliance.identity import profile
from appliance.settings import Settings
from appliance.site.audience import Audience
from appliance.site.cookies import Cookie, keep
from appliance.site.forms import BadForm, local, read_form
from appliance.site.pages import Routes, go
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.texts import LANGUAGES
from appliance.web.legal import LegalTexts
from appliance.web.offer import offer, plans_on_offer
from billing.clock import Clock
from billing.database.db import Database
from serving.catalog.declared import Declared


class FrontPages:
    def __init__(
        self,
        render: Render,
        legal: LegalTexts,
        settings: Settings,
        declared: Declared,
        database: Database,
        clock: Clock,
    ) -> None:
        self._render = render
        self._legal = legal
        self._settings = settings
        self._declared = declared
        self._database = database
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", "/", Audience.ANYBODY, self.front),
            ("GET", "/models", Audience.ANYBODY, self.models),
            ("GET", "/terms", Audience.ANYBODY, self.terms),
            ("GET", "/terms/accept", Audience.PERSON, self.new_terms),
            ("POST", "/terms/accept", Audience.PERSON, self.accept),
            ("GET", "/privacy", Audience.ANYBODY, self.privacy),
            ("POST", "/language", Audience.ANYBODY, self.language),
        )

    async def front(self, _: Request, visitor: Visitor) -> Response:
        models = await offer(self._database, self._declared, self._clock)
        plans = plans_on_offer(self._settings)
        return self._render(
            visitor,
            "front.html",
            models=models,
            plans=plans,
            tax_on_top=not self._settings.taxing.included,
            api=self._settings.api_url,
        )

    async def models(self, _: Request, visitor: Visitor) -> Response:
        return self._render(
            visitor, "models.html", models=await offer(self._database, self._declared, self._clock)
        )

    async def terms(self, _: Request, visitor: Visitor) -> Response:
        return self._render(visitor, "legal.html", text=self._legal.terms)

    async def new_terms(self, request: Request, visitor: Visitor) -> Response:
        then = local(request.query_params.get("next", "")) or ""
        return self._render(visitor, "new-terms.html", version=self._legal.terms.version, then=then)

    async def accept(self, request: Request, visitor: Visitor) -> Response:
        """The version of now; one that was shown before it changed again is shown anew."""
        form = await read_form(request)
        version = form["terms"]
        if version == self._legal.terms.version:
            async with self._database.begin() as connection:
                address = visitor.origin.address
                await profile.accept(connection, visitor.person, version, address, self._clock())
        return go(local(form["next"]) or "/dashboard")

    async def privacy(self, _: Request, visitor: Visitor) -> Response:
        return self._render(visitor, "legal.html", text=self._legal.privacy)

    async def language(self, request: Request, _: Visitor) -> Response:
        """For who is not signed in; a person's own is kept with the account."""
        form = await read_form(request)
        if form["language"] not in LANGUAGES:
            raise BadForm
        answer = go(local(form["back"]) or "/")
        keep(answer, Cookie.LANGUAGE, form["language"])
        return answer
