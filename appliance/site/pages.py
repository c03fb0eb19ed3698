"""Pages are added here alone: each with who may call it, and none is called by anybody else."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from appliance.site.audience import Audience, Refusal, refusal
from appliance.site.forms import local
from appliance.site.visitor import Visitor, Visitors

log = logging.getLogger(__name__)

Page = Callable[[Request, Visitor], Awaitable[Response]]
Routes = Sequence[tuple[str, str, Audience, Page]]
"""Method, path, who may call it, and what it answers."""
SEE_OTHER = 303
AUDIENCE = "x-audience"


class NothingHere(Exception):
    """There is no such page, or none that may be known to exist."""


class Pages:
    """``router`` has all that were added."""

    def __init__(self, visitors: Visitors, terms: str) -> None:
        """``terms`` is the version that customers are to have accepted."""
        self.router = APIRouter(include_in_schema=False)
        self._visitors = visitors
        self._terms = terms

    def add(self, routes: Routes) -> None:
        for method, path, audience, page in routes:
            declared = {AUDIENCE: audience}
            answer = self._held_to(audience, page)
            self.router.add_api_route(path, answer, methods=[method], response_model=None, openapi_extra=declared)

    def _held_to(self, audience: Audience, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            visitor = await self._visitors.of(request)
            refused = refusal(audience, visitor.signed, self._terms)
            return await page(request, visitor) if refused is None else _turn_away(request, refused, visitor)

        return answer


def audiences(app: FastAPI) -> Mapping[tuple[str, str], Audience]:
    """Who may call what, by method and path. Raises KeyError for a route that somebody added past ``Pages``."""
    found = {}
    for route in app.routes:
        extra = getattr(route, "openapi_extra", None) or {}
        for method in getattr(route, "methods", None) or {"?"}:
            found[method, getattr(route, "path", "?")] = extra[AUDIENCE]
    return found


def go(path: str) -> RedirectResponse:
    """To a page of ours, by GET."""
    return RedirectResponse(path, SEE_OTHER)


def _turn_away(request: Request, refused: Refusal, visitor: Visitor) -> Response:
    whom = "nobody" if visitor.signed is None else f"account {visitor.signed.account_id}"
    if refused is Refusal.NOTHING_HERE:
        log.warning("%s %s was refused to %s", request.method, request.scope["route"].path, whom)
        raise NothingHere
    if refused in (Refusal.SIGN_IN, Refusal.SECOND_FACTOR) and request.method == "GET":
        return go(on_the_way(refused.value, f"{request.url.path}?{request.url.query}".rstrip("?")))
    return go(refused.value)


def on_the_way(page: str, then: str) -> str:
    """A page that leads on to another."""
    return f"{page}?{urlencode({'next': then})}" if local(then) else page
