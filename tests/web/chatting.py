"""LibreChat's part of a sign-on, done by hand: what it asks of the browser, and of the site itself."""

import base64
import hashlib
import json
import secrets as random
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlparse

import httpx

from appliance import secrets
from tests.web.conftest import ADDRESS, CHAT, Browser, House, Page

CALLBACK = f"{CHAT}/oauth/openid/callback"


@dataclass
class Chat:
    """``verifier`` is of the newest sign-on."""

    house: House
    verifier: str = field(default_factory=lambda: random.token_urlsafe(48))

    def __post_init__(self) -> None:
        transport = httpx.ASGITransport(self.house.site.app, client=("192.0.2.99", 1))
        self.client = httpx.AsyncClient(transport=transport, base_url=ADDRESS)
        self.secret = secrets.read_chat(self.house.settings.secrets).client_secret

    def asks(self, **changes: str | None) -> str:
        """The path to which it sends a browser; None leaves a parameter out."""
        hashed = hashlib.sha256(self.verifier.encode()).digest()
        asked = {
            "client_id": "librechat",
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid profile email",
            "state": "the state",
            "nonce": "the nonce",
            "code_challenge": base64.urlsafe_b64encode(hashed).decode().rstrip("="),
            "code_challenge_method": "S256",
            **changes,
        }
        return f"/openid/authorize?{urlencode({name: text for name, text in asked.items() if text is not None})}"

    async def code(self, browser: Browser, **changes: str | None) -> str:
        """Of somebody who is signed in."""
        told = came_back(await browser.get(self.asks(**changes)))
        assert "code" in told, told
        return told["code"]

    async def token(self, **form: str) -> httpx.Response:
        return await self.client.post("/openid/token", data=form, auth=("librechat", self.secret))

    async def redeem(self, code: str, **changes: str) -> httpx.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        return await self.token(**form | {"code_verifier": self.verifier} | changes)

    async def refresh(self, token: str) -> httpx.Response:
        return await self.token(grant_type="refresh_token", refresh_token=token)

    async def sign_on(self, browser: Browser) -> dict[str, Any]:
        """The tokens of somebody who is signed in at the site."""
        answer = await self.redeem(await self.code(browser))
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def userinfo(self, token: str) -> httpx.Response:
        return await self.client.get("/openid/userinfo", headers={"authorization": f"Bearer {token}"})


def came_back(page: Page) -> dict[str, str]:
    """What the chat is told in its callback, to which the browser was sent."""
    assert page.url.startswith(f"{CALLBACK}?"), (page.url, page.words)
    return {name: text for name, (text,) in parse_qs(urlparse(page.url).query).items()}


def claims_of(token: str) -> dict[str, Any]:
    """Without a look at the signature."""
    body = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims
