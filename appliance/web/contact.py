"""The contact form: whoever writes reaches the operator, with an account or without."""

from fastapi import Request
from fastapi.responses import Response

from appliance.identity.errors import IdentityError
from appliance.inbox.messages import Form, Inbox
from appliance.site.audience import Audience
from appliance.site.forms import read_form
from appliance.site.pages import Routes
from appliance.site.rendering import Render, status_of
from appliance.site.visitor import Visitor

FIELDS = ("name", "email", "company", "text")


class ContactPages:
    def __init__(self, render: Render, inbox: Inbox, kept_days: int) -> None:
        self._render = render
        self._inbox = inbox
        self._kept_days = kept_days

    def routes(self) -> Routes:
        return (
            ("GET", "/contact", Audience.ANYBODY, self.form),
            ("POST", "/contact", Audience.ANYBODY, self.write),
        )

    async def form(self, _: Request, visitor: Visitor) -> Response:
        filled = dict.fromkeys(FIELDS, "")
        if (known := visitor.known) is not None:
            filled |= {"name": known.name, "email": known.email}
        return self._render(visitor, "contact.html", **filled, days=self._kept_days, error="")

    async def write(self, request: Request, visitor: Visitor) -> Response:
        form, say = await read_form(request), visitor.say
        filled = {name: form[name] for name in FIELDS}
        try:
            await self._inbox.write(Form(**filled), visitor.known, visitor.language, visitor.origin)
        except IdentityError as error:
            said = error.said(say)
            return self._render(
                visitor, "contact.html", status_of(error), **filled, days=self._kept_days, error=said
            )
        text = say("Your message is with us. The answer comes by mail.")
        return self._render(visitor, "message.html", title=say("Thank you"), text=text)
