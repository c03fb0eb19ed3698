"""The real SDK with the sandbox behind it, in this process: no socket, no waiting."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import Any

import stripe

from appliance.stripe_sandbox.core import Answer, Sandbox
from appliance.stripe_sandbox.settings import SandboxSettings

KEY = "sk_test_sandbox"
SECRET = "whsec_sandbox"


class InProcessClient(stripe.HTTPClient):
    """An HTTP client for ``StripeClient``, for its synchronous methods and the others alike."""

    name = "sandbox"

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self.sandbox = sandbox
        self.asked: list[str] = []
        self.answers: list[Answer] = []

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[Any, int, Mapping[str, str]]:
        lowered = {name.lower(): value for name, value in (headers or {}).items()}
        path = url.removeprefix("https://api.stripe.com")
        self.asked.append(f"{method.upper()} {path}")
        answer = self.sandbox.request(method.upper(), path, lowered, post_data or "")
        self.answers.append(answer)
        if answer.lost:
            raise stripe.APIConnectionError("The connection broke before the answer.", should_retry=True)  # type: ignore[no-untyped-call]
        return answer.body.decode(), answer.status, {"Request-Id": "", **_titled(answer.headers)}

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        return self.request(method, url, headers, post_data)

    async def request_stream_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[AsyncIterable[bytes], int, Mapping[str, str]]:
        raise NotImplementedError

    async def sleep_async(self, secs: float) -> None:
        """Tries again at once."""

    def close(self) -> None:
        pass

    async def close_async(self) -> None:
        pass


def settings(**chosen: Any) -> SandboxSettings:
    given = {"api_key": KEY, "webhook_secret": SECRET, "seed": "tests"}
    return SandboxSettings(**{**given, **chosen})


def client(sandbox: Sandbox, **options: Any) -> stripe.StripeClient:
    return stripe.StripeClient(sandbox.settings.api_key, http_client=InProcessClient(sandbox), **options)


def _titled(headers: Mapping[str, str]) -> dict[str, str]:
    """As the SDK's own clients give them: it looks some up by their usual capitals."""
    return {"-".join(part.title() for part in name.split("-")): value for name, value in headers.items()} | dict(
        headers
    )
