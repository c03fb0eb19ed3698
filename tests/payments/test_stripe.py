"""The adapter: what Stripe's answers become here."""

import uuid

import pytest
import stripe

from billing.payments.provider import Declined, Gone, PaymentsRefused, PaymentsUnavailable, RightsMissing
from billing.payments.stripe.errors import asked, without_persons
from tests.payments.conftest import Counter

WHO = uuid.UUID(int=7)


async def test_errors_are_the_ports(counter: Counter) -> None:
    provider = counter.provider
    customer = await provider.create_customer(1, "ada@example.com", "Ada", "key")
    with pytest.raises(Gone):
        await provider.intent("pi_nothing")
    with pytest.raises(PaymentsRefused, match="Stripe: ") as refused:
        await provider.charge(customer=customer, card="pm_card_visa", cents=1, what="x", reference=WHO, key="a")
    assert "ada" not in str(refused.value)
    with pytest.raises(Declined) as declined:
        await provider.charge(
            customer=customer, card="pm_card_visa_chargeDeclined", cents=500, what="x", reference=WHO, key="b"
        )
    assert declined.value.code == "generic_decline"
    counter.sandbox.hold("c")
    with pytest.raises(PaymentsUnavailable):
        await provider.charge(customer=customer, card="pm_card_visa", cents=500, what="x", reference=WHO, key="c")
    counter.sandbox.trouble.refuse_next = 9
    with pytest.raises(PaymentsUnavailable):
        await provider.create_customer(2, "b@example.com", "B", "other key")


@pytest.mark.parametrize(
    "message", ["Invalid email address: ada@example.com", "You may only pay as 'ada'", 'No such name: "ada"']
)
def test_a_message_of_stripes_repeats_nobodys_data(message: str) -> None:
    assert "ada" not in without_persons(message)


async def test_a_right_that_lacks_is_named_and_nothing_else() -> None:
    async def refused() -> None:
        raise stripe.PermissionError(
            "The provided key 'rk_live_51abc' does not have the required permissions for this endpoint on account"
            " 'acct_1' of ada@example.com. Having the 'rak_charge_read' permission would allow this request."
        )

    with pytest.raises(RightsMissing, match="'rak_charge_read' permission") as missing:
        await asked(refused())
    assert not [said for said in ("rk_live", "acct_1", "ada") if said in str(missing.value)]


async def test_the_same_key_is_the_same_write(counter: Counter) -> None:
    one = await counter.provider.create_customer(1, "ada@example.com", "Ada", "key")
    assert await counter.provider.create_customer(1, "ada@example.com", "Ada", "key") == one


async def test_whose_key_it_is(counter: Counter) -> None:
    account = await counter.provider.account()
    assert (account.country, account.currency, account.live) == ("NO", "usd", False)


async def test_movements_are_kept_once_with_their_payment(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada)
    await counter.till.refunds.ask(ada.account_id, payment.id)
    counter.bank.clock.turn(minutes=1)
    assert await counter.till.sweep.import_movements() == 2
    assert await counter.till.sweep.import_movements() == 0
    async with counter.database.begin() as connection:
        rows = await connection.exec_driver_sql(
            "SELECT kind, payment_id, cents FROM stripe_movement ORDER BY cents"
        )
        assert [tuple(row) for row in rows] == [("refund", payment.id, -1000), ("charge", payment.id, 1000)]
