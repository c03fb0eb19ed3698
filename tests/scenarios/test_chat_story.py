"""What `make chat-check` shows of the real LibreChat, with a stand-in for it: one customer, in a whole system."""

import asyncio
import json
import re
from typing import Any

import aiohttp
import httpx
import pytest

from tests.browser.conftest import link_of_mail, site_url
from tests.browser.sample import PASSWORD
from tests.chat_check.books import let_the_days_pass, wait_until_deleted
from tests.librechat.replayed import Recorded, is_whole, recorded
from tests.scenarios.conftest import CHAT
from tests.scenarios.librechat import LibreChat, browser_at
from tests.scenarios.nowhere import assert_nowhere
from tests.scenarios.system import System, books_balance
from tests.web.openid_clients import NotTaken

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.timeout(600)]

MODEL, CANARY, PATH = "smollm2", "zqstory8812", "/v1/chat/completions"
LIMIT = {"max_tokens": 16}
BROKEN_OFF_AFTER = 4


async def sign_up(system: System, browser: httpx.AsyncClient, name: str) -> str:
    """Somebody with credit, whose browser is signed in at the site; their email."""
    email = f"{name.lower()}@example.com"
    form = await browser.get("/sign-up")
    terms = re.search('name="terms" value="([^"]*)"', form.text)
    assert terms is not None
    filled = {"name": name, "email": email, "password": PASSWORD, "terms": terms[1]}
    assert (await browser.post("/sign-up", data=filled)).status_code == 200
    shown = await browser.get(await asyncio.to_thread(link_of_mail, system, email, "/confirm"))
    link = re.search('name="link" value="([^"]*)"', shown.text)
    assert link is not None
    entered = await browser.post("/confirm", data={"link": link[1]})
    assert entered.url.path == "/dashboard", entered.text
    await asyncio.to_thread(system.appliance, "credit", "grant", email, "5")
    return email


async def sign_in(browser: httpx.AsyncClient, email: str) -> None:
    signed = await browser.post("/sign-in", data={"email": email, "password": PASSWORD})
    assert signed.url.path == "/dashboard", signed.url


def asks(text: str, **more: Any) -> bytes:
    """As LibreChat does it; what its user is called there is not believed."""
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": MODEL, "user": "65f0", "stream": True, "messages": messages, **more}).encode()


def of_the_agent() -> list[Recorded]:
    """What a real one asked for a tool's use, and with the tool's result."""
    asked = [one for one in recorded() if one.is_signed_on and one.path == PATH]
    return [one for one in asked if one.body is not None and "tools" in one.body]


async def test_a_customer_chats_and_leaves(ready: System, mongo: str) -> None:
    site = site_url(ready)
    async with aiohttp.ClientSession() as http, browser_at(site) as browser, browser_at(site) as bens:
        chat = LibreChat(ready, site, http, mongo)
        email = await sign_up(ready, browser, "Grace")

        # From the site to the chat without a second password.
        made = await chat.sign_on(browser)
        grace = str(made.claims["sub"])
        await sign_up(ready, bens, "Ben")
        ben = str((await chat.sign_on(bens)).claims["sub"])

        # An answer is streamed, and a title asked for at the same moment.
        question = f"What is the capital of France? My number is {CANARY}."
        answer, title = await asyncio.gather(
            chat.ask(grace, PATH, asks(question, **LIMIT)),
            chat.ask(grace, PATH, asks(f"A title for: {question}", **LIMIT | {"stream": False})),
        )
        assert is_whole(PATH, answer.content_type, answer.text, streamed=True), answer
        assert is_whole(PATH, title.content_type, title.text, streamed=False), title
        await chat.write_down(grace, question, "Paris")
        await chat.write_down(ben, "Hello", "Good day")

        # An answer is stopped, and an agent uses a tool.
        stopped = await chat.ask(grace, PATH, asks("Count to a thousand.", ignore_eos=True), BROKEN_OFF_AFTER)
        assert b"[DONE]" not in stopped.text
        for one in of_the_agent():
            used = await chat.ask(grace, one.path, one.document(MODEL, LIMIT) or b"")
            assert is_whole(one.path, used.content_type, used.text, streamed=one.is_streamed), used

        # All of it is charged to her, to the token, as chat.
        await asyncio.to_thread(books_balance, ready)
        rows = await asyncio.to_thread(ready.usage, email)
        meters = await asyncio.to_thread(ready.meters)
        assert len(rows) == 3 + len(of_the_agent()) == 5
        assert {row["channel"] for row in rows.values()} == {"chat"}
        for request, row in rows.items():
            assert row["completion_tokens"] == meters[request]["completion_tokens"] > 0
            assert row["prompt_tokens"] == meters[request]["prompt_tokens"]
        assert await asyncio.to_thread(ready.usage, "ben@example.com") == {}
        page = await browser.get("/dashboard")
        words = " ".join(re.sub(r"<[^>]+>", " ", page.text).split())
        assert re.search(rf"By key, in 30 days .* Chat {len(rows)} ", words), words

        # Signing out of the chat ends the session at the site, and both are over.
        assert await chat.sign_out(browser, made) == f"{CHAT}/login"
        assert (await browser.get("/dashboard")).url.path == "/sign-in"
        with pytest.raises(NotTaken, match="invalid_grant"):
            await chat.refresh(made)
        assert (await chat.ask(grace, PATH, asks(question))).status == 403

        # A suspended account is told so by the next message, and cannot sign on.
        await sign_in(browser, email)
        made = await chat.sign_on(browser)
        assert made.claims["sub"] == grace
        standing = ("--reason", "the key was shared")
        await asyncio.to_thread(ready.appliance, "account", "suspend", email, *standing)
        refused = await chat.ask(grace, PATH, asks(question))
        assert (refused.status, refused.message) == (
            403, f"Your account is suspended: {site}/standing says why, and what you can do.",
        )  # fmt: skip
        assert (await chat.ask(ben, PATH, asks("Hello", **LIMIT))).status == 200
        await asyncio.to_thread(ready.appliance, "account", "resume", email, *standing)
        await sign_in(browser, email)
        made = await chat.sign_on(browser)
        assert (await chat.ask(grace, PATH, asks("Hello", **LIMIT))).status == 200

        # What she wrote is in LibreChat's database, and nowhere else.
        await assert_nowhere(ready, CANARY)

        # Thirty days after the deletion nothing of hers is left there, and all of his.
        assert await chat.documents() == {"conversations": 2, "messages": 4, "users": 2}
        await browser.post("/account/delete", data={"password": PASSWORD})
        with pytest.raises(NotTaken, match="invalid_grant"):
            await chat.refresh(made)
        number = await asyncio.to_thread(let_the_days_pass, ready)
        ready.kill("worker")  # its next start looks at once who is to be deleted
        await asyncio.to_thread(wait_until_deleted, ready, number, 60)
        assert await chat.documents() == {"conversations": 1, "messages": 2, "users": 1}
        assert await chat.database["users"].find_one({"openidId": grace}) is None
        await chat.close()
