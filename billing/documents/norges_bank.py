"""The exchange rates of Norges Bank, by its open data (SDMX-JSON 1.0).

https://www.norges-bank.no/en/topics/Statistics/open-data/: a business day's rate is published at about 16:00 in
Oslo. Weekends and holidays have none.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

import httpx

from billing.documents.exchange import NoRates, Rate

ADDRESS = "https://data.norges-bank.no"
TIMEOUT_SECONDS = 10.0
MOST_BYTES = 1 << 20
LEAST, MOST = Decimal(1), Decimal(100)
"""Kroner for a dollar: what is outside is taken for nonsense."""
NOTHING = 404
"""There is no rate in the period asked for."""


class NorgesBank:
    source = "Norges Bank"

    def __init__(self, address: str = ADDRESS) -> None:
        self._address = address

    async def published(self, currency: str, first: date, last: date) -> Sequence[Rate]:
        asked = {
            "format": "sdmx-json",
            "startPeriod": first.isoformat(),
            "endPeriod": last.isoformat(),
            "locale": "en",
        }
        try:
            async with (
                httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client,
                client.stream("GET", f"{self._address}/api/data/EXR/B.USD.{currency}.SP", params=asked) as answer,
            ):
                if answer.status_code == NOTHING:
                    return []
                answer.raise_for_status()
                document = json.loads(await _read(answer))
        except (httpx.HTTPError, ValueError) as error:
            raise NoRates(f"Norges Bank's exchange rates: {type(error).__name__}") from None
        return [rate for rate in parse(document) if first <= rate.day <= last]


async def _read(answer: httpx.Response) -> bytes:
    """Raises ValueError for more than ``MOST_BYTES``."""
    content = bytearray()
    async for piece in answer.aiter_bytes():
        content += piece
        if len(content) > MOST_BYTES:
            raise ValueError("the answer is too long")
    return bytes(content)


def parse(document: Any) -> Sequence[Rate]:
    """Of the one series that was asked for. Raises NoRates for what is not as it is documented."""
    try:
        structure = document["data"]["structure"]
        (series,) = document["data"]["dataSets"][0]["series"].values()
        (times,) = structure["dimensions"]["observation"]
        if _attribute(structure, series, "UNIT_MULT") != "0":
            raise NoRates("Norges Bank's rates are not of one dollar")
        return [
            Rate(date.fromisoformat(times["values"][int(place)]["id"]), _value(observed[0]))
            for place, observed in series["observations"].items()
        ]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, InvalidOperation):
        raise NoRates("Norges Bank's rates are not in the form that is documented") from None


def _attribute(structure: Mapping[str, Any], series: Mapping[str, Any], name: str) -> str | None:
    places = [attribute["id"] for attribute in structure["attributes"]["series"]]
    place = places.index(name)
    chosen = series["attributes"][place]
    value: str | None = structure["attributes"]["series"][place]["values"][chosen]["id"]
    return value


def _value(text: object) -> Decimal:
    if not isinstance(text, str):
        raise TypeError(text)
    value = Decimal(text)
    if not LEAST <= value <= MOST:
        raise ValueError(text)
    return value
