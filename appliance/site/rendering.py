"""Pages from templates: every text escaped, every word in the visitor's language."""

from datetime import date, datetime
from pathlib import Path
from typing import Protocol

from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from appliance.identity.errors import IdentityError, TooManyTries, WrongCredentials
from appliance.settings import Settings
from appliance.site.static import Static
from appliance.site.visitor import Visitor
from appliance.texts import locale_of
from billing.documents.at_stripe import told
from billing.payments.provider import CURRENCY
from billing.prices.money import NANODOLLARS_PER_CENT, format_dollars

GIB = 1 << 30


class Render(Protocol):
    """Writes a page from its template."""

    def __call__(
        self, visitor: Visitor, template: str, status: int = 200, /, **values: object
    ) -> HTMLResponse: ...


def status_of(error: IdentityError) -> int:
    """Of a form that was not taken."""
    match error:
        case TooManyTries():
            return 429
        case WrongCredentials():
            return 401
    return 400


class Renderer:
    """``folders`` are of templates, each by the name that stands before its templates' own."""

    def __init__(self, settings: Settings, static: Static, *folders: Path) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(folders),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            site=settings.site,
            sells=settings.sells,
            chat=f"{settings.chat.address}/oauth/openid" if settings.chat.address else "",
            sandbox=f"{settings.stripe_sandbox_url}/sandbox" if settings.sandbox else "",
            static=static.url,
        )

    def page(self, visitor: Visitor, template: str, status: int = 200, /, **values: object) -> HTMLResponse:
        text = self._environment.get_template(template).render(
            visitor=visitor, signed=visitor.signed, say=visitor.say, show=Formats(visitor.language), **values
        )
        return HTMLResponse(text, status)


class Formats:
    """How amounts and times are written in a language. Times are UTC."""

    def __init__(self, language: str) -> None:
        self._locale = locale_of(language)

    def money(self, nanodollars: int) -> str:
        """Whole cents; what is less than one is left out, so that credit is not said to be more than it is."""
        return format_dollars(nanodollars - nanodollars % NANODOLLARS_PER_CENT)

    def exact(self, nanodollars: int) -> str:
        return format_dollars(nanodollars)

    def cents(self, cents: int) -> str:
        return format_dollars(cents * NANODOLLARS_PER_CENT)

    def of_currency(self, amount: int, currency: str) -> str:
        """In the currency's smallest unit."""
        return self.cents(amount) if currency == CURRENCY else told(amount, currency)

    def plain(self, nanodollars: int) -> str:
        """As it is typed into a form."""
        return format_dollars(nanodollars).removeprefix("$")

    def percent(self, basis_points: int) -> str:
        return format_decimal(basis_points / 100, locale=self._locale)

    def number(self, value: float) -> str:
        return format_decimal(value, locale=self._locale)

    def bytes(self, value: int) -> str:
        """In gibibytes, which are what GPUs are sold by."""
        return f"{format_decimal(value / GIB, '0.0', locale=self._locale)} GiB"

    def day(self, moment: date) -> str:
        return format_date(moment, "medium", locale=self._locale)

    def moment(self, moment: datetime) -> str:
        return format_datetime(moment, "medium", locale=self._locale)
