"""Stripe Tax: what a calculation says is what a page asks for, and whoever is nowhere is refused."""

import uuid

import pytest

from billing.documents.buyers import Buyer
from billing.payments.provider import BuyerRefused
from tests.stripe_account.merchant import ADA, BACK, Merchant

NEMO = Buyer("Nemo", "1 Main St", "?", "New York", "US", business=False)


async def test_a_page_asks_for_the_tax_that_a_calculation_says(merchant: Merchant) -> None:
    """Wherever the account is registered for tax, or nowhere."""
    if lacks := await merchant.taxing.tax_lacks():
        pytest.skip(f"Stripe Tax is not active on this account: it lacks {lacks}")
    customer = await merchant.at_stripe(await merchant.customer())
    await merchant.taxing.put_buyer(customer, ADA, str(uuid.uuid4()))
    calculated = await merchant.taxing.calculate_tax(ADA, 2000, key=str(uuid.uuid4()))
    assert calculated.cents == 2000 + calculated.tax.vat
    page = await merchant.taxing.sell(
        customer=customer,
        cents=2000,
        what="Credit",
        reference=uuid.uuid4(),
        save_card=False,
        back=BACK,
        key=str(uuid.uuid4()),
        taxed=True,
    )
    await merchant.taxing.expire_checkout(page.id)
    assert (page.cents, page.tax) == (calculated.cents, calculated.tax)
    with pytest.raises(BuyerRefused):
        await merchant.taxing.put_buyer(customer, NEMO, str(uuid.uuid4()))
