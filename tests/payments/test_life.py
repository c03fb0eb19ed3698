"""The machines are what the page draws, and no order of what happens leads out of them."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import CheckConstraint

from appliance.stripe_sandbox.disputes import decide, open_dispute
from appliance.stripe_sandbox.errors import StripeError
from appliance.stripe_sandbox.hosted import Buyer as Payer
from billing.database.db import fetch
from billing.database.tables import metadata
from billing.errors import BillingError
from billing.payments.life import MACHINES, may, picture
from billing.payments.stripe.objects import OURS
from tests.billing.conftest import Customer
from tests.payments.conftest import BACK, CARD, Counter, Page
from tests.payments.on_a_plan import ATTACHES_ONLY
from tests.payments.test_subscriptions_by_till import offers

A_WEEK = 7 * 24 * 60
"""In minutes."""
DOLLAR = 10**9

DOCUMENT = Path("docs/payments.md").read_text()


@pytest.mark.parametrize("machine", MACHINES)
def test_the_page_draws_what_the_code_does(machine: str) -> None:
    assert picture(machine) in DOCUMENT


def test_the_page_draws_nothing_else() -> None:
    assert DOCUMENT.count("```mermaid") == len(MACHINES)


def test_every_state_of_a_machine_is_one_of_its_table() -> None:
    for machine in MACHINES:
        table = metadata.tables[machine]
        states = {state for step in MACHINES[machine] for state in (step.before, step.after)}
        checks = [one for one in table.constraints if isinstance(one, CheckConstraint)]
        (rule,) = [str(check.sqltext) for check in checks if str(check.name).endswith("_state")]
        assert states == set(rule.split("'")[1::2])


_WATCH = """
CREATE TABLE seen (machine text, before text, after text);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state THEN INSERT INTO seen VALUES (TG_TABLE_NAME, OLD.state, NEW.state); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER see BEFORE UPDATE ON payment FOR EACH ROW EXECUTE FUNCTION see();
CREATE TRIGGER see BEFORE UPDATE ON refund FOR EACH ROW EXECUTE FUNCTION see();
CREATE TRIGGER see BEFORE UPDATE ON dispute FOR EACH ROW EXECUTE FUNCTION see();
"""


@dataclass
class Chance:
    """Customers buy, come back and do not, save cards, take plans and change them.

    Banks contest; refunds are asked for; webhooks are lost and doubled.
    """

    counter: Counter
    random: Random
    customers: list[Customer]
    pages: list[Page] = field(default_factory=list)

    async def buy(self) -> None:
        customer = self.random.choice(self.customers)
        self.pages.append(await self.counter.order(customer, self.random.randrange(500, 3000)))

    async def pay(self) -> None:
        card = self.random.choice([CARD, "4000000000000259", "4000000000000002"])
        self.counter.sandbox.pay_session(self.random.choice(self.pages).checkout, Payer(card))

    async def come_back(self) -> None:
        page = self.random.choice(self.pages)
        await asyncio.gather(*(self.counter.till.shop.look(page.payment_id) for _ in range(2)))

    async def save_a_card(self) -> None:
        """And have it charged whenever there is less than so much."""
        account_id, top_ups = self.random.choice(self.customers).account_id, self.counter.till.top_ups
        url = await top_ups.save_card(account_id, back=BACK, email="ada@example.com")
        self._pays(url, self.random.choice([CARD, ATTACHES_ONLY]))
        await top_ups.find_card(account_id)
        await top_ups.set_rule(
            account_id, "ada", below_nanodollars=40 * DOLLAR, top_up_cents=1000, ceiling_cents=10_000
        )

    async def top_up(self) -> None:
        await self.counter.till.top_ups.run_once()

    async def resume(self) -> None:
        await self.counter.till.top_ups.resume(self.random.choice(self.customers).account_id, "ada")

    async def subscribe(self) -> None:
        customer, plan = self.random.choice(self.customers), self.random.choice(["small", "large"])
        url = await self.counter.till.subscriptions.subscribe(
            customer.account_id, plan, back=BACK, email="ada@example.com"
        )
        self._pays(url, self.random.choice([CARD, "4000000000000002"]))

    async def change_plan(self) -> None:
        account_id, plans = self.random.choice(self.customers).account_id, self.counter.till.subscriptions
        match self.random.randrange(4):
            case 0:
                await plans.upgrade(account_id, "large", await plans.preview(account_id, "large"))
            case 1:
                await plans.plan_downgrade(account_id, "small")
            case 2:
                await plans.cancel(account_id)
            case 3:
                await plans.resume(account_id)

    def _pays(self, url: str, card: str) -> None:
        self.counter.sandbox.pay_session(url.rpartition("/")[2], Payer(card))

    async def ask_for_a_refund(self) -> None:
        payment = await self.counter.payment(self.random.choice(self.pages).payment_id)
        await self.counter.till.refunds.ask(payment.account_id, payment.id)

    async def give_back(self) -> None:
        page = self.random.choice(self.pages)
        await self.counter.till.refunds.by_operator(page.payment_id, "operator", "a reason", 1)

    async def contest(self) -> None:
        charge = self.random.choice(list(self.counter.sandbox.state.table("charge").rows))
        amount = self.random.choice([None, 300])
        self.counter.sandbox.control(lambda world: open_dispute(world, charge, amount=amount))

    async def judge(self) -> None:
        dispute = self.random.choice(list(self.counter.sandbox.state.table("dispute").rows))
        won = self.random.random() < 0.5
        self.counter.sandbox.control(lambda world: decide(world, dispute, won=won))

    async def hear(self) -> None:
        if self.random.random() < 0.7:
            await self.counter.deliver()
        else:
            await self.counter.till.sweep.find_events()
        await asyncio.gather(*(self.counter.till.inbox.run_once() for _ in range(2)))

    async def wait(self) -> None:
        self.counter.bank.clock.turn(minutes=self.random.choice([1, 7, 7, 70, 70, A_WEEK]))
        self.counter.sandbox.catch_up()
        await self.counter.till.upkeep.run_once()
        await self.counter.till.sweep.look_at_unfinished()
        await self.counter.till.refunds.run_once()

    async def act(self) -> None:
        """Much of it is refused: there is nothing to pay, to contest, to give back."""
        acts = (
            [self.buy] * 2 + [self.pay] * 3 + [self.come_back] * 2
            + [self.ask_for_a_refund, self.give_back, self.contest, self.judge, self.hear, self.wait]
            + [self.save_a_card, self.top_up, self.top_up, self.resume, self.subscribe, self.change_plan]
        )  # fmt: skip
        with suppress(BillingError, IndexError, StripeError):
            await self.random.choice(acts)()

    async def come_to_rest(self) -> None:
        for _ in range(3):
            self.counter.bank.clock.turn(hours=2)
            await self.counter.till.sweep.find_events()
            await self.counter.till.inbox.run_once()
            await self.counter.till.sweep.look_at_unfinished()
            await self.counter.till.top_ups.run_once()
            await self.counter.till.refunds.run_once()


@pytest.mark.parametrize("seed", range(4))
async def test_in_any_order_every_step_is_one_of_the_machine(counter: Counter, seed: int) -> None:
    async with counter.database.begin_raw() as connection:
        await connection.execute(_WATCH)
    await offers(counter)
    chance = Chance(counter, Random(seed), [await counter.customer() for _ in range(3)])
    for _ in range(120):
        await chance.act()
    await chance.come_to_rest()
    async with counter.database.begin() as connection:
        rows = await fetch(connection, "SELECT DISTINCT machine, before, after FROM seen")
    steps = {(row.machine, row.before, row.after) for row in rows}
    assert {step for step in steps if not may(*step)} == set()
    assert ("payment", "open", "credited") in steps
    intents = [
        row for row in counter.sandbox.state.table("payment_intent").rows.values() if OURS in row["metadata"]
    ]
    lots = [lot for customer in chance.customers for lot in await counter.lots(customer.account_id)]
    assert len(lots) == len([row for row in intents if OURS in row["metadata"] and row["status"] == "succeeded"])
    invoices = counter.sandbox.state.table("invoice").rows.values()
    async with counter.database.begin() as connection:
        of_plans = await fetch(connection, "SELECT invoice FROM payment WHERE invoice IS NOT NULL")
    assert {row.invoice for row in of_plans} == {row["id"] for row in invoices if row["status"] == "paid"}
    assert await counter.errors() == []
