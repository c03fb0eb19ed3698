"""Whose account it is, what Stripe repeats and refuses to repeat, and the pages that customers are sent to."""

from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from billing.ids import new_id
from billing.payments.provider import CheckoutStatus, PaymentsRefused
from tests.payments.on_a_plan import orders_of
from tests.stripe_account.merchant import BACK, Merchant, wall


async def test_the_account_says_whose_it_is_and_what_time_it_is(merchant: Merchant) -> None:
    account = await merchant.provider.account()
    assert account.id.startswith("acct_")
    assert not account.live
    assert (len(account.country), account.country) == (2, account.country.upper())
    assert (len(account.currency), account.currency) == (3, account.currency.lower())
    assert abs(account.clock - wall()) < timedelta(minutes=5)


async def test_a_key_that_comes_again_gives_the_same_and_never_another(merchant: Merchant) -> None:
    provider = merchant.provider
    ada = await merchant.customer()
    customer = await merchant.at_stripe(ada)
    card = await merchant.attach(ada, "pm_card_visa")
    key, reference = f"scenario-{new_id(wall())}", new_id(wall())
    words = {"customer": customer, "card": card, "what": "Credit", "reference": reference, "key": key}
    first = await provider.charge(cents=500, **words)  # type: ignore[arg-type]
    assert (await provider.charge(cents=500, **words)).id == first.id  # type: ignore[arg-type]
    with pytest.raises(PaymentsRefused):
        await provider.charge(cents=600, **words)  # type: ignore[arg-type]
    charged = await merchant.api.v1.payment_intents.list_async({"customer": customer})
    assert [(one.id, one.amount_received) for one in charged.data] == [(first.id, 500)]
    found = await provider.intent_of(reference, customer)
    assert found is not None
    assert found.id == first.id


async def test_a_page_to_buy_credit_on_is_opened_and_closed(merchant: Merchant) -> None:
    ada, order = await merchant.customer(), new_id(wall())
    url = await merchant.till.shop.order_credit(
        ada.account_id, 2500, order_id=order, back=BACK, email="ada@example.com", save_card=True
    )
    assert urlsplit(url).netloc == merchant.pages
    (payment,) = await merchant.payments(ada)
    assert payment.checkout is not None
    page = await merchant.provider.checkout(payment.checkout)
    assert (page.status, page.paid, page.cents, page.currency) == (CheckoutStatus.OPEN, False, 2500, "usd")
    assert (page.reference, page.customer, page.url) == (order, await merchant.at_stripe(ada), url)
    for _ in range(2):
        await merchant.provider.expire_checkout(payment.checkout)
    page = await merchant.provider.checkout(payment.checkout)
    assert (page.status, page.url) == (CheckoutStatus.EXPIRED, None)
    assert (await merchant.till.shop.look(order)).state == "expired"
    assert await merchant.lots(ada) == []


async def test_a_page_to_subscribe_on_is_opened_and_closed(merchant: Merchant) -> None:
    ada, plans = await merchant.customer(), merchant.till.subscriptions
    url = await plans.subscribe(ada.account_id, "small", back=BACK, email="ada@example.com")
    assert urlsplit(url).netloc == merchant.pages
    (ordered,) = await orders_of(merchant.database, ada.account_id)
    assert ordered.checkout is not None
    page = await merchant.provider.checkout(ordered.checkout)
    assert (page.status, page.cents, page.reference) == (CheckoutStatus.OPEN, 1000, ordered.id)
    await merchant.provider.expire_checkout(ordered.checkout)
    assert await plans.look(ada.account_id) is None
    (ordered,) = await orders_of(merchant.database, ada.account_id)
    assert ordered.state == "ended"


async def test_a_page_to_save_a_card_on_is_opened_and_closed(merchant: Merchant) -> None:
    ada = await merchant.customer()
    url = await merchant.till.top_ups.save_card(ada.account_id, back=BACK, email="ada@example.com")
    assert urlsplit(url).netloc == merchant.pages
    customer = await merchant.at_stripe(ada)
    (opened,) = (await merchant.api.v1.checkout.sessions.list_async({"customer": customer})).data
    assert (opened.mode, opened.url) == ("setup", url)
    page = await merchant.provider.checkout(opened.id)
    assert (page.status, page.cents, page.customer) == (CheckoutStatus.OPEN, 0, customer)
    await merchant.provider.expire_checkout(opened.id)
    assert (await merchant.provider.checkout(opened.id)).status is CheckoutStatus.EXPIRED
    assert (await merchant.till.top_ups.find_card(ada.account_id)).card is None
