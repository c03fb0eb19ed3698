"""LibreChat's part, by hand: it signs people on at the site, asks in their name, and writes down what was said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
from bson import ObjectId
from pymongo import AsyncMongoClient

from appliance import secrets
from appliance.settings import load_settings
from billing.clock import system_clock
from tests.librechat.replayed import USER_HEADER
from tests.scenarios.conftest import CHAT
from tests.scenarios.system import System
from tests.web.openid_clients import Authlib, SignedOn

CALLBACK = f"{CHAT}/oauth/openid/callback"


class Loopback(httpx.AsyncHTTPTransport):
    """It takes this machine for safe without TLS, as browsers do."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        cookies = answer.headers.get_list("set-cookie")
        kept = [(name, value) for name, value in answer.headers.multi_items() if name != "set-cookie"]
        answer.headers = httpx.Headers([*kept, *(("set-cookie", one.replace("; Secure", "")) for one in cookies)])
        return answer


def browser_at(site: str) -> httpx.AsyncClient:
    """The chat's own pages are empty."""
    mounts = {CHAT: httpx.MockTransport(lambda _: httpx.Response(200))}
    headers = {"user-agent": "Firefox on Linux", "sec-fetch-site": "same-origin"}
    return httpx.AsyncClient(
        base_url=site, transport=Loopback(), mounts=mounts, headers=headers, follow_redirects=True
    )


@dataclass(frozen=True)
class Said:
    """``text`` is the whole answer, or as much of it as was read."""

    status: int
    content_type: str
    text: bytes

    @property
    def message(self) -> str:
        """Of a refusal: what LibreChat shows."""
        return str(json.loads(self.text)["error"]["message"])


class LibreChat:
    """``http`` reaches the API; ``mongo_uri`` names its database."""

    def __init__(self, system: System, site: str, http: aiohttp.ClientSession, mongo_uri: str) -> None:
        own = secrets.read_chat(load_settings(system.env).secrets)
        self._client = Authlib(own.client_secret, site, CALLBACK, system_clock)
        self._key = own.service_key
        self._api = system.url
        self._http = http
        self._mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_uri)
        self.database = self._mongo.get_default_database()

    async def close(self) -> None:
        await self._mongo.close()

    async def sign_on(self, browser: httpx.AsyncClient) -> SignedOn:
        """Without a question: whoever is asked something never comes back. Makes them a user of its own."""
        came = await browser.get(await self._client.ask())
        assert str(came.url).startswith(f"{CALLBACK}?"), came.url
        made = await self._client.redeem(str(came.url))
        about = await self._client.userinfo(made.access, made.claims["sub"])
        user = {"openidId": about["sub"], "email": about["email"], "name": about["name"], "provider": "openid"}
        await self.database["users"].update_one({"openidId": about["sub"]}, {"$set": user}, upsert=True)
        return made

    async def where_a_sign_on_leads(self, browser: httpx.AsyncClient) -> str:
        return (await browser.get(await self._client.ask())).url.path

    async def refresh(self, made: SignedOn) -> SignedOn:
        """Raises NotTaken."""
        return await self._client.refresh(made.refresh)

    async def sign_out(self, browser: httpx.AsyncClient, made: SignedOn) -> str:
        """Where the browser comes to."""
        return str((await browser.get(await self._client.end(made.id, f"{CHAT}/login"))).url)

    async def ask(self, subject: str, path: str, document: bytes, stop_after: int | None = None) -> Said:
        """Hung up after so many chunks, as when somebody presses stop."""
        headers = {
            "authorization": f"Bearer {self._key}",
            USER_HEADER: subject,
            "content-type": "application/json",
        }
        async with self._http.post(self._api + path, data=document, headers=headers) as answer:
            text, chunks = b"", 0
            async for line in answer.content:
                text += line
                chunks += line.startswith(b"data: {")
                if chunks == stop_after:
                    break
            return Said(answer.status, answer.headers["content-type"], text)

    async def write_down(self, subject: str, asked: str, answered: str) -> None:
        """A conversation, as it keeps it: with the user's id as text."""
        user = await self.database["users"].find_one({"openidId": subject})
        assert user is not None
        talk = str(ObjectId())
        await self.database["conversations"].insert_one({"user": str(user["_id"]), "conversationId": talk})
        for text in (asked, answered):
            message = {"user": str(user["_id"]), "conversationId": talk, "text": text}
            await self.database["messages"].insert_one(message)

    async def documents(self) -> Mapping[str, int]:
        """How many there are in each collection that has some."""
        counts = {
            name: await self.database[name].count_documents({})
            for name in await self.database.list_collection_names()
        }
        return {name: count for name, count in sorted(counts.items()) if count}
