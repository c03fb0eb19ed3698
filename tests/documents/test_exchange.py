"""What a dollar was worth: asked of Norges Bank (here a server that answers as it does), kept, entered."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from billing.documents.document import Exchanged
from billing.documents.exchange import (
    EXAMPLE_SOURCE,
    ExampleExchange,
    KeptExchange,
    NoRates,
    Rate,
    enter_rate,
    rate_on,
)
from billing.documents.norges_bank import NorgesBank, parse
from billing.errors import Conflict
from tests.billing.conftest import Bank
from tests.ports import free_port

FRIDAY, SATURDAY, MONDAY = date(2026, 11, 27), date(2026, 11, 28), date(2026, 11, 30)


def answer(rates: dict[str, str], *, unit: str = "0") -> dict[str, Any]:
    """As data.norges-bank.no answers B.USD.NOK.SP, without names and descriptions in words."""
    values = {"DECIMALS": "4", "CALCULATED": "false", "UNIT_MULT": unit, "COLLECTION": "C"}
    key = {"FREQ": "B", "BASE_CUR": "USD", "QUOTE_CUR": "NOK", "TENOR": "SP"}
    return {
        "meta": {"id": "IREF990679", "prepared": "2026-11-30T17:57:42", "test": False},
        "data": {
            "dataSets": [
                {
                    "reportingBegin": "2026-11-20T00:00:00",
                    "reportingEnd": "2026-11-30T23:59:59",
                    "action": "Information",
                    "series": {
                        "0:0:0:0": {
                            "attributes": [0, 0, 0, 0],
                            "observations": {str(n): [rate] for n, rate in enumerate(rates.values())},
                        }
                    },
                }
            ],
            "structure": {
                "dimensions": {
                    "dataset": [],
                    "series": [{"id": name, "values": [{"id": value}]} for name, value in key.items()],
                    "observation": [
                        {
                            "id": "TIME_PERIOD",
                            "keyPosition": 4,
                            "role": "time",
                            "values": [
                                {"start": f"{day}T00:00:00", "end": f"{day}T23:59:59", "id": day, "name": day}
                                for day in rates
                            ],
                        }
                    ],
                },
                "attributes": {
                    "dataset": [],
                    "observation": [],
                    "series": [{"id": name, "values": [{"id": value}]} for name, value in values.items()],
                },
            },
        },
    }


@dataclass
class Bankers:
    """Answers with the rates of the days that are asked for; what ``says`` has comes instead."""

    rates: dict[str, str] = field(default_factory=dict)
    says: web.Response | None = None
    asked: list[str] = field(default_factory=list)
    address: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        if self.says is not None:
            return web.Response(status=self.says.status, body=self.says.body)
        first, last = request.query["startPeriod"], request.query["endPeriod"]
        within = {day: rate for day, rate in self.rates.items() if first <= day <= last}
        if not within:
            return web.json_response({"errors": [{"code": 404, "message": "No data for data query"}]}, status=404)
        return web.json_response(answer(within))


@pytest.fixture
async def bankers() -> AsyncIterator[Bankers]:
    bankers = Bankers({"2026-11-26": "10.8401", "2026-11-27": "10.8512"})
    application = web.Application()
    application.router.add_get("/api/data/EXR/B.USD.NOK.SP", bankers.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    bankers.address = f"http://127.0.0.1:{port}"
    yield bankers
    await runner.cleanup()


@pytest.fixture
def exchange(bank: Bank, bankers: Bankers) -> KeptExchange:
    bank.clock.now = datetime(2026, 11, 30, 18, tzinfo=UTC)
    return KeptExchange(bank.database, "NOK", NorgesBank(bankers.address), bank.clock)


async def test_the_rate_of_a_day_is_asked_for_once_and_kept(exchange: KeptExchange, bankers: Bankers) -> None:
    expected = Exchanged("NOK", Decimal("10.8512"), FRIDAY, "Norges Bank")
    assert [await exchange.on(FRIDAY) for _ in range(3)] == [expected] * 3
    assert bankers.asked == [
        "/api/data/EXR/B.USD.NOK.SP?format=sdmx-json&startPeriod=2026-11-20&endPeriod=2026-11-27&locale=en"
    ]


async def test_rates_are_kept_also_while_nothing_is_sold(
    exchange: KeptExchange, bank: Bank, bankers: Bankers
) -> None:
    for day in (30, 30, 28):
        await exchange.keep_up(datetime(2026, 11, day, 18, tzinfo=UTC))
    assert len(bankers.asked) == 1
    async with bank.database.begin() as connection:
        assert await rate_on(connection, "NOK", MONDAY) == Exchanged(
            "NOK", Decimal("10.8512"), FRIDAY, "Norges Bank"
        )
    bankers.rates["2026-12-02"] = "10.9"
    await exchange.keep_up(datetime(2026, 12, 2, 18, tzinfo=UTC))
    assert len(bankers.asked) == 2


async def test_on_a_weekend_the_last_business_day_counts(exchange: KeptExchange) -> None:
    found = await exchange.on(SATURDAY)
    assert found is not None
    assert (found.day, found.rate) == (FRIDAY, Decimal("10.8512"))


async def test_a_rate_that_is_older_than_a_week_does_not_count(exchange: KeptExchange) -> None:
    assert await exchange.on(date(2026, 12, 4)) is not None
    assert await exchange.on(date(2026, 12, 5)) is None


async def test_a_day_before_its_rate_takes_the_one_before_and_asks_again_later(
    exchange: KeptExchange, bankers: Bankers, bank: Bank
) -> None:
    found = [await exchange.on(MONDAY) for _ in range(3)]
    assert {one.day for one in found if one} == {FRIDAY}
    assert len(bankers.asked) == 1
    bankers.rates["2026-11-30"] = "10.9000"
    bank.clock.turn(minutes=16)
    later = await exchange.on(MONDAY)
    assert later is not None
    assert later.day == MONDAY


@pytest.mark.parametrize(
    "says",
    [
        web.Response(status=503, text="later"),
        web.Response(text="<html>maintenance</html>"),
        web.Response(text='{"data": {}}'),
        web.Response(body=b"\xff\xfe"),
        web.Response(body=json.dumps(answer({"2026-11-27": "0"})).encode()),
        web.Response(body=json.dumps(answer({"2026-11-27": "NaN"})).encode()),
        web.Response(body=json.dumps(answer({"2026-11-27": "1085.12"})).encode()),
        web.Response(body=json.dumps(answer({"2026-11-27": "10.85"}, unit="2")).encode()),
        web.Response(body=json.dumps(answer({"yesterday": "10.85"})).encode()),
        web.Response(body=b" " * (2 << 20)),
    ],
    ids=["busy", "page", "empty", "bytes", "zero", "nan", "of-a-hundred", "unit", "day", "long"],
)
async def test_nonsense_is_no_rate(exchange: KeptExchange, bankers: Bankers, says: web.Response) -> None:
    bankers.says = says
    with pytest.raises(NoRates):
        await NorgesBank(bankers.address).published("NOK", FRIDAY, FRIDAY)
    assert await exchange.on(FRIDAY) is None


async def test_a_bank_that_is_not_there_leaves_what_is_kept(bank: Bank) -> None:
    away = KeptExchange(bank.database, "NOK", NorgesBank(f"http://127.0.0.1:{free_port()}"), bank.clock)
    day = bank.clock().date()
    assert await away.on(day) is None
    async with bank.database.begin() as connection:
        await enter_rate(connection, "NOK", Rate(day, Decimal("10.5")), "the newspaper", bank.clock())
    assert await away.on(day) == Exchanged("NOK", Decimal("10.5"), day, "the newspaper")


async def test_a_rate_that_was_used_is_not_changed(bank: Bank) -> None:
    day = bank.clock().date()
    async with bank.database.begin() as connection:
        await enter_rate(connection, "NOK", Rate(day, Decimal("10.5")), "Norges Bank", bank.clock())
        with pytest.raises(Conflict):
            await enter_rate(connection, "NOK", Rate(day, Decimal("11.5")), "Norges Bank", bank.clock())
        kept = await rate_on(connection, "NOK", day)
    assert kept is not None
    assert kept.rate == Decimal("10.5")


@pytest.mark.parametrize("value", ["0", "-1", "NaN", "Infinity", "10.123456789"])
async def test_what_is_no_rate_cannot_be_entered(bank: Bank, value: str) -> None:
    async with bank.database.begin() as connection:
        with pytest.raises(ValueError, match="above zero"):
            await enter_rate(connection, "NOK", Rate(bank.clock().date(), Decimal(value)), "x", bank.clock())


async def test_without_stripe_the_rate_is_an_example_and_says_so() -> None:
    found = await ExampleExchange("NOK").on(FRIDAY)
    assert found is not None
    assert found.source == EXAMPLE_SOURCE


def test_all_days_of_an_answer_are_read() -> None:
    rates = parse(answer({"2026-11-26": "10.8401", "2026-11-27": "10.8512"}))
    assert rates == [Rate(date(2026, 11, 26), Decimal("10.8401")), Rate(FRIDAY, Decimal("10.8512"))]


@pytest.mark.parametrize(
    ("cents", "rate", "ore"), [(100, "10.85", 1085), (1, "10.85", 11), (5, "10.9", 54), (15, "10.9", 164)]
)
def test_tax_in_kroner_is_rounded_half_to_even(cents: int, rate: str, ore: int) -> None:
    assert Exchanged("NOK", Decimal(rate), FRIDAY, "Norges Bank").hundredths(cents) == ore
