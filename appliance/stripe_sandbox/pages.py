"""The pages of the sandbox: those on which somebody pays, and the operator's. No scripts, English alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from appliance.stripe_sandbox.bank_debits import ACCOUNTS
from appliance.stripe_sandbox.cards import CARDS
from appliance.stripe_sandbox.control import ACTS, carry_out, overview
from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.errors import StripeError
from appliance.stripe_sandbox.form import parsed
from appliance.stripe_sandbox.hosted import Buyer, Step
from appliance.stripe_sandbox.rendering import shown
from appliance.stripe_sandbox.webhooks import Fault

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_ROWS = 50
COUNTRIES = {
    "NO": "Norway",
    "DE": "Germany",
    "DK": "Denmark",
    "FR": "France",
    "GB": "United Kingdom",
    "SE": "Sweden",
    "US": "United States",
}
NOT_CONFIRMED = "The payment was not confirmed. Nothing was charged. Try again, or with another card."


class SandboxPages:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._style = (TEMPLATES / "sandbox.css").read_bytes()
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        self._environment.globals.update(
            cents=cents, moment=moment, cards=list(CARDS.values()), accounts=ACCOUNTS, countries=COUNTRIES
        )

    def routes(self) -> list[Route]:
        return [
            Route("/c/pay/{name}", self.checkout, methods=["GET"]),
            Route("/c/pay/{name}", self.pay, methods=["POST"]),
            Route("/3ds/{name}", self.bank, methods=["GET"]),
            Route("/3ds/{name}", self.answer_bank, methods=["POST"]),
            Route("/invoices/{name}", self.invoice, methods=["GET"]),
            Route("/invoices/{name}", self.pay_invoice, methods=["POST"]),
            Route("/invoices/{name}/pdf", self.invoice, methods=["GET"]),
            Route("/sandbox", self.control, methods=["GET"]),
            Route("/sandbox/style.css", self.style, methods=["GET"]),
            Route("/sandbox/objects/{kind}", self.objects, methods=["GET"]),
            Route("/sandbox/objects/{kind}/{name}", self.one_object, methods=["GET"]),
            Route("/sandbox/{act}", self.act, methods=["POST"]),
            Route("/receipts/{name}", self.receipt, methods=["GET"]),
            Route("/{rest:path}", self.nothing),
        ]

    async def checkout(self, request: Request) -> Response:
        problem = NOT_CONFIRMED if "failed" in request.query_params else None
        return self._checkout(request.path_params["name"], problem)

    async def pay(self, request: Request) -> Response:
        name, form = request.path_params["name"], await fields(request)
        buyer = Buyer(form.get("number", ""), form.get("email") or None, None, form.get("country") or None)
        return self._go(lambda: self._sandbox.pay_session(name, buyer), lambda why: self._checkout(name, why))

    async def bank(self, request: Request) -> Response:
        name = request.path_params["name"]
        kind = "checkout.session" if name.startswith("cs_") else "payment_intent"
        row = self._row(kind, name)
        if row is None:
            return self._nothing()
        return self._page("bank.html", amount=row.get("amount", row.get("amount_total")))

    async def answer_bank(self, request: Request) -> Response:
        name, form = request.path_params["name"], await fields(request)
        return self._go(
            lambda: self._sandbox.answer_3ds(name, confirmed=form.get("answer") == "confirm"),
            lambda why: self._page("message.html", title="3-D Secure", text=why),
        )

    async def invoice(self, request: Request) -> Response:
        return self._invoice(request.path_params["name"], None)

    async def pay_invoice(self, request: Request) -> Response:
        name, form = request.path_params["name"], await fields(request)
        buyer = Buyer(form.get("number", ""))
        return self._go(lambda: self._sandbox.pay_invoice(name, buyer), lambda why: self._invoice(name, why))

    async def control(self, request: Request) -> Response:
        self._sandbox.catch_up()
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse(overview(self._sandbox))
        return self._control(None)

    async def act(self, request: Request) -> Response:
        """A form of the operator's page, or a program that asks for JSON."""
        name = request.path_params["act"]
        as_json = "application/json" in request.headers.get("accept", "")
        if name not in ACTS:
            return self._nothing()
        try:
            carry_out(self._sandbox, name, parsed((await request.body()).decode("utf-8", "replace")))
        except StripeError as error:
            return JSONResponse(error.body(), 400) if as_json else self._control(str(error), 400)
        if as_json:
            return JSONResponse(overview(self._sandbox))
        return RedirectResponse(_back(request), 303)

    async def objects(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        if kind.startswith("_") or kind not in self._sandbox.state.tables:
            return self._nothing()
        self._sandbox.catch_up()
        rows = list(islice(self._sandbox.state.tables[kind].newest(), SHOWN_ROWS))
        return self._page("objects.html", kind=kind, rows=rows)

    async def one_object(self, request: Request) -> Response:
        kind, name = request.path_params["kind"], request.path_params["name"]
        row = None if kind.startswith("_") else self._row(kind, name)
        if row is None:
            return self._nothing()
        text = msgspec.json.format(msgspec.json.encode(shown(row)), indent=2).decode()
        return self._page("object.html", kind=kind, name=name, text=text)

    async def receipt(self, request: Request) -> Response:
        return RedirectResponse(f"/sandbox/objects/charge/{request.path_params['name']}", 303)

    async def nothing(self, _: Request) -> Response:
        return self._nothing()

    async def style(self, _: Request) -> Response:
        return Response(self._style, media_type="text/css")

    def _go(self, act: Callable[[], Step], stay: Callable[[str], Response]) -> Response:
        try:
            step = act()
        except StripeError:
            return self._nothing()
        return stay(step.message or "") if step.url is None else RedirectResponse(step.url, 303)

    def _checkout(self, name: str, problem: str | None) -> Response:
        self._sandbox.catch_up()
        session = self._row("checkout.session", name)
        if session is None:
            return self._nothing()
        if session["status"] != "open":
            problem = problem or f"This session is {session['status']}. Nothing more can be paid here."
        owner = self._row("customer", session["customer"] or "") or {}
        return self._page(
            "checkout.html",
            200 if problem is None else 402 if session["status"] == "open" else 409,
            session=session,
            problem=problem,
            email=session["customer_email"] or owner.get("email"),
        )

    def _invoice(self, name: str, problem: str | None) -> Response:
        row = self._row("invoice", name)
        if row is None:
            return self._nothing()
        return self._page("invoice.html", 200 if problem is None else 402, invoice=row, problem=problem)

    def _control(self, problem: str | None, status: int = 200) -> Response:
        return self._page(
            "sandbox.html",
            status,
            problem=problem,
            faults=[str(fault) for fault in Fault],
            **overview(self._sandbox),
        )

    def _row(self, kind: str, name: str) -> dict[str, Any] | None:
        table = self._sandbox.state.tables.get(kind)
        return None if table is None else table.rows.get(name)

    def _nothing(self) -> Response:
        return self._page("message.html", 404, title="Nothing here", text="The sandbox has no such page.")

    def _page(self, template: str, status: int = 200, **values: object) -> Response:
        return HTMLResponse(self._environment.get_template(template).render(**values), status)


async def fields(request: Request) -> dict[str, str]:
    found = parsed((await request.body()).decode("utf-8", "replace"))
    return {name: value for name, value in found.items() if isinstance(value, str)}


def cents(amount: int | None) -> str:
    value = amount or 0
    return f"{'-' if value < 0 else ''}${abs(value) // 100:,}.{abs(value) % 100:02d}"


def moment(instant: int) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _back(request: Request) -> str:
    """The page of the operator's on which the form was; never one of another origin."""
    before = request.headers.get("referer", "")
    at = before.find("/sandbox")
    return before[at:] if at >= 0 and before.startswith(str(request.base_url)) else "/sandbox"
