"""What an operator does in the console."""

import asyncio
import re
import uuid
from dataclasses import replace
from datetime import timedelta

from appliance import secrets
from billing.charging.admission import Admission, Admitted, Request
from billing.charging.settlement import Ended, Metered, Settlement
from billing.customers.accounts import find_account, get_account
from billing.customers.keys import create_key, digest, owner_of
from billing.customers.standing import Limits
from billing.database.partitions import make_partitions
from billing.database.tables import account
from billing.ids import new_id
from billing.ledger.credit import Credit
from billing.prices.pricing import Tokens
from billing.prices.rates import Prices, first_rates, list_versions
from billing.statements import closing
from billing.statements.closing import Closing
from billing.store.postgres import PostgresStore
from serving.client.published import REREAD_SECONDS
from tests.browser.served import publish
from tests.web.conftest import PASSWORD, House

MOVES = (
    ("suspend", "suspended"), ("resume", "active"), ("delete", "deleting"), ("restore", "active"),
    ("terminate", "terminated"),
)  # fmt: skip


async def test_customers_are_found_by_what_is_known_of_them(house: House) -> None:
    ada, operator = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up("ada@example.com", "Ada King")
    await operator.become_operator()
    for search in ("king", "ADA@", str(await number_of(house)), ""):
        assert "ada@example.com" in (await operator.get(f"/console/customers?search={search}")).words, search
    for search in ("nobody", "%", "_", "\\"):
        assert "ada@example.com" not in (await operator.get(f"/console/customers?search={search}")).words, search


async def test_credit_is_given_once_however_often_the_form_is_sent(house: House) -> None:
    ada, operator = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await operator.become_operator()
    number = await number_of(house)
    shown = await operator.get(f"/console/customers/{number}")
    form = {"cause": shown.field("cause"), "amount": "10.50", "reason": "welcome"}
    for _ in range(2):
        assert "That is done" in (await operator.post(f"/console/customers/{number}/credit", form)).words
    async with house.database.begin() as connection:
        assert (await get_account(connection, number)).balance_nanodollars == 10_500_000_000
    for wrong in ({"amount": "-1"}, {"amount": "ten"}, {"reason": " "}, {"cause": "x"}):
        assert (await operator.post(f"/console/customers/{number}/credit", form | wrong)).status == 400
    assert "$10.50" in (await ada.get("/dashboard")).words
    assert "$10.50" in (await operator.get("/console")).words


async def test_limits_are_set_and_shown(house: House) -> None:
    ada, operator = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await operator.become_operator()
    number = await number_of(house)
    form = {"requests_per_minute": "60", "tokens_per_minute": "", "concurrent_requests": "4", "budget": "25"}
    shown = await operator.post(f"/console/customers/{number}/limits", form)
    assert shown.field("requests_per_minute") == "60"
    assert shown.field("budget") == "$25.00"
    assert (await operator.post(f"/console/customers/{number}/limits", form | {"budget": "0"})).status == 400
    async with house.database.begin() as connection:
        assert (await get_account(connection, number)).concurrent_requests == 4


async def test_every_act_is_on_record_with_its_reason(house: House) -> None:
    ada, operator = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await operator.become_operator()
    number = await number_of(house)
    for move, after in MOVES:
        form = {"move": move, "reason": f"because {move}"}
        shown = await operator.post(f"/console/customers/{number}/standing", form)
        assert after in shown.words
        refused = await operator.post(f"/console/customers/{number}/standing", {"move": move, "reason": " "})
        assert refused.status == 400
    trail = (await operator.get("/console/audit")).words
    assert re.findall(r"because (\w+)", trail) == ["terminate", "restore", "delete", "resume", "suspend"]
    async with house.database.begin() as connection:
        operators = await find_account(connection, "operator")
    assert operators is not None
    assert f"operator {operators.id}" in trail


async def test_an_operator_ends_all_sessions_of_one_customer_and_says_why(house: House) -> None:
    ada, eve, operator = house.browser(), house.browser("198.51.100.2"), house.browser("198.51.100.1")
    await ada.sign_up()
    await eve.sign_up("eve@example.com", "Eve")
    await operator.become_operator()
    key = (await ada.client.post("/playground/key", headers={"sec-fetch-site": "same-origin"})).json()["key"]
    here = f"/console/customers/{await number_of(house)}"
    assert "1 are open" in (await operator.get(here)).words
    assert (await operator.post(f"{here}/sessions", {"reason": " "})).status == 400
    assert (await ada.get("/dashboard")).path == "/dashboard"
    ended = await operator.post(f"{here}/sessions", {"reason": "a stolen laptop"})
    assert "0 are open" in ended.words
    assert "sessions ended account a stolen laptop" in ended.words
    assert (await ada.get("/dashboard")).path == "/sign-in"
    assert (await eve.get("/dashboard")).path == "/dashboard"
    async with house.database.begin() as connection:
        pepper = secrets.read(house.settings.secrets).key_pepper
        assert await owner_of(connection, digest(pepper, key), house.clock()) is None
    assert (await operator.post("/console/customers/999999/sessions", {"reason": "x"})).status == 404


async def test_an_account_that_is_not_there_is_a_page_that_says_so(house: House) -> None:
    operator = house.browser()
    await operator.become_operator()
    for number in ("999999", "x", "9" * 30):
        assert (await operator.get(f"/console/customers/{number}")).status == 404
    form = {"requests_per_minute": "1"}
    assert (await operator.post("/console/customers/999999/limits", form)).status == 404


async def number_of(house: House) -> int:
    async with house.database.begin() as connection:
        account = await find_account(connection, "ada@example.com")
    assert account is not None
    return account.id


async def test_what_runs_and_what_ended_is_seen_and_nothing_of_what_was_said(house: House) -> None:
    ada, operator = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await operator.become_operator()
    number, store = await number_of(house), PostgresStore(house.database)
    await Credit(store, house.clock).purchase(number, 10**9, "Stripe", uuid.uuid4())
    async with house.database.begin() as connection:
        await make_partitions(connection, house.clock)
        await first_rates(connection, {"smollm2": Prices(100_000, 20_000, 400_000)}, house.clock)
        _, text = await create_key(connection, number, "laptop", b"p" * 32, house.clock)
    for answered in (True, False):
        request = Request(
            new_id(house.clock()), digest(b"p" * 32, text), "smollm2", "/v1/chat/completions", 70, 30
        )
        assert isinstance(await Admission(store, house.clock).admit(request), Admitted)
        if answered:
            metered = Metered(request.id, number, Tokens(61, 0, 17), Ended.COMPLETE)
            await Settlement(store, house.clock).settle(metered)
    house.clock.turn(seconds=42)
    shown = (await operator.get("/console/activity")).words
    assert re.search(r"Running .* 42 ada@example.com smollm2 /v1/chat/completions api \$0\.\d+", shown)
    assert re.search(
        r"Ended last .* ada@example.com smollm2 /v1/chat/completions api 61 17 \$0\.\d+ complete", shown
    )


async def test_a_new_month_begins_with_nothing_spent(house: House) -> None:
    ada, operator = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    number = await number_of(house)
    await operator.become_operator()
    await house.standings().set_limits(number, "operator", Limits(requests_per_minute=60, budget=10**9))
    for month, spent in ((house.clock(), "$0.25"), (house.clock() - timedelta(days=32), "$0.00")):
        values = {"month": 12 * month.year + month.month - 1, "month_spent_nanodollars": 250_000_000}
        async with house.database.begin() as connection:
            await connection.execute(account.update().where(account.c.id == number).values(**values))
        shown = (await ada.get("/keys")).words
        assert f"60 requests a minute $1.00 a month, of which {spent} is used" in shown
        assert f"Charged this month {spent}" in (await operator.get(f"/console/customers/{number}")).words


async def test_the_models_are_seen_with_their_queue_their_pace_and_their_memory(house: House) -> None:
    operator = house.browser()
    await operator.become_operator()
    assert "There are none yet." in (await operator.get("/console/models")).words
    publish(house.settings)
    await asyncio.sleep(REREAD_SECONDS)
    shown = (await operator.get("/console/models")).words
    assert "Replicas 2 / 2 Running 59 In the queue 4 Tokens a second 4,183" in shown
    assert "d1x9kc02 10.0.0.1 31 4 71.0 GiB / 80.0 GiB of its GPUs" in shown
    assert "z0a5f8n1 10.0.0.2 2 0 1.0 GiB no GPU" in shown
    assert "smollm2 ready 2 59 4 4,183" in (await operator.get("/console")).words


async def test_the_overview_says_whether_the_books_of_the_last_day_agree(house: House) -> None:
    operator = house.browser()
    await operator.become_operator()
    assert "The books are checked once a day is over." in (await operator.get("/console")).words
    found = Closing(house.clock().date() - timedelta(days=1), 1234, 0, 0, 0, house.clock())
    async with house.database.begin() as connection:
        await closing.record(connection, replace(found, differences=3))
    assert "do not agree: 3 requests differ" in (await operator.get("/console")).words
    async with house.database.begin() as connection:
        await closing.record(connection, found)
    assert "agree: 1,234 requests, as they were metered" in (await operator.get("/console")).words


async def test_whoever_is_invited_signs_up_with_the_address_of_the_mail(house: House) -> None:
    closed = house.with_site(sign_up="invitation")
    operator, ada = closed.browser("198.51.100.1"), closed.browser()
    await operator.become_operator()
    assert (await ada.get("/sign-up")).status == 403
    assert (await operator.post("/console/invitations", {"email": "no address"})).status == 400
    await operator.post("/console/invitations", {"email": "ada@example.com"})
    link = await closed.link("/sign-up")
    token = (await ada.get(link)).field("link")
    form = {"name": "Ada", "password": PASSWORD, "terms": "2025-10-28"}
    for email, sent in (("eve@example.com", token), ("ada@example.com", ""), ("ada@example.com", "x" * 43)):
        assert (await ada.post("/sign-up", form | {"email": email, "link": sent})).status == 400
    assert (await ada.post("/sign-up", form | {"email": "ada@example.com", "link": token})).status == 200
    assert (await ada.confirm(await closed.link("/confirm"))).path == "/dashboard"


async def test_a_change_of_price_is_seen_before_it_is_announced(house: House) -> None:
    ada, operator = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await operator.become_operator()
    await house.letters()
    async with house.database.begin() as connection:
        await first_rates(connection, {"smollm2": Prices(100_000, 20_000, 400_000, image=5)}, house.clock)
    day = (house.clock() + timedelta(days=15)).date().isoformat()
    form = {"model": "smollm2", "day": day, "input": "0.12", "cached_input": "0.02", "output": "0.50"}
    seen = await operator.post("/console/rates/preview", form)
    assert "Output: $0.50 (until then $0.40)" in seen.words
    assert "2 people are told" in seen.words
    assert await house.letters() == []
    soon = (house.clock() + timedelta(days=3)).date().isoformat()
    for wrong in ({"day": soon}, {"day": "tomorrow"}, {"model": "none"}, {"input": "-1"}, {"output": "much"}):
        for path in ("/console/rates/preview", "/console/rates"):
            assert (await operator.post(path, form | wrong)).status == 400, wrong
    assert f"{float(form['output']):.2f}" in (await operator.post("/console/rates", form)).words
    assert {to for to, _ in await house.letters()} == {"ada@example.com", "op@example.com"}
    async with house.database.begin() as connection:
        (_, announced) = await list_versions(connection, "smollm2")
    assert announced.prices == Prices(120_000, 20_000, 500_000, image=5)
    assert (await operator.post("/console/rates", form)).status == 400
    back = {"rate": str(announced.id), "reason": "a typing error"}
    assert (await operator.post("/console/rates/withdraw", back | {"reason": " "})).status == 400
    assert "$0.50" not in (await operator.post("/console/rates/withdraw", back)).words
    assert {letter.subject for _, letter in await house.letters()} == {"The price of smollm2 does not change"}
    assert (await operator.post("/console/rates/withdraw", back)).status == 400
    assert (await operator.post("/console/rates", form)).status == 200


async def test_a_price_is_agreed_on_with_one_customer(house: House) -> None:
    ada, operator = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await operator.become_operator()
    async with house.database.begin() as connection:
        await first_rates(connection, {"smollm2": Prices(100_000, 20_000, 400_000, image=5)}, house.clock)
    here = f"/console/customers/{await number_of(house)}/prices"
    day = (house.clock() + timedelta(days=3)).date().isoformat()
    form = {"model": "smollm2", "input": "0.05", "cached_input": "0.01", "output": "0.20", "reason": "a contract"}
    for wrong in ({"model": "none"}, {"input": "-1"}, {"reason": " "}, {"from": "soon"}, {"until": "2020-01-01"}):
        assert (await operator.post(here, form | wrong)).status == 400, wrong
    assert "$0.20" in (await operator.post(here, form)).words
    await operator.post(here, form | {"from": day, "output": "0.30"})
    async with house.database.begin() as connection:
        now, later = await list_versions(connection, account_id=await number_of(house))
    assert now.prices == Prices(50_000, 10_000, 200_000, image=5)
    back = {"rate": str(later.id), "reason": "not agreed on"}
    other = f"/console/customers/{await number_of(house) + 1}/prices/withdraw"
    assert (await operator.post(other, back)).status == 400
    assert "taken back" in (await operator.post(f"{here}/withdraw", back)).words
    assert (await operator.post(f"{here}/withdraw", back | {"rate": str(now.id)})).status == 400
    assert "a contract" in (await operator.get(f"/console/customers/{await number_of(house)}")).words
