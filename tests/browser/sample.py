"""A business of a month: an operator, and a customer who bought credit and has used some of it each day."""

import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert

from appliance.bootstrap import OPERATOR, bootstrap
from appliance.identity.passwords import Passwords
from appliance.identity.places import Places
from appliance.identity.tables import acceptance, person
from appliance.review import sightings
from appliance.review.findings import record
from appliance.review.looking import Review
from appliance.review.rules import Strange
from appliance.review.sightings import HOUR_SECONDS, Count, Place
from appliance.settings import ReviewSettings, Settings
from billing.charging.admission import Admission, Admitted, Request
from billing.charging.settlement import Ended, Metered, Settlement
from billing.customers.accounts import create_account
from billing.customers.keys import create_key, digest
from billing.customers.standing import Standings
from billing.database.db import Database
from billing.database.partitions import make_partitions
from billing.ids import new_id
from billing.ledger.credit import Credit
from billing.prices.money import NANODOLLARS_PER_DOLLAR
from billing.prices.pricing import Tokens
from billing.store.postgres import PostgresStore
from tests.browser.sales import UNTOUCHED, Sales

EMAIL, PASSWORD = "ada@example.com", "correct horse battery staple"
DAYS, SEED = 30, 7
KEYS = ("laptop", "production", "evaluation")


@dataclass
class Clock:
    now: datetime

    def __call__(self) -> datetime:
        return self.now


async def make_sample(settings: Settings, pepper: bytes) -> None:
    """In a migrated database that is empty."""
    database, today = Database(settings.sqlalchemy_url), datetime.now(UTC)
    clock = Clock(today - timedelta(days=DAYS + 1))
    try:
        await bootstrap(settings, clock)
        async with database.begin() as connection:
            await make_partitions(connection, clock)
            account = await create_account(connection, EMAIL, "customer", clock)
            keys = [(await create_key(connection, account.id, name, pepper, clock))[1] for name in KEYS]
            hashed = await Passwords().hash(PASSWORD)
            row = {
                "account_id": account.id,
                "name": "Ada King",
                "email": EMAIL,
                "email_key": EMAIL,
                "language": "en",
            }
            times = {"password_at": clock(), "created_at": clock()}
            await connection.execute(insert(person).values(**row, **times, password=hashed))
            accepted = {"terms": "2025-10-28", "accepted_at": clock(), "address": "192.0.2.17"}
            await connection.execute(insert(acceptance).values(account_id=account.id, **accepted))
        store = PostgresStore(database)
        credit = Credit(store, clock)
        shop = Sales(settings, database, clock)
        await shop.open(account.id)
        await shop.buy(account.id, EMAIL, 50, new_id(clock()))
        await credit.grant(account.id, 5 * NANODOLLARS_PER_DOLLAR, "welcome", uuid.uuid4(), OPERATOR)
        chance = random.Random(SEED)
        for day in range(DAYS + 1):
            for _ in range(chance.randint(0, 6) * (1 + day // 8)):
                clock.now = min(today, today - timedelta(days=DAYS - day, minutes=chance.randint(1, 600)))
                await _ask(store, clock, account.id, chance.choices(keys, (2, 5, 1))[0], pepper, chance)
        await _share(database, clock, account.id, digest(pepper, keys[0]))
        clock.now = today - timedelta(minutes=1)
        await shop.subscribe(account.id, EMAIL, "starter")
        await shop.buy(account.id, EMAIL, 25, UNTOUCHED)
        await shop.top_up(account.id)
        async with database.begin() as connection:
            other = await create_account(connection, "bob@example.com", "customer", clock)
        await shop.trouble(other.id)
        await shop.post_documents()
        shop.close()
    finally:
        await database.close()


async def _share(database: Database, clock: Clock, account_id: int, key: bytes) -> None:
    """The key is used from many networks, its owner signs in from afar, and both are found."""
    hour = int(clock().timestamp()) // HOUR_SECONDS
    seen = {Place(key, f"203.0.{number}.0/24", hour): Count(40, number) for number in range(14)}
    left = {"at": (clock() - timedelta(minutes=61)).isoformat(), "network": "192.0.2.0/24", "country": "NO"}
    reached = left | {"at": clock().isoformat(), "network": "198.51.100.0/24", "country": "JP"}
    travel = Strange(account_id, "travel", {"km": 8406, "minutes": 61, "left": left, "reached": reached}, 1)
    standings = Standings(PostgresStore(database), clock)
    async with database.begin() as connection:
        await sightings.add(connection, seen)
        await record(connection, travel, clock(), to_suspend=False)
    assert await Review(database, standings, Places(None), ReviewSettings(), "", clock).run_once() == 1


async def _ask(
    store: PostgresStore, clock: Clock, account_id: int, key: str, pepper: bytes, chance: random.Random
) -> None:
    model = chance.choices(("smollm2", "minilm"), (4, 1))[0]
    prompt, answer = chance.randint(200, 90_000), chance.randint(50, 12_000) if model == "smollm2" else 0
    path = "/v1/chat/completions" if model == "smollm2" else "/v1/embeddings"
    request = Request(new_id(clock()), digest(pepper, key), model, path, prompt, answer)
    decision = await Admission(store, clock).admit(request)
    assert isinstance(decision, Admitted), decision
    tokens = Tokens(prompt, prompt // chance.randint(2, 9), answer)
    await Settlement(store, clock).settle(Metered(request.id, account_id, tokens, Ended.COMPLETE))
