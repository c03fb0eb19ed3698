"""The review list: what looks like a shared account or like spam, until somebody has looked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request
from fastapi.responses import Response

from appliance.console.customers import actor
from appliance.review.findings import OUTCOMES, Finding, close, list_findings
from appliance.review.letters import called
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, number, read_form
from appliance.site.pages import Routes, go
from appliance.site.rendering import Formats, Render
from appliance.site.visitor import Visitor
from appliance.texts import Say
from billing.clock import Clock
from billing.database.db import Database
from billing.errors import BillingError

HERE = "/console/review"
SHOWN = 100


@dataclass(frozen=True, slots=True)
class Shown:
    """``evidence`` is in the operator's words: what, and as much as there is of it."""

    finding: Finding
    signal: str
    evidence: Sequence[tuple[str, str]]


class ReviewPages:
    def __init__(self, render: Render, database: Database, clock: Clock) -> None:
        self._render = render
        self._database = database
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.OPERATOR, self.findings),
            ("POST", HERE, Audience.OPERATOR, self.close),
        )

    async def findings(self, _: Request, visitor: Visitor) -> Response:
        return await self._shown(visitor)

    async def close(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        finding = number(form["finding"])
        outcome = next((one for one in OUTCOMES if one == form["outcome"]), None)
        if finding is None or outcome is None:
            raise BadForm
        try:
            async with self._database.begin() as connection:
                await close(connection, finding, outcome, form["reason"], actor(visitor), self._clock)
        except (BillingError, ValueError) as error:
            return await self._shown(visitor, 400, str(error))
        return go(HERE)

    async def _shown(self, visitor: Visitor, status: int = 200, error: str = "") -> Response:
        async with self._database.begin() as connection:
            waiting = await list_findings(connection, closed=False, limit=SHOWN)
            closed = await list_findings(connection, closed=True, limit=SHOWN)
        show, say, names = Formats(visitor.language), visitor.say, called(visitor.say)
        return self._render(
            visitor,
            "review.html",
            status,
            waiting=[Shown(one, names[one.signal], _evidence(one, say, show)) for one in waiting],
            closed=[(one, names[one.signal]) for one in closed],
            outcomes={"harmless": say("Nothing wrong"), "dealt_with": say("Dealt with")},
            error=error,
        )


def _evidence(finding: Finding, say: Say, show: Formats) -> list[tuple[str, str]]:
    seen = finding.evidence
    if finding.signal == "travel":
        return [
            *((called, _sign_in(seen[name], show)) for called, name in (
                (say("One sign-in"), "left"), (say("The next sign-in"), "reached"),
            )),
            (say("Distance, km"), show.number(seen["km"])),
            (say("Time between, minutes"), show.number(seen["minutes"])),
        ]  # fmt: skip
    told = [(say("Key"), finding.key or "")]
    if finding.signal == "refused":
        told.append((say("Within the hour from (UTC)"), show.moment(datetime.fromisoformat(seen["hour"]))))
        told.append((say("Refused requests"), show.number(seen["refused"])))
    else:
        told.append((say("Networks within 24 hours"), show.number(seen["networks"])))
        told.append((say("Networks within one of these hours"), show.number(seen["networks_within_an_hour"])))
    return [
        *told,
        (say("Requests, including refused"), show.number(seen["requests"])),
        (say("Seen from"), ", ".join(seen["seen_from"])),
    ]


def _sign_in(told: dict[str, str], show: Formats) -> str:
    return f"{show.moment(datetime.fromisoformat(told['at']))}, {told['network']}, {told['country']}"
