"""The chat beside the API: what it costs, what it may cost, and its end."""

import re
import uuid

from sqlalchemy import select

from appliance import secrets
from appliance.identity.tables import person
from billing.charging.admission import Admission, Admitted, Refused, Request
from billing.charging.settlement import Ended, Metered, Settlement
from billing.customers.accounts import find_account
from billing.customers.keys import chat_digest, create_key, digest
from billing.database.partitions import make_partitions
from billing.ids import request_id
from billing.ledger.credit import Credit
from billing.prices.pricing import Tokens
from billing.prices.rates import Prices, first_rates
from billing.store.postgres import PostgresStore
from tests.web.chatting import Chat
from tests.web.conftest import Browser, House


class Ada:
    """Who has credit, a key for programs, and has opened the chat."""

    def __init__(self, house: House, account_id: int, by_program: bytes, in_chat: bytes) -> None:
        self.house = house
        self.account_id = account_id
        self.by_program = by_program
        self.in_chat = in_chat

    @classmethod
    async def of(cls, house: House, browser: Browser) -> "Ada":
        await Chat(house).sign_on(browser)
        pepper = secrets.read(house.settings.secrets).key_pepper
        async with house.database.begin() as connection:
            account = await find_account(connection, "ada@example.com")
            assert account is not None
            subject = (
                await connection.execute(select(person.c.subject).where(person.c.account_id == account.id))
            ).scalar_one()
            await make_partitions(connection, house.clock)
            await first_rates(connection, {"smollm2": Prices(100_000, 20_000, 400_000)}, house.clock)
            _, text = await create_key(connection, account.id, "laptop", pepper, house.clock)
        await Credit(PostgresStore(house.database), house.clock).purchase(
            account.id, 10**9, "Stripe", uuid.uuid4()
        )
        return cls(house, account.id, digest(pepper, text), chat_digest(pepper, subject))

    async def asks(self, key_digest: bytes, tokens: int) -> Admitted | Refused:
        store, clock = PostgresStore(self.house.database), self.house.clock
        request = Request(
            request_id(clock().timestamp()),
            key_digest,
            "smollm2",
            "/v1/chat/completions",
            tokens,
            tokens,
            counted=True,
        )
        decision = await Admission(store, clock).admit(request)
        if isinstance(decision, Admitted):
            metered = Metered(request.id, self.account_id, Tokens(tokens, 0, tokens), Ended.COMPLETE)
            await Settlement(store, clock).settle(metered)
        return decision


async def test_the_dashboard_shows_the_chat_beside_the_api(house: House) -> None:
    browser = house.browser()
    await browser.sign_up()
    ada = await Ada.of(house, browser)
    await ada.asks(ada.by_program, 10)
    assert "By channel" not in (await browser.get("/dashboard")).words
    await ada.asks(ada.in_chat, 20)
    await ada.asks(ada.in_chat, 20)
    shown = (await browser.get("/dashboard")).words
    by_key, by_channel = shown.partition("By key, in 30 days")[2].split("By channel, in 30 days")
    assert re.search(r"Chat 2 40 40 \$0\.\d+ laptop 1 10 10 \$0\.\d+", by_key)
    assert re.search(r"Chat 2 40 40 \$0\.\d+ API 1 10 10 \$0\.\d+", by_channel)
    assert re.search(r"smollm2 /v1/chat/completions Chat 20 0 20 \$", by_channel)
    assert re.search(r"smollm2 /v1/chat/completions API 10 0 10 \$", by_channel)


async def test_the_chat_has_limits_of_its_own_on_the_keys_page(house: House) -> None:
    browser = house.browser()
    await browser.sign_up()
    assert "Open the chat once" in (await browser.get("/keys")).words
    assert (await browser.post("/keys/chat", {"budget": "1", "requests": ""})).status == 400
    ada = await Ada.of(house, browser)
    assert (await browser.post("/keys/chat", {"budget": "-1", "requests": ""})).status == 400
    set_ = await browser.post("/keys/chat", {"budget": "0.00001", "requests": "2"})
    assert (set_.path, set_.status) == ("/keys", 200)
    assert (set_.field("budget"), set_.field("requests")) == ("0.00001", "2")
    assert isinstance(await ada.asks(ada.by_program, 10), Admitted)
    refused = await ada.asks(ada.in_chat, 100)
    assert isinstance(refused, Refused)
    assert refused.reason.value == "key_budget_spent"
    (letter,) = [letter for _, letter in await house.letters() if letter.subject == "A budget is used up"]
    assert letter.paragraphs[0].startswith("Of your chat's budget of $0.00001 for ")
    await browser.post("/keys/chat", {"budget": "", "requests": ""})
    assert isinstance(await ada.asks(ada.in_chat, 100), Admitted)


async def test_ending_the_chat_ends_no_key_of_programs_and_says_what_it_does(house: House) -> None:
    browser, mallory = house.browser(), house.browser("198.51.100.1")
    await browser.sign_up()
    await mallory.sign_up("mallory@example.com")
    ada, chat = await Ada.of(house, browser), Chat(house)
    tokens = await chat.sign_on(browser)
    shown = await browser.get("/keys")
    assert "It answers nobody then, until you sign in to it again" in shown.words
    assert shown.text.count("/keys/revoke") == 1
    await mallory.post("/keys/chat/end")
    assert isinstance(await ada.asks(ada.in_chat, 1), Admitted)
    ended = await browser.post("/keys/chat/end")
    assert "You are not signed in to the chat." in ended.words
    refused = await ada.asks(ada.in_chat, 1)
    assert isinstance(refused, Refused)
    assert refused.reason.value == "invalid_key"
    assert isinstance(await ada.asks(ada.by_program, 1), Admitted)
    assert (await chat.refresh(tokens["refresh_token"])).status_code == 400
    assert isinstance(await ada.asks(ada.in_chat, 1), Refused)
    await chat.sign_on(browser)
    assert isinstance(await ada.asks(ada.in_chat, 1), Admitted)


async def test_without_a_chat_no_page_speaks_of_one(house: House) -> None:
    browser = house.without_chat().browser()
    await browser.sign_up()
    assert "chat" not in (await browser.get("/keys")).words.lower()
