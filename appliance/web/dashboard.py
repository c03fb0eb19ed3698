"""What the account has, and what it was spent on."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.site.audience import Audience
from appliance.site.pages import Routes
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.texts import Say
from appliance.web.chart import bars, share
from billing.clock import Clock
from billing.customers.accounts import get_account, list_lots
from billing.customers.keys import list_keys
from billing.database.db import Database
from billing.database.purposes import CHAT, PLAYGROUND, PROGRAM
from billing.errors import NotFound
from billing.payments.records import wallet
from billing.payments.subscribed import running_of
from billing.prices.money import NANODOLLARS_PER_DOLLAR
from billing.statements.channel import API, of_key
from billing.statements.period import By, Line, Period, require_kept, summarize, total_of
from billing.statements.usage import list_usage

DAYS = 30
RECENT = 20
MOST_SHOWN = 50
LOW = NANODOLLARS_PER_DOLLAR
"""Credit below which whoever looks is told where to buy more."""
SECONDS = 10.0
"""However many requests there are: a page that takes longer is none."""


class DashboardPages:
    def __init__(self, render: Render, database: Database, clock: Clock) -> None:
        self._render = render
        self._database = database
        self._clock = clock

    def routes(self) -> Routes:
        return (("GET", "/dashboard", Audience.CUSTOMER, self.dashboard),)

    async def dashboard(self, _: Request, visitor: Visitor) -> Response:
        account_id, now = visitor.person.account_id, self._clock()
        period = Period(now.date() - timedelta(days=DAYS - 1), now.date())
        async with self._database.begin(timeout_seconds=SECONDS) as connection:
            account = await get_account(connection, account_id)
            lots = [lot for lot in await list_lots(connection, account_id) if lot.remaining_nanodollars]
            keys = {key.id: key for key in await list_keys(connection, account_id)}
            lines = await _lines(connection, period, account_id)
            recent = await list_usage(connection, RECENT, account_id)
            plan = await running_of(connection, account_id)
            kept = await wallet(connection, account_id)
        days = _by_day(lines, period)
        called = called_channels(visitor.say)
        return self._render(
            visitor,
            "dashboard.html",
            account=account,
            plan=plan,
            paused=kept.paused is not None,
            is_low=account.balance_nanodollars < LOW and account.credit_limit_nanodollars is None,
            lots=lots,
            keys={key.id: key.name if key.purpose == PROGRAM else called[key.purpose] for key in keys.values()},
            total=total_of(lines),
            days=days,
            highest=max(total.cost_nanodollars for _, total in days),
            most_tokens=max(map(_tokens, (total for _, total in days))),
            spend=bars([total.cost_nanodollars for _, total in days], visitor.say("Spend per day")),
            tokens=bars([_tokens(total) for _, total in days], visitor.say("Tokens per day")),
            share=share,
            models=_dearest(lines, lambda line: line.model),
            by_key=_dearest(lines, lambda line: line.key_id),
            by_channel=_dearest(
                lines, lambda line: of_key(keys[line.key_id].purpose) if line.key_id in keys else API
            ),
            channels=called,
            recent=recent,
        )


def called_channels(say: Say) -> Mapping[str, str]:
    return {API: say("API"), CHAT: say("Chat"), PLAYGROUND: say("Playground")}


async def _lines(connection: AsyncConnection, period: Period, account_id: int) -> list[Line]:
    """By day, model and key; of a period of which part is archived, what is not."""
    try:
        await require_kept(connection, period)
    except NotFound:
        period = Period(date(period.last.year, 1, 1), period.last)
    return await summarize(connection, period, (By.DAY, By.MODEL, By.KEY), account_id)


def _tokens(line: Line) -> int:
    return line.prompt_tokens + line.completion_tokens


def _by_day(lines: Sequence[Line], period: Period) -> list[tuple[date, Line]]:
    """Every day of the period, also those without a request."""
    of_day = dict(_sums(lines, lambda line: line.day))
    days = [period.first + timedelta(days=number) for number in range(period.days)]
    return [(day, of_day.get(day) or total_of(())) for day in days]


def _dearest(lines: Sequence[Line], of: Callable[[Line], object]) -> list[tuple[object, Line]]:
    """Sums by one thing, of which those that cost most come first."""
    ranked = sorted(_sums(lines, of), key=lambda one: (-one[1].cost_nanodollars, -one[1].requests, str(one[0])))
    return ranked[:MOST_SHOWN]


def _sums(lines: Sequence[Line], of: Callable[[Line], object]) -> list[tuple[object, Line]]:
    groups: defaultdict[object, list[Line]] = defaultdict(list)
    for line in lines:
        groups[of(line)].append(line)
    return [(value, total_of(group)) for value, group in groups.items()]
