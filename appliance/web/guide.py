"""What a developer wants to know: a first request, errors, limits, what is charged and kept; does it work."""

from collections.abc import Sequence

from fastapi import Request
from fastapi.responses import Response

from appliance.site.audience import Audience
from appliance.site.pages import Routes
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.texts import Say
from serving.catalog.declared import Declared
from serving.client.published import Directory


class GuidePages:
    """``api`` is where the API is, with its version."""

    def __init__(self, render: Render, api: str, declared: Declared, directory: Directory) -> None:
        self._render = render
        self._api = api
        self._declared = declared
        self._directory = directory

    def routes(self) -> Routes:
        return (
            ("GET", "/docs", Audience.ANYBODY, self.guide),
            ("GET", "/status", Audience.ANYBODY, self.status),
        )

    async def guide(self, _: Request, visitor: Visitor) -> Response:
        model = next(iter(self._declared.models()), "")
        return self._render(visitor, "docs.html", api=self._api, model=model, errors=_errors(visitor.say))

    async def status(self, _: Request, visitor: Visitor) -> Response:
        views = self._directory.models()
        states = [(name, name in views and views[name].answers) for name in self._declared.models()]
        return self._render(visitor, "status.html", states=states)


def _errors(say: Say) -> Sequence[tuple[int, str, str]]:
    """Status, code, and what to do."""
    return (
        (400, "invalid_request", say("The message names the field and what is expected there.")),
        (401, "invalid_api_key", say("The key is mistyped, revoked, or over.")),
        (402, "insufficient_quota", say("The account has no credit left.")),
        (402, "budget_exceeded", say("The account's or the key's budget of this month is used up.")),
        (403, "account_suspended", say("Sign in here: the page says why, and how to appeal.")),
        (404, "model_not_found", say("The list of models has the names.")),
        (413, "request_too_large", say("Send less at once.")),
        (429, "rate_limit_exceeded", say("Wait as long as the header Retry-After says.")),
        (503, "service_unavailable", say("Try again after Retry-After: it is not your fault.")),
    )
