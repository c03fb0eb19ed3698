"""Who asks for a page: from where, in which language, and as whom if they are signed in."""

from collections.abc import Sequence
from dataclasses import dataclass

from babel import negotiate_locale
from fastapi import Request

from appliance.identity import sessions
from appliance.identity.origin import Origin
from appliance.identity.sessions import Signed
from appliance.site.cookies import Cookie, read
from appliance.texts import ENGLISH, LANGUAGES, Say, speaker
from billing.clock import Clock
from billing.database.db import Database

MOST_LANGUAGES = 20


@dataclass(frozen=True, slots=True)
class Visitor:
    origin: Origin
    language: str
    say: Say
    signed: Signed | None

    @property
    def known(self) -> Signed | None:
        """Whoever it is, if they have proved it as far as they said they would."""
        return None if self.signed is None or self.signed.incomplete else self.signed

    @property
    def person(self) -> Signed:
        """Of a page that nobody sees who is not signed in."""
        assert self.signed is not None
        return self.signed


class Visitors:
    """Raises DatabaseUnavailable."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def of(self, request: Request) -> Visitor:
        signed, token = None, read(request, Cookie.SESSION)
        if token is not None:
            async with self._database.begin() as connection:
                signed = await sessions.find(connection, token, self._clock())
        address = request.client.host if request.client else ""
        origin = Origin(address, request.headers.get("user-agent", ""))
        language = _language(request, signed)
        return Visitor(origin, language, speaker(language), signed)


def _language(request: Request, signed: Signed | None) -> str:
    """The person's; or what was chosen in this browser; or what the browser asks for."""
    if signed is not None:
        return signed.language
    chosen = read(request, Cookie.LANGUAGE)
    return chosen if chosen in LANGUAGES else accepted(request.headers.get("accept-language", ""))


def accepted(header: str) -> str:
    """The language of ours that an ``Accept-Language`` likes best (RFC 9110, 12.5.4). Norwegian is ``nb``."""
    wanted = sorted(_weighed(header), key=lambda one: -one[1])
    names = ["nb" if name in ("no", "nn") else name for name, weight in wanted if weight > 0]
    return negotiate_locale(names, LANGUAGES, sep="-") or ENGLISH


def _weighed(header: str) -> Sequence[tuple[str, float]]:
    found = []
    for part in header.split(",")[:MOST_LANGUAGES]:
        name, _, weight = part.partition(";q=")
        try:
            found.append((name.strip().lower().partition("-")[0], float(weight or 1)))
        except ValueError:
            continue
    return found
