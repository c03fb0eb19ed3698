"""Where Stripe reckons the tax, it is shown before anything is paid; whoever is nowhere is asked where he is."""

import pytest

from tests.web.conftest import Browser, House
from tests.web.shopping import WHO, account_of, balance_of, buy

NOWHERE = WHO | {"country": "US", "postal_code": "?", "city": "New York"}
SWEDISH = WHO | {"country": "SE", "business": "yes", "tax_number": "SE556703748501", "city": "Lund"}


@pytest.fixture
def settings_more() -> str:
    return "vat: {by: stripe, prices: excluding}\n"


@pytest.fixture
async def ada(house: House) -> Browser:
    browser = house.browser()
    await browser.sign_up()
    return browser


async def test_the_tax_is_shown_before_and_paid_after(house: House, ada: Browser) -> None:
    await ada.post("/billing", WHO)
    summary = await ada.get("/credit/buy/2000")
    for told in ("$20.00", "VAT 25 %", "$5.00", "$25.00"):
        assert told in summary.words, told
    assert (await buy(house, ada, 20)).title == "Paid: your credit is there"
    assert await balance_of(house, await account_of(house)) == 2000
    await ada.post("/billing", SWEDISH)
    assert "$5.00" not in (await ada.get("/credit/buy/2000")).words


@pytest.mark.parametrize("way", ["/credit/buy/2000", "/plan/choose/{plan}"])
async def test_whoever_is_nowhere_is_asked_where_he_is_and_comes_back(
    house: House, ada: Browser, way: str
) -> None:
    there = way.format(plan=house.settings.plans[0].id)
    await ada.post("/billing", NOWHERE)
    asked = await ada.get(there)
    assert (asked.path, asked.field("next")) == ("/billing", there)
    assert "The VAT cannot be told for this address" in asked.words
    assert (await ada.post("/billing", WHO | {"next": asked.field("next")})).path == there
