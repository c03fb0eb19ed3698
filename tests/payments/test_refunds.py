"""Money goes back: the credit first, then Stripe, once each, wherever it was interrupted."""

import asyncio
from datetime import UTC, datetime
from functools import partial
from unittest.mock import AsyncMock
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.stripe_sandbox.refunds import fail
from billing.charging.admission import Admitted
from billing.documents.vat import Taxing, VatRule, quote
from billing.errors import Conflict
from billing.payments import records
from billing.payments.provider import EventSeen
from billing.payments.records import Payment, Refund
from billing.payments.refunds import _net_and_vat
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.prices.pricing import Tokens
from tests.payments.conftest import ADA, Counter

DOLLAR = 10**9


async def refunded_at_stripe(counter: Counter) -> list[int]:
    return [row["amount"] for row in counter.sandbox.state.table("refund").rows.values()]


async def test_unused_credit_goes_back_by_the_customer(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada, 2500)
    assert await counter.till.refunds.why_not(ada.account_id, payment.id) is None
    refund = await counter.till.refunds.ask(ada.account_id, payment.id)
    assert refund.state == "done"
    assert (refund.net_cents, refund.vat_cents, refund.gross_cents) == (2000, 500, 2500)
    assert (await ada.account()).balance_nanodollars == 0
    assert await refunded_at_stripe(counter) == [2500]
    with pytest.raises(Conflict, match="paid back already"):
        await counter.till.refunds.ask(ada.account_id, payment.id)


async def test_tax_on_top_goes_back_with_it(taxed: Counter) -> None:
    ada = await taxed.customer()
    payment = await taxed.bought(ada, 2500)
    await taxed.till.refunds.ask(ada.account_id, payment.id)
    assert await refunded_at_stripe(taxed) == [3125]
    assert await taxed.moved("vat_refund") == 625 * NANODOLLARS_PER_CENT


async def test_who_used_some_or_waited_too_long_asks_the_operator(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada)
    admitted = await ada.admitted()
    await ada.settle(admitted, Tokens(100, 0, 50))
    with pytest.raises(Conflict, match="a part of it was used"):
        await counter.till.refunds.ask(ada.account_id, payment.id)
    left = (await ada.account()).balance_nanodollars
    refund = await counter.till.refunds.by_operator(payment.id, "operator", "a gesture")
    assert refund.state == "done"
    assert refund.value_nanodollars == left // NANODOLLARS_PER_CENT * NANODOLLARS_PER_CENT
    assert (await ada.account()).balance_nanodollars == left - refund.value_nanodollars < NANODOLLARS_PER_CENT
    with pytest.raises(Conflict, match=r"\$0"):
        await counter.till.refunds.by_operator(payment.id, "operator", "more")


async def test_what_a_running_request_may_need_stays(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada)
    await ada.admitted()
    with pytest.raises(Conflict, match="running"):
        await counter.till.refunds.ask(ada.account_id, payment.id)
    assert await counter.till.refunds.most(payment.id) == 999


async def test_a_refund_and_a_request_at_once_never_take_the_same_credit(counter: Counter) -> None:
    for _ in range(8):
        ada = await counter.customer()
        payment = await counter.bought(ada, 500)
        asked, refund = await asyncio.gather(
            ada.ask(), counter.till.refunds.ask(ada.account_id, payment.id), return_exceptions=True
        )
        if isinstance(asked, Admitted):
            assert isinstance(refund, Conflict)
            await ada.settle(asked, Tokens(100, 0, 50))
        else:
            assert not isinstance(refund, BaseException)
            assert (await ada.account()).balance_nanodollars == 0


async def test_two_at_once_are_one(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada)
    asks = (counter.till.refunds.ask(ada.account_id, payment.id) for _ in range(4))
    done = await asyncio.gather(*asks, return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in done) == 1
    assert await refunded_at_stripe(counter) == [1000]


async def test_a_button_that_is_pressed_twice_gives_back_once_and_says_so_twice(counter: Counter) -> None:
    payment, one = await counter.bought(await counter.customer()), ada_uuid()
    presses = (counter.till.refunds.by_operator(payment.id, "operator", "a gesture", 400, one) for _ in range(4))
    assert {refund.id for refund in await asyncio.gather(*presses)} == {one}
    assert await refunded_at_stripe(counter) == [400]


async def test_a_button_that_is_pressed_again_after_a_refusal_is_refused_again(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request has begun since the operator was told how much there is."""
    ada = await counter.customer()
    payment, one = await counter.bought(ada), ada_uuid()
    await ada.admitted()
    monkeypatch.setattr(counter.till.refunds, "most", AsyncMock(return_value=1000))
    for _ in range(2):
        with pytest.raises(Conflict, match="cannot be refunded"):
            await counter.till.refunds.by_operator(payment.id, "operator", "a gesture", 1000, one)
    assert await refunded_at_stripe(counter) == []


async def test_a_refund_of_ours_whose_answer_was_lost_is_adopted_as_itself(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada)
    counter.sandbox.trouble.lose_next = 3
    refund = await counter.till.refunds.by_operator(payment.id, "operator", "a gesture", 400)
    assert refund.state == "taken"
    (at_stripe,) = counter.sandbox.state.table("refund").rows
    adopted = await counter.till.refunds.adopt(at_stripe, "operator", "it is there")
    assert (adopted.id, adopted.state) == (refund.id, "done")
    assert (await ada.account()).balance_nanodollars == 600 * NANODOLLARS_PER_CENT


async def test_stripes_lost_answer_is_no_second_refund(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada)
    counter.sandbox.trouble.lose_next = 3
    refund = await counter.till.refunds.ask(ada.account_id, payment.id)
    assert refund.state == "taken"
    counter.bank.clock.turn(days=40)
    assert await counter.till.refunds.run_once() == 1
    assert await refunded_at_stripe(counter) == [1000]


async def test_the_webhook_may_be_faster_than_the_answer(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada)
    counter.sandbox.trouble.lose_next = 3
    refund = await counter.till.refunds.ask(ada.account_id, payment.id)
    await counter.hear()
    async with counter.database.begin() as connection:
        assert (await records.refund(connection, refund.id)).state == "done"


async def test_a_refund_that_failed_is_tried_again_or_paid_otherwise(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada)
    refund = await counter.till.refunds.ask(ada.account_id, payment.id)
    counter.sandbox.control(lambda world: fail(world, refund.stripe_id or ""))
    await counter.hear()
    async with counter.database.begin() as connection:
        failed = await records.refund(connection, refund.id)
    assert (failed.state, failed.failure) == ("failed", "unknown")
    assert "operator:refund_failed" in await counter.told()
    with pytest.raises(ValueError, match="reason"):
        await counter.till.refunds.again(refund.id, "operator", " ")
    await counter.till.refunds.again(refund.id, "operator", "the bank was asked")
    await counter.till.refunds.run_once()
    async with counter.database.begin() as connection:
        assert (await records.refund(connection, refund.id)).state == "done"
    with pytest.raises(Conflict):
        await counter.till.refunds.otherwise(refund.id, "operator", "by bank")


async def failed_once(counter: Counter) -> tuple[Payment, Refund]:
    """A refund that the bank sent back, and of which that is known here."""
    ada = await counter.customer()
    payment = await counter.bought(ada)
    refund = await counter.till.refunds.ask(ada.account_id, payment.id)
    counter.sandbox.control(lambda world: fail(world, refund.stripe_id or ""))
    await counter.hear()
    return payment, refund


async def now(counter: Counter, refund: Refund) -> Refund:
    async with counter.database.begin() as connection:
        return await records.refund(connection, refund.id)


async def test_what_stripe_says_of_a_try_that_failed_does_not_undo_the_next(counter: Counter) -> None:
    _, refund = await failed_once(counter)
    for _ in range(2):
        refund = await now(counter, refund)
        old = EventSeen("evt_old", "refund.failed", refund.stripe_id or "", counter.bank.clock())
        await counter.till.refunds.again(refund.id, "operator", "the bank was asked")
        await counter.till.refunds.settle(old)
        assert (await now(counter, refund)).state == "taken"
        await counter.till.refunds.run_once()
        await counter.till.refunds.settle(old)
        assert (await now(counter, refund)).state == "done"
        newest = (await now(counter, refund)).stripe_id or ""
        assert newest != old.object
        counter.sandbox.control(partial(fail, name=newest))
        await counter.hear()
        assert (await now(counter, refund)).state == "failed"


async def test_one_that_stripe_sent_after_all_is_done_and_not_paid_otherwise(counter: Counter) -> None:
    payment, refund = await failed_once(counter)
    made = await counter.provider.refund(
        intent=payment.intent or "", cents=1000, reference=refund.id, key="one that was under way"
    )
    with pytest.raises(Conflict, match="after all"):
        await counter.till.refunds.otherwise(refund.id, "operator", "by bank")
    assert ((await now(counter, refund)).state, (await now(counter, refund)).stripe_id) == ("done", made.id)


async def test_the_event_of_another_try_than_the_one_that_failed_is_believed(counter: Counter) -> None:
    payment, refund = await failed_once(counter)
    made = await counter.provider.refund(
        intent=payment.intent or "", cents=1000, reference=refund.id, key="one that was under way"
    )
    await counter.hear()
    assert ((await now(counter, refund)).state, (await now(counter, refund)).stripe_id) == ("done", made.id)


async def test_what_is_refunded_at_stripe_alone_is_named(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada)
    await counter.hear()
    assert payment.intent is not None
    await counter.provider.refund(intent=payment.intent, cents=100, reference=ada_uuid(), key="by hand")
    await counter.hear()
    assert any("refunded at Stripe and not here" in error for error in await counter.errors())


async def test_a_refund_that_was_made_at_stripe_is_adopted_once_and_its_event_is_handled(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada)
    await counter.hear()
    assert payment.intent is not None
    made = await counter.provider.refund(intent=payment.intent, cents=400, reference=ada_uuid(), key="by hand")
    await counter.hear()
    adopted = [counter.till.refunds.adopt(made.id, "operator", "asked for by mail") for _ in range(3)]
    await asyncio.gather(*adopted[1:])
    refund = await adopted[0]
    assert (refund.state, refund.gross_cents, refund.stripe_id) == ("done", 400, made.id)
    assert (await ada.account()).balance_nanodollars == 600 * NANODOLLARS_PER_CENT
    assert len(counter.sandbox.state.table("refund").rows) == 1
    counter.bank.clock.turn(hours=2)
    await counter.till.inbox.run_once()
    assert await counter.errors() == []
    assert await counter.bank.discrepancies() == []


def ada_uuid() -> UUID:
    return UUID(int=7)


RATES = st.integers(0, 2999)


@given(pieces=st.lists(st.integers(1, 20_000), min_size=1, max_size=6), basis_points=RATES, included=st.booleans())
def test_pieces_of_a_refund_add_up_to_the_payment(pieces: list[int], basis_points: int, included: bool) -> None:
    price = sum(pieces)
    quoted = quote(price, ADA, Taxing([VatRule("*", None, basis_points, "3")], included=included), is_credit=True)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    payment = Payment(
        UUID(int=1), 1, "credit", "credited", quoted.value, quoted.net, quoted.vat, quoted.gross, "3",
        basis_points, ADA, now, now, None, None, None, 1, None, None,
    )  # fmt: skip
    before_each = [sum(pieces[:number]) for number in range(len(pieces))]
    parts = [_net_and_vat(payment, before, cents) for before, cents in zip(before_each, pieces, strict=True)]
    net, vat = (sum(amounts) for amounts in zip(*parts, strict=True))
    assert (net, vat, net + vat) == (payment.net_cents, payment.vat_cents, payment.gross_cents)
    assert min(amount for part in parts for amount in part) >= 0
