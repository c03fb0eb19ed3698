"""LibreChat as the gateway meets it: one key for all, and in a header who asks."""

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from sqlalchemy import insert

from appliance import secrets
from appliance.identity.tables import person
from billing.clock import system_clock
from billing.customers import keys
from billing.customers.standing import Limits
from billing.database.purposes import CHAT
from tests.gateway.conftest import DOLLAR, Customer, House

SITE = "http://localhost:8001"
"""Where the pages are that a refusal names, if nothing else is said."""


def with_chat(folder: Path, *networks: str) -> dict[str, str]:
    """The environment of a house that has a chat, which asks from the loopback if nothing else is said."""
    file = folder / "appliance.yaml"
    chat = {"address": "https://chat.example"} | ({"networks": list(networks)} if networks else {})
    file.write_text(yaml.safe_dump({"chat": chat}))
    return {"APPLIANCE_CONFIG": str(file)}


def service_key(house: House) -> str:
    return secrets.read_chat(house.settings.secrets).service_key


@dataclass
class Chatter(Customer):
    """Somebody who is signed in to the chat; ``key`` is one of theirs for programs."""

    subject: UUID

    def post_raw(self, body: bytes, path: str = "/v1/chat/completions") -> Any:
        return self.house.http.post(self.house.url + path, data=body, headers=self.headers)

    def get(self, path: str) -> Any:
        return self.house.http.get(self.house.url + path, headers=self.headers)

    @property
    def headers(self) -> dict[str, str]:
        return {
            "authorization": f"Bearer {service_key(self.house)}",
            "x-appliance-user": str(self.subject),
            "content-type": "application/json",
        }

    async def sign_on(self) -> None:
        pepper, end = secrets.read(self.house.settings.secrets).key_pepper, system_clock() + timedelta(hours=1)
        async with self.house.database.begin() as connection:
            await keys.renew_chat_key(connection, self.account_id, self.subject, pepper, system_clock, end)

    async def sign_out(self) -> None:
        async with self.house.database.begin() as connection:
            await keys.end_chat_key(connection, self.account_id)

    async def key_id(self) -> int:
        """Of the chat."""
        async with self.house.database.begin() as connection:
            found = await keys.list_keys(connection, self.account_id)
        (chat,) = [key for key in found if key.purpose == CHAT]
        return chat.id


async def chatter(
    house: House, nanodollars: int = DOLLAR, limits: Limits | None = None, language: str = "en"
) -> Chatter:
    """Signed in to the chat for an hour."""
    customer = await house.customer(nanodollars, limits)
    email = f"{customer.account_id}@example.com"
    row = {
        "account_id": customer.account_id, "name": "Ada", "email": email, "email_key": email, "language": language,
        "created_at": system_clock(),
    }  # fmt: skip
    async with house.database.begin() as connection:
        made = insert(person).values(**row).returning(person.c.subject)
        subject = (await connection.execute(made)).scalar_one()
    new = Chatter(house, customer.account_id, customer.key, subject)
    await new.sign_on()
    return new


async def told(response: Any, status: int) -> str:
    """The message, which is what LibreChat shows: at most 512 characters, and nothing that it takes for JSON."""
    text = await response.text()
    assert response.status == status, text
    message = str(json.loads(text)["error"]["message"])
    assert len(message) < 300
    assert "{" not in message
    return message
