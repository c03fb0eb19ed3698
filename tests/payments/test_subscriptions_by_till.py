"""Plans by the wiring of the system: signed webhooks in, and what the worker makes of them."""

from appliance.stripe_sandbox.hosted import Buyer as Payer
from appliance.till import Offer, till
from billing.plans.versions import publish
from tests.payments.conftest import BACK, BOUNDS, CARD, Counter
from tests.payments.on_a_plan import SMALL


async def test_a_plan_begins_renews_and_ends_by_webhooks_alone(counter: Counter) -> None:
    offer = Offer((SMALL,))
    counter.till = till(
        counter.database, counter.provider, counter.taxing, BOUNDS, counter.bank.clock, 30, None, offer
    )
    async with counter.database.begin() as connection:
        await publish(connection, offer.plans, counter.bank.clock)
    ada, plans = await counter.customer(), counter.till.subscriptions
    await plans.subscribe(ada.account_id, "small", back=BACK, email="ada@example.com")
    (ordered,) = await plans.history(ada.account_id)
    assert ordered.checkout is not None
    counter.sandbox.pay_session(ordered.checkout, Payer(CARD))
    await counter.hear()
    running = await plans.running(ada.account_id)
    assert running is not None
    assert running.period_end is not None
    await plans.cancel(ada.account_id)
    await plans.resume(ada.account_id)
    counter.bank.clock.now = running.period_end
    counter.bank.clock.turn(hours=2)
    counter.sandbox.catch_up()
    await counter.hear()
    renewed = await plans.running(ada.account_id)
    assert renewed is not None
    assert renewed.period_start == running.period_end
    await plans.cancel(ada.account_id)
    counter.bank.clock.turn(days=32)
    counter.sandbox.catch_up()
    await counter.hear()
    assert await plans.running(ada.account_id) is None
    assert await counter.errors() == []
