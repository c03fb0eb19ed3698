"""What an operator gives back of a purchase is never what a running request may need. From many beginnings."""

import uuid

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.charging.admission import Admitted
from billing.errors import Conflict
from billing.prices.pricing import Tokens
from tests.billing.conftest import Bank, Customer

ACT = st.one_of(
    st.tuples(st.just("buy"), st.integers(1, 60_000)),
    st.tuples(st.just("ask"), st.integers(1, 100)),
    st.tuples(st.just("settle"), st.integers(0, 50)),
    st.tuples(st.just("give back"), st.integers(1, 80_000)),
    st.tuples(st.just("give all back"), st.just(0)),
)


class Story:
    def __init__(self, bank: Bank, customer: Customer) -> None:
        self.bank, self.customer = bank, customer
        self.lots: list[int] = []
        self.running: list[Admitted] = []
        self.given, self.causes = 0, 0

    async def act(self, name: str, number: int) -> None:
        if name == "buy":
            self.lots.append((await self.customer.buys(number)).id)
        elif name == "ask":
            decision = await self.customer.ask(prompt_limit=number, completion_limit=number)
            if isinstance(decision, Admitted):
                self.running.append(decision)
        elif name == "settle" and self.running:
            admitted = self.running.pop(0)
            used = min(number, admitted.request.prompt_limit)
            await self.customer.settle(admitted, Tokens(used, 0, used))
        elif name.startswith("give") and self.lots:
            await self.give_back(self.lots[number % len(self.lots)], number)

    async def give_back(self, lot: int, number: int) -> None:
        """Twice, as a worker does that was killed in between: it counts once."""
        free = await self.bank.credit.unclaimed(lot)
        amount, cause = number or free, uuid.uuid4()
        for _ in range(2 if amount else 0):
            try:
                await self.bank.credit.give_back(lot, amount, "operator", "a reason", cause)
            except Conflict:
                assert amount > free
                return
        assert amount <= free
        self.given += amount


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(ACT, min_size=3, max_size=14))
async def test_whatever_was_asked_and_used_before(bank: Bank, acts: list[tuple[str, int]]) -> None:
    before = await given_back(bank)
    story = Story(bank, await bank.customer(0))
    for name, number in acts:
        await story.act(name, number)
    while story.running:
        await story.act("settle", 50)
    account = await story.customer.account()
    assert account.balance_nanodollars >= account.held_nanodollars == 0
    assert await given_back(bank) - before == story.given
    assert await bank.discrepancies() == []


async def given_back(bank: Bank) -> int:
    async with bank.database.begin() as connection:
        query = "SELECT coalesce(sum(amount_nanodollars), 0)::bigint FROM transfer WHERE kind = 'refund'"
        return int((await connection.exec_driver_sql(query)).scalar_one())
