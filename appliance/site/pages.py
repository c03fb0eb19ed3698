"""Pages are added here alone: each with who may call it, and none is called by anybody else."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from appliance.logs import note
from appliance.site.audience import Audience, Refusal, refusal
from appliance.site.forms import BadForm, local
from appliance.site.visitor import Visitor, Visitors

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
            status = 500
            try:
                answered = await page(request, visitor) if refused is None else _turn_away(request, refused)
                status = answered.status_code
            except (BadForm, NothingHere) as error:
                status = 400 if isinstance(error, BadForm) else 404
                raise
            finally:
                if request.method != "GET" or refused is Refusal.NOTHING_HERE:
                    _note(request, visitor, status, refused)
            return answered

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


def _note(request: Request, visitor: Visitor, status: int, refused: Refusal | None) -> None:
    """By the page's own path, never by what was typed. ``account`` is whose session it was."""
    note(
        "page",
        bad=status >= 400 or refused is not None,
        method=request.method,
        path=request.scope["route"].path,
        status=status,
        refused=None if refused is None else refused.name.lower(),
        account=None if visitor.signed is None else visitor.signed.account_id,
        network=visitor.origin.network,
    )


def _turn_away(request: Request, refused: Refusal) -> Response:
    if refused is Refusal.NOTHING_HERE:
        raise NothingHere
    if refused in (Refusal.SIGN_IN, Refusal.SECOND_FACTOR) and request.method == "GET":
        return go(on_the_way(refused.value, f"{request.url.path}?{request.url.query}".rstrip("?")))
    return go(refused.value)


def on_the_way(page: str, then: str) -> str:
    """A page that leads on to another."""
    return f"{page}?{urlencode({'next': then})}" if local(then) else page
