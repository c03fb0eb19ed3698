"""Whether the forms tell who has an account: by what they answer, byte for byte, and by how long they take.

Each form is filled in ten thousand times, with an email that has an account or with one that has none, by lot.
The application is called without a socket, and with a quick hash: so a difference is easier to see than over a
network. The clock is turned on between two tries, so that none is refused for those before it.
"""

import asyncio
import hashlib
import logging
import random
import re
import secrets as chance
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from appliance import secrets
from appliance.door.asgi import App, Message
from appliance.identity.passwords import OWASP, Cost, Passwords
from appliance.settings import Settings, load_settings
from appliance.web.app import site_app
from appliance.web.legal import read_legal_texts
from appliance.web.metrics import SiteMetrics
from billing.database.migrations import upgrade
from serving.catalog.declared import declare
from tests.appliance.postgres_server import running_cluster
from tests.bench.ranks import compare, visible
from tests.bench.report import show_progress
from tests.billing.conftest import TurnedClock

TRIES, WARM_UP, AT_OWASPS_COST = 10_000, 200, 2_000
QUICK = Cost(passes=1, memory_kib=64, lanes=1)
PASSWORD = "correct horse battery staple"
WITH, WITHOUT = "with an account", "without one"
_PEOPLE = """
WITH made AS (
    INSERT INTO account (name, role, created_at)
    SELECT email, 'customer', now() FROM unnest(CAST(:emails AS text[])) email RETURNING id, name
)
INSERT INTO person (account_id, name, email, email_key, password, password_at, language, created_at)
SELECT id, 'Ada', name, name, :password, now(), 'en', now() FROM made
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """``said`` is a digest of status, headers and body, without the email that was typed and without tokens."""

    said: bytes
    status: int
    microseconds: float


def measure() -> dict[str, float | int | str]:
    logging.getLogger("appliance").addHandler(logging.NullHandler())
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(running_cluster())
        settings = load_settings({"APPLIANCE_HOME": str(home), "DATABASE_URL": cluster.url()})
        secrets.create(settings.secrets)
        settings.run.mkdir()
        declare(settings.declared, settings.models)
        return asyncio.run(_measure(settings))


async def _measure(settings: Settings) -> dict[str, float | int | str]:
    await upgrade(settings.sqlalchemy_url)
    terms = read_legal_texts(settings).terms.version
    forms: Mapping[str, dict[str, str]] = {
        "/sign-in": {"password": "wrong"},
        "/sign-up": {"name": "Ada", "password": PASSWORD, "terms": terms},
        "/forgot": {},
    }
    figures: dict[str, float | int | str] = {}
    clock = TurnedClock(datetime.now(UTC))
    for name, cost, paths, tries in (
        ("", QUICK, list(forms), TRIES),
        (" at the real cost", OWASP, ["/sign-in"], AT_OWASPS_COST),
    ):
        emails = {
            kind: [f"{chance.token_hex(8)}@example.com" for _ in range(TRIES // 2)] for kind in (WITH, WITHOUT)
        }
        await make_people(settings, emails[WITH], await Passwords(cost).hash(PASSWORD))
        site = site_app(settings, SiteMetrics(CollectorRegistry()), clock, cost)
        for path in paths:
            await _try(site.app, clock, path, forms[path], emails, WARM_UP)
            seen = await _try(site.app, clock, path, forms[path], emails, tries)
            figures |= _told(path + name, seen)
        await site.database.close()
    return figures


async def make_people(settings: Settings, emails: Sequence[str], password: str) -> None:
    """``password`` is the hash, the same for all: each costs as much to check."""
    engine = create_async_engine(settings.sqlalchemy_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(_PEOPLE), {"emails": list(emails), "password": password})
        await connection.execute(text("VACUUM ANALYZE"))  # who reads a row first would write that it is there
    await engine.dispose()


async def _try(
    app: App, clock: TurnedClock, path: str, form: Mapping[str, str], emails: Mapping[str, list[str]], tries: int
) -> dict[str, list[Answer]]:
    """Half with each kind of email, in an order of chance; none twice, as its letters would count for two."""
    order = [(kind, email) for kind in (WITH, WITHOUT) for email in random.sample(emails[kind], tries // 2)]
    random.shuffle(order)
    seen: dict[str, list[Answer]] = {WITH: [], WITHOUT: []}
    for number, (kind, email) in enumerate(order):
        clock.turn(hours=1)
        seen[kind].append(await _post(app, path, {"email": email, **form}))
        if number % 500 == 0:
            show_progress(f"{path}: {number:,} of {tries:,}")
    return seen


async def _post(app: App, path: str, form: Mapping[str, str]) -> Answer:
    body = urlencode(form).encode()
    headers = {
        "host": "localhost", "sec-fetch-site": "same-origin", "user-agent": "Firefox on Linux",
        "content-type": "application/x-www-form-urlencoded", "content-length": str(len(body)),
    }  # fmt: skip
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "https", "path": path,
        "raw_path": path.encode(), "root_path": "", "query_string": b"", "client": ("192.0.2.1", 1),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    asked, answered = iter([{"type": "http.request", "body": body}]), list[Message]()

    async def receive() -> Message:
        return next(asked)

    async def send(message: Message) -> None:
        answered.append(message)

    began = time.perf_counter_ns()
    await app(scope, receive, send)
    took = (time.perf_counter_ns() - began) / 1000
    return Answer(_digest(answered, form["email"]), answered[0]["status"], took)


def _digest(answered: Sequence[Message], email: str) -> bytes:
    """A cookie's token is of chance in every answer: its length counts."""
    start: Any = answered[0]
    headers = [(name, re.sub(rb"=[\w-]{20,};", _length, value)) for name, value in start["headers"]]
    body = b"".join(message.get("body", b"") for message in answered[1:])
    whole = repr((start["status"], headers)).encode() + body.replace(email.encode(), b"")
    return hashlib.sha256(whole).digest()


def _length(found: re.Match[bytes]) -> bytes:
    return b"=%d;" % len(found[0])


def _told(path: str, seen: Mapping[str, list[Answer]]) -> dict[str, float | int | str]:
    """Raises RuntimeError if a try was refused as one too many: that would be no try."""
    said = {kind: {one.said for one in answers} for kind, answers in seen.items()}
    statuses = {one.status for answers in seen.values() for one in answers}
    if statuses not in ({200}, {401}):
        raise RuntimeError(f"{path}: {statuses}")
    times = {kind: [one.microseconds for one in answers] for kind, answers in seen.items()}
    compared = compare(times[WITH], times[WITHOUT])
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    return {
        f"{path}: tries": sum(map(len, seen.values())),
        f"{path}: different answers": len(said[WITH] | said[WITHOUT]),
        f"{path}: median, µs": medians[WITHOUT],
        f"{path}: longer with an account, µs of the median": medians[WITH] - medians[WITHOUT],
        f"{path}: AUC": f"{compared.auc:.4f} ± {compared.margin:.4f}",
        f"{path}: p": f"{compared.p:.3g}",
        f"{path}: a delay that would be seen, µs": visible(times[WITH], times[WITHOUT]),
    }
