"""Nothing of a person is left when the account is gone, in no table, and the books still verify."""

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from appliance.identity import credentials
from appliance.identity.errors import TooManyTries
from appliance.review.looking import Review
from appliance.settings import ReviewSettings
from appliance.worker.jobs import Jobs
from appliance.worker.metrics import WorkerMetrics
from billing.customers.keys import create_key
from billing.customers.standing import Standings
from billing.ledger.credit import Credit
from billing.proof import rules as ledger
from billing.store.postgres import PostgresStore
from tests.identity.conftest import HOME, PASSWORD, PEPPER, Door

DOLLAR = 10**9
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


def jobs(door: Door, home: Path) -> Jobs:
    nobody: Any = None
    standings = Standings(PostgresStore(door.database), door.clock)
    metrics = WorkerMetrics(CollectorRegistry())
    review = Review(door.database, standings, door.places, ReviewSettings(), "", door.clock)
    kept = timedelta(days=180)
    return Jobs(door.database, nobody, nobody, standings, metrics, home, home, kept, review, None, door.clock)


async def everything(door: Door) -> dict[str, str]:
    """What each table holds, as text."""
    async with door.database.begin() as connection:
        names = (await connection.execute(text(TABLES))).scalars().all()
        found = {}
        for name in names:
            rows = (await connection.execute(text(f'SELECT t::text FROM "{name}" t'))).scalars()
            found[name] = "\n".join(rows)
    return found


async def test_thirty_days_after_the_request_no_table_names_the_person(door: Door, tmp_path: Path) -> None:
    entered = await door.join("ada.lovelace@example.com")
    me = await door.signed(entered.session)
    assert me is not None
    setup = await door.second.set_up(me, PASSWORD, "The Service")
    code, *_ = await door.second.begin(me, pyotp.TOTP(setup.secret).at(door.clock()))
    await door.mail()
    await door.credentials.change_email(me, PASSWORD, "ada@elsewhere.example", code)
    _, one, _ = await door.mail()
    assert one.about is not None
    async with door.database.begin() as connection:
        await credentials.new_email_link(connection, one.about, one.email, door.clock())
    await door.credentials.forgot("ada.lovelace@example.com", "en", HOME)
    await door.apply("ada.lovelace@example.com", HOME, name="Ada Lovelace")
    store = PostgresStore(door.database)
    await Credit(store, door.clock).purchase(me.account_id, DOLLAR, "test", uuid.uuid4())
    async with door.database.begin() as connection:
        await create_key(connection, me.account_id, "Ada's laptop", PEPPER, door.clock)
    personal = ("ada", "lovelace", HOME.address, "192.0.2.0", "198.51.")
    before = await everything(door)
    named = {name for name, rows in before.items() if any(word in rows.lower() for word in personal)}
    assert {"person", "applicant", "acceptance", "session", "mail", "account", "api_key", "link"} <= named

    worker = jobs(door, tmp_path)
    await Standings(store, door.clock).mark_for_deletion(me.account_id, "customer", "asked for")
    door.clock.turn(days=29)
    await worker.delete_accounts()
    await worker.forget()
    assert (await everything(door))["person"]
    door.clock.turn(days=1)
    await worker.delete_accounts()
    await worker.forget()
    after = await everything(door)
    assert {name: rows for name, rows in after.items() if any(word in rows.lower() for word in personal)} == {}
    assert not any(after[name] for name in ("person", "applicant", "session", "link", "authenticator", "throttle"))
    async with door.database.snapshot() as connection:
        assert await ledger.verify(connection) == []


async def test_what_counts_still_stays(door: Door, tmp_path: Path) -> None:
    entered = await door.join()
    await door.apply("eve@example.com")
    for _ in range(2):
        await door.credentials.forgot("ada@example.com", "en", HOME)
    await jobs(door, tmp_path).forget()
    assert await door.signed(entered.session) is not None
    assert await door.applicants() == 1
    await door.credentials.forgot("ada@example.com", "en", HOME)
    with pytest.raises(TooManyTries):
        await door.credentials.forgot("ada@example.com", "en", HOME)
