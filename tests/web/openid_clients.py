"""Other people's clients of OpenID Connect, which take nothing from a provider that they have not checked."""

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx2
import uvicorn
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet

from appliance import secrets
from billing.clock import Clock
from tests.ports import free_port
from tests.web.chatting import CALLBACK
from tests.web.conftest import ADDRESS, House

NODE_FOLDER = "OPENID_CLIENT_FOLDER"
"""The variable that names where openid-client is installed, by ``make clients ARGS=openid-client``."""


class NotTaken(Exception):
    """The provider refused, by this error of the protocol; or the client did."""


@dataclass(frozen=True)
class SignedOn:
    """``claims`` are of the ID token, which was checked."""

    access: str
    refresh: str
    id: str
    claims: Mapping[str, Any]


class OpenIdClient(Protocol):
    """Raises NotTaken."""

    async def ask(self, **more: str) -> str:
        """Where the browser is to be sent."""

    async def redeem(self, callback: str, verifier: str = "") -> SignedOn:
        """``verifier`` in place of the right one."""

    async def refresh(self, token: str) -> SignedOn: ...

    async def userinfo(self, token: str, subject: str) -> Mapping[str, Any]: ...

    async def end(self, hint: str, after: str) -> str:
        """Where the browser is to be sent."""

    async def use_secret(self, secret: str) -> None: ...

    async def look_at_the_clock(self) -> None:
        """The house's was turned."""


class Authlib:
    """Authlib's client, within this process. ``transport`` is to a site that is within it, too."""

    def __init__(
        self,
        secret: str,
        issuer: str,
        callback: str,
        clock: Clock,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._issuer = issuer
        self._callback = callback
        self._clock = clock
        self._transport = transport
        self._keys: KeySet | None = None
        self._nonce = self._state = self._verifier = ""
        self._client = self._with(secret)

    def _with(self, secret: str) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            "librechat", secret, scope="openid profile email", redirect_uri=self._callback,
            code_challenge_method="S256", transport=self._transport,
        )  # fmt: skip

    async def _known(self) -> Any:
        return await self._document(f"{self._issuer}/.well-known/openid-configuration")

    async def _document(self, url: str) -> Any:
        return (await self._client.request("GET", url, withhold_token=True)).json()

    async def ask(self, **more: str) -> str:
        known = await self._known()
        self._verifier, self._nonce = generate_token(48), generate_token(20)
        asked = {"nonce": self._nonce, "code_verifier": self._verifier, **more}
        url, self._state = self._client.create_authorization_url(known["authorization_endpoint"], **asked)
        return str(url)

    async def redeem(self, callback: str, verifier: str = "") -> SignedOn:
        known = await self._known()
        told = {"authorization_response": callback, "state": self._state}
        try:
            made = await self._client.fetch_token(
                known["token_endpoint"], code_verifier=verifier or self._verifier, **told
            )
        except OAuthError as error:
            raise NotTaken(error.error) from None
        return await self._checked(made, self._nonce)

    async def refresh(self, token: str) -> SignedOn:
        known = await self._known()
        try:
            made = await self._client.refresh_token(known["token_endpoint"], refresh_token=token)
        except OAuthError as error:
            raise NotTaken(error.error) from None
        return await self._checked(made, None)

    async def _checked(self, made: Any, nonce: str | None) -> SignedOn:
        known = await self._known()
        if self._keys is None:
            self._keys = KeySet.import_key_set(await self._document(known["jwks_uri"]))
        try:
            token = jwt.decode(made["id_token"], self._keys, algorithms=["RS256"])
        except InvalidKeyIdError:
            self._keys = KeySet.import_key_set(await self._document(known["jwks_uri"]))
            token = jwt.decode(made["id_token"], self._keys, algorithms=["RS256"])
        options = {"iss": {"values": [self._issuer]}, "aud": {"values": ["librechat"]}}
        claims = CodeIDToken(token.claims, token.header, options, {"nonce": nonce, "client_id": "librechat"})
        claims.validate(now=int(self._clock().timestamp()))
        return SignedOn(made["access_token"], made["refresh_token"], made["id_token"], dict(claims))

    async def userinfo(self, token: str, subject: str) -> Mapping[str, Any]:
        known = await self._known()
        headers = {"authorization": f"Bearer {token}"}
        answer = await self._client.request(
            "GET", known["userinfo_endpoint"], headers=headers, withhold_token=True
        )
        if answer.status_code != 200 or answer.json()["sub"] != subject:
            raise NotTaken(answer.json().get("error", "subject"))
        told: Mapping[str, Any] = answer.json()
        return told

    async def end(self, hint: str, after: str) -> str:
        known = await self._known()
        asked = urlencode({"id_token_hint": hint, "post_logout_redirect_uri": after})
        return f"{known['end_session_endpoint']}?{asked}"

    async def use_secret(self, secret: str) -> None:
        self._client = self._with(secret)

    async def look_at_the_clock(self) -> None:
        """It looks each time."""


class Node:
    """openid-client for Node, in a process of its own, which asks the site over a connection."""

    def __init__(self, process: asyncio.subprocess.Process, house: House) -> None:
        self._process = process
        self._house = house

    async def _call(self, call: str, **given: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": call, **given}).encode() + b"\n")
        answer = json.loads(await self._process.stdout.readline())
        if "refused" in answer:
            raise NotTaken(answer["refused"])
        return answer["done"]

    async def ask(self, **more: str) -> str:
        return str(await self._call("ask", more=more))

    async def redeem(self, callback: str, verifier: str = "") -> SignedOn:
        return _signed_on(await self._call("redeem", url=callback, verifier=verifier))

    async def refresh(self, token: str) -> SignedOn:
        return _signed_on(await self._call("refresh", token=token))

    async def userinfo(self, token: str, subject: str) -> Mapping[str, Any]:
        told: Mapping[str, Any] = await self._call("userinfo", token=token, subject=subject)
        return told

    async def end(self, hint: str, after: str) -> str:
        return str(await self._call("end", hint=hint, after=after))

    async def use_secret(self, secret: str) -> None:
        await self._call("secret", secret=secret)

    async def look_at_the_clock(self) -> None:
        ahead = self._house.clock() - datetime.now(UTC)
        await self._call("clock", ahead=round(ahead.total_seconds()))


def _signed_on(made: Mapping[str, Any]) -> SignedOn:
    return SignedOn(made["access_token"], made["refresh_token"], made["id_token"], made["claims"])


@asynccontextmanager
async def node_client(house: House) -> AsyncIterator[Node]:
    """The house is served meanwhile."""
    port, folder = free_port(), Path(os.environ[NODE_FOLDER])
    server = uvicorn.Server(uvicorn.Config(house.site.app, port=port, lifespan="off", log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    known = {
        "ISSUER": ADDRESS, "SERVED": f"http://127.0.0.1:{port}", "CLIENT_ID": "librechat", "CALLBACK": CALLBACK,
        "CLIENT_SECRET": secrets.read_chat(house.settings.secrets).client_secret,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        "node", "client.mjs", cwd=folder, env=os.environ | known, stdin=PIPE, stdout=PIPE
    )
    try:
        node = Node(process, house)
        await node.look_at_the_clock()
        yield node
    finally:
        process.terminate()
        await process.wait()
        server.should_exit = True
        await serving
