"""kill -9 of a worker between any two steps: another one finishes, and nothing is done twice."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.hosted import Buyer as Payer
from billing.customers.accounts import list_lots
from billing.payments import records
from tests.billing.conftest import Bank, Customer, TurnedClock
from tests.payments.conftest import BACK, CARD, Counter, counter_of
from tests.payments.on_a_plan import SMALL
from tests.payments.test_subscriptions_by_till import on_a_plan
from tests.record import Ordeal, record
from tests.taxing import INCLUDED

DOLLAR = 10**9
PATIENCE_SECONDS = 120


@dataclass
class Wire:
    """The sandbox over HTTP. A call that ``stalls`` never gets its answer; ``reached`` tells that it came."""

    sandbox: Sandbox
    stalls: tuple[str, str] | None = None
    carried_out: bool = False
    reached: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def stall(self, method: str, path: str, *, carried_out: bool) -> None:
        self.stalls, self.carried_out = (method, path), carried_out
        self.reached.clear()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0))).decode()
        stalled = self.stalls is not None and self.stalls[0] == handler.command and self.stalls[1] in handler.path
        if stalled and not self.carried_out:
            self.reached.set()
            return
        with self.lock:
            headers = {name.lower(): value for name, value in handler.headers.items()}
            answer = self.sandbox.request(handler.command, handler.path, headers, body)
        if stalled:
            self.reached.set()
            return
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)


@contextmanager
def wired(sandbox: Sandbox) -> Iterator[Wire]:
    wire = Wire(sandbox)
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wire.answer(self)
            if wire.reached.is_set() and wire.stalls is not None:
                over.wait(PATIENCE_SECONDS)

        do_POST = do_DELETE = do_GET  # noqa: N815 -- as the library calls them

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    wire.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield wire
    over.set()
    server.shutdown()


@asynccontextmanager
async def worker(bank: Bank, wire: Wire, minutes_ahead: int = 0) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Killed in the end, with no time to put anything in order."""
    command = [sys.executable, "-m", "tests.payments.worker_process", bank.url, wire.url, str(minutes_ahead)]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        record(Ordeal.KILLS)
        process.wait()


async def until(so: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not so():
            await asyncio.sleep(0.02)


@pytest.fixture
async def counter(bank: Bank) -> AsyncIterator[Counter]:
    """At the time that it is, as the worker is a process of its own."""
    bank.clock.now = datetime.now(UTC)
    assert isinstance(bank.clock, TurnedClock)
    counter = counter_of(bank, INCLUDED)
    yield counter
    assert await bank.discrepancies() == []


async def killed_then_finished(
    counter: Counter, wire: Wire, done: Callable[[], Awaitable[bool]], minutes_ahead: int = 0
) -> None:
    async with worker(counter.bank, wire, minutes_ahead):
        await until(wire.reached.is_set)
    wire.stalls = None
    async with worker(counter.bank, wire, minutes_ahead + 10), asyncio.timeout(PATIENCE_SECONDS):
        while not await done():
            await asyncio.sleep(0.1)


STEPS_TO_A_LOT = [
    ("GET", "/v1/checkout/sessions/"),
    ("GET", "/v1/payment_intents/"),
    ("GET", "/payment_methods"),  # the card that was saved with it
]


@pytest.mark.parametrize(("method", "path"), STEPS_TO_A_LOT)
async def test_between_the_payment_and_the_lot(counter: Counter, method: str, path: str) -> None:
    ada = await counter.customer()
    page = await counter.order(ada, save_card=True)
    page.pay()
    await counter.deliver()
    with wired(counter.sandbox) as wire:
        wire.stall(method, path, carried_out=True)

        async def done() -> bool:
            handled = not await counter.till.inbox.waiting()
            return handled and (await counter.payment(page.payment_id)).state == "credited"

        await killed_then_finished(counter, wire, done)
    assert await counter.lots(ada.account_id) == [10 * DOLLAR]
    assert (await counter.till.top_ups.wallet(ada.account_id)).card is not None


async def test_in_the_middle_of_the_ledgers_transaction(counter: Counter) -> None:
    ada = await counter.customer()
    page = await counter.order(ada)
    page.pay()
    await counter.deliver()

    async def done() -> bool:
        return (await counter.payment(page.payment_id)).state == "credited"

    with wired(counter.sandbox) as wire:
        async with counter.database.begin(timeout_seconds=None) as holder, worker(counter.bank, wire) as first:
            lock = f"SELECT 1 FROM account WHERE id = {ada.account_id} FOR UPDATE"
            await holder.exec_driver_sql(lock)
            await waits_for_a_lock(counter)
            first.kill()
            first.wait()
        async with worker(counter.bank, wire, minutes_ahead=10), asyncio.timeout(PATIENCE_SECONDS):
            while not await done():
                await asyncio.sleep(0.1)
    assert await counter.lots(ada.account_id) == [10 * DOLLAR]


async def waits_for_a_lock(counter: Counter) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with counter.database.begin() as connection:
                query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                if (await connection.exec_driver_sql(query)).scalar_one():
                    return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("carried_out", [False, True])
async def test_while_stripe_is_told_of_a_refund(counter: Counter, *, carried_out: bool) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada)
    counter.sandbox.trouble.refuse_next = 9
    refund = await counter.till.refunds.ask(ada.account_id, payment.id)
    counter.sandbox.trouble.refuse_next = 0
    assert refund.state == "taken"
    with wired(counter.sandbox) as wire:
        wire.stall("POST", "/v1/refunds", carried_out=carried_out)

        async def done() -> bool:
            async with counter.database.begin() as connection:
                return (await records.refund(connection, refund.id)).state == "done"

        await killed_then_finished(counter, wire, done)
    assert [row["amount"] for row in counter.sandbox.state.table("refund").rows.values()] == [1000]
    assert (await ada.account()).balance_nanodollars == 0


@pytest.mark.parametrize("carried_out", [False, True])
async def test_while_a_saved_card_is_charged(counter: Counter, *, carried_out: bool) -> None:
    ada = await with_a_card(counter)
    with wired(counter.sandbox) as wire:
        wire.stall("POST", "/v1/payment_intents", carried_out=carried_out)

        async def done() -> bool:
            return bool(await counter.lots(ada.account_id))

        await killed_then_finished(counter, wire, done)
    paid = counter.sandbox.state.table("payment_intent").rows.values()
    assert [row["amount_received"] for row in paid] == [2000]
    assert await counter.lots(ada.account_id) == [20 * DOLLAR]


async def with_a_card(counter: Counter) -> Customer:
    ada = await counter.customer()
    await counter.till.top_ups.save_card(ada.account_id, back=BACK, email="ada@example.com")
    (page,) = counter.sandbox.state.table("checkout.session").rows
    assert counter.sandbox.pay_session(page, Payer(CARD)).url is not None
    await counter.till.top_ups.find_card(ada.account_id)
    await counter.till.top_ups.set_rule(
        ada.account_id, "ada", below_nanodollars=5 * DOLLAR, top_up_cents=2000, ceiling_cents=10_000
    )
    return ada


STEPS_OF_A_RENEWAL = [
    ("GET", "/v1/subscriptions/", True),
    ("POST", "/finalize", True),
    ("POST", "/pay", False),
    ("POST", "/pay", True),
]


@pytest.mark.parametrize(("method", "path", "carried_out"), STEPS_OF_A_RENEWAL)
async def test_while_a_plan_is_renewed(counter: Counter, method: str, path: str, *, carried_out: bool) -> None:
    ada, running = await on_a_plan(counter)
    assert running.period_end is not None
    began = counter.bank.clock()
    counter.bank.clock.now = running.period_end + timedelta(minutes=1)
    counter.sandbox.catch_up()
    await counter.deliver()
    with wired(counter.sandbox) as wire:
        wire.stall(method, path, carried_out=carried_out)

        async def done() -> bool:
            now = await counter.till.subscriptions.running(ada.account_id)
            return now is not None and now.period_start == running.period_end

        ahead = (counter.bank.clock() - began) // timedelta(minutes=1) + 1
        await killed_then_finished(counter, wire, done, ahead)
    paid = counter.sandbox.state.table("invoice").rows.values()
    assert [row["amount_paid"] for row in paid] == [1000, 1000]
    async with counter.database.begin() as connection:
        payments = await records.payments_of(connection, ada.account_id)
        lots = await list_lots(connection, ada.account_id)
    assert [(one.kind, one.state) for one in payments] == 2 * [("plan", "credited")]
    assert sorted(lot.remaining_nanodollars for lot in lots) == [0, SMALL.allowance]
