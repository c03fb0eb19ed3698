"""A migrated PostgreSQL, a fresh database for each test, a clock that the test turns, and a customer."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from billing.charging.admission import Admission, Admitted, Decision, Refusal, Refused, Request
from billing.charging.settlement import Ended, Metered, Settled, Settlement
from billing.customers import accounts, keys
from billing.customers.standing import Limits, Standings
from billing.database.db import Database, execute
from billing.ids import new_id
from billing.ledger.credit import Credit
from billing.prices.pricing import Tokens
from billing.proof import rules as ledger
from billing.store.port import Lot
from billing.store.postgres import PostgresStore

MODEL = "smollm2"
RATE = (100_000, 20_000, 400_000)
PEPPER = b"p" * 32
_RATE = """
INSERT INTO rate (model, effective_at, announced_at, input, cached_input, output) VALUES ($1, $2, $2, $3, $4, $5)
"""


@dataclass
class TurnedClock:
    now: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **delta: float) -> None:
        self.now += timedelta(**delta)


@dataclass
class Bank:
    """The whole of billing over one database."""

    database: Database
    clock: TurnedClock
    url: str
    admission: Admission = field(init=False)
    settlement: Settlement = field(init=False)
    store: PostgresStore = field(init=False)
    credit: Credit = field(init=False)
    standings: Standings = field(init=False)

    def __post_init__(self) -> None:
        self.store = PostgresStore(self.database)
        self.admission = Admission(self.store, self.clock)
        self.settlement = Settlement(self.store, self.clock)
        self.credit = Credit(self.store, self.clock)
        self.standings = Standings(self.store, self.clock)

    async def customer(self, dollars_in_nano: int, *, limits: Limits | None = None) -> "Customer":
        async with self.database.begin() as connection:
            account = await accounts.create_account(
                connection, f"customer-{uuid.uuid4()}", "customer", self.clock, limits
            )
            key, text = await keys.create_key(connection, account.id, "default", PEPPER, self.clock)
        customer = Customer(self, account.id, key.id, text)
        if dollars_in_nano:
            await customer.buys(dollars_in_nano)
        return customer

    async def set_rate(self, prices: tuple[int, int, int]) -> None:
        """Micro-dollars per million tokens: input, cached input, output. In force from now on."""
        async with self.database.begin() as connection:
            await execute(connection, _RATE, MODEL, self.clock(), *prices)

    async def set_rate_of(self, model: str) -> None:
        """Of another model, as RATE."""
        async with self.database.begin() as connection:
            await execute(connection, _RATE, model, self.clock(), *RATE)

    async def discrepancies(self) -> list[ledger.Discrepancy]:
        async with self.database.snapshot() as connection:
            return await ledger.verify(connection)


@dataclass
class Customer:
    bank: Bank
    account_id: int
    key_id: int
    key: str

    def request(self, **changes: object) -> Request:
        values: dict[str, object] = {
            "id": new_id(self.bank.clock()),
            "key_digest": keys.digest(PEPPER, self.key),
            "model": MODEL,
            "endpoint": "/v1/chat/completions",
            "prompt_limit": 100,
            "completion_limit": 50,
        }
        return Request(**values | changes)  # type: ignore[arg-type]

    async def ask(self, **changes: object) -> Decision:
        return await self.bank.admission.admit(self.request(**changes))

    async def settle(self, admitted: Admitted, tokens: Tokens, ended: Ended = Ended.COMPLETE) -> Settled:
        return await self.bank.settlement.settle(Metered(admitted.request.id, self.account_id, tokens, ended))

    async def buys(self, amount: int) -> Lot:
        return await self.bank.credit.purchase(self.account_id, amount, "test", uuid.uuid4())

    async def admitted(self, **changes: object) -> Admitted:
        decision = await self.ask(**changes)
        assert isinstance(decision, Admitted), decision
        return decision

    async def refusal(self, **changes: object) -> Refusal:
        decision = await self.ask(**changes)
        assert isinstance(decision, Refused), decision
        return decision.reason

    async def account(self) -> accounts.Account:
        async with self.bank.database.begin() as connection:
            return await accounts.get_account(connection, self.account_id)


@pytest.fixture
async def bank(fresh_url: str) -> AsyncIterator[Bank]:
    clock = TurnedClock()
    database = Database(fresh_url, pool_size=8)
    bank = Bank(database, clock, fresh_url)
    await bank.set_rate(RATE)
    yield bank
    await database.close()
