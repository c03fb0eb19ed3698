"""Who buys, as documents will say it. It is asked for before the first purchase."""

from collections.abc import Mapping
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import Response
from msgspec.structs import asdict

from appliance.identity.errors import IdentityError
from appliance.site.audience import Audience
from appliance.site.countries import countries
from appliance.site.forms import local, read_form
from appliance.site.pages import Routes, go
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.texts import Say
from billing.clock import Clock
from billing.database.db import Database
from billing.documents.buyers import FIELD_CHARACTERS, Buyer, buyer_of, keep_buyer
from billing.documents.vat import Taxing, needs_tax_number

HERE = "/billing"
TEXTS = ("name", "address", "postal_code", "city")


class BuyerPages:
    def __init__(self, render: Render, database: Database, taxing: Taxing, clock: Clock) -> None:
        self._render = render
        self._database = database
        self._taxing = taxing
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.CUSTOMER, self.form),
            ("POST", HERE, Audience.CUSTOMER, self.keep),
        )

    async def form(self, request: Request, visitor: Visitor) -> Response:
        async with self._database.begin() as connection:
            buyer = await buyer_of(connection, visitor.person.account_id)
        filled = _fields(buyer) if buyer is not None else {"name": visitor.person.name, "business": ""}
        then, done = request.query_params.get("next", ""), request.query_params.get("done", "")
        error = _not_taxable(visitor.say) if request.query_params.get("refused") else ""
        return self._shown(visitor, filled, then, error=error, done=bool(done), is_known=buyer is not None)

    async def keep(self, request: Request, visitor: Visitor) -> Response:
        """Then back to whatever was being bought."""
        form = await read_form(request)
        try:
            buyer = _parse(form)
            if buyer.tax_number is None and needs_tax_number(buyer, self._taxing):
                raise _Refused("A business in your country buys without VAT. Its tax number is needed for that.")
        except IdentityError as refused:
            return self._shown(visitor, form, form["next"], 400, refused.said(visitor.say))
        async with self._database.begin() as connection:
            await keep_buyer(connection, visitor.person.account_id, buyer, self._clock())
        return go(local(form["next"]) or f"{HERE}?done=yes")

    def _shown(
        self,
        visitor: Visitor,
        filled: Mapping[str, str],
        then: str,
        status: int = 200,
        error: str = "",
        *,
        done: bool = False,
        is_known: bool = True,
    ) -> Response:
        return self._render(
            visitor,
            "buyer.html",
            status,
            filled=filled,
            countries=countries(visitor.language),
            then=local(then) or "",
            error=error,
            done=done,
            is_known=is_known,
        )


def put_right(then: str) -> Response:
    """To the form, of a buyer whom Stripe does not take; then back to ``then``."""
    return go(f"{HERE}?{urlencode({'next': then, 'refused': 'yes'})}")


def _not_taxable(say: Say) -> str:
    return say(
        "The VAT cannot be told for this address, or the tax number is not right. Nothing was charged: please "
        "correct it."
    )


class _Refused(IdentityError):
    """What was filled in cannot stand on a document."""


def _fields(buyer: Buyer) -> Mapping[str, str]:
    texts = {name: value or "" for name, value in asdict(buyer).items() if name != "business"}
    return texts | {"business": "yes" if buyer.business else "no"}


def _parse(form: Mapping[str, str]) -> Buyer:
    """Raises _Refused. A consumer has no tax number."""
    texts = {name: " ".join(form[name].split()) for name in (*TEXTS, "tax_number")}
    if not all(texts[name] for name in TEXTS):
        raise _Refused("The name, the address, the postal code and the city are all needed.")
    if any(len(text) > FIELD_CHARACTERS or not text.isprintable() for text in texts.values()):
        raise _Refused("A line has {most} characters at most.", most=FIELD_CHARACTERS)
    if form["country"] not in dict(countries("en")):
        raise _Refused("Choose your country.")
    if form["business"] not in ("yes", "no"):
        raise _Refused("Say whether you buy for a business or for yourself.")
    business, tax_number = form["business"] == "yes", texts.pop("tax_number")
    return Buyer(**texts, country=form["country"], business=business, tax_number=(business and tax_number) or None)
