"""What is said to whoever is refused at the door: whole answers, made once."""

from __future__ import annotations

import json
from http import HTTPStatus

from appliance.door.census import Refusal
from appliance.door.headers import Headers
from appliance.door.limits import Limits

RETRY_SECONDS = 5


def answers(limits: Limits, headers: Headers) -> dict[Refusal, bytes]:
    """By refusal, each with ``headers``; nothing is said to who said nothing, or does not read."""
    size = f"The request line and the headers may have {limits.head_bytes} bytes and {limits.head_fields} fields."
    slow = f"The headers did not come within {limits.head_seconds:g} seconds."
    told = {
        Refusal.FULL: (503, "service_unavailable", "Too many connections are open. Try again."),
        Refusal.ADDRESS: (429, "rate_limit_exceeded", "Your address has too many connections open."),
        Refusal.SLOW: (408, "request_timeout", slow),
        Refusal.LARGE: (431, "headers_too_large", size),
        Refusal.MALFORMED: (400, "invalid_request", "This is not a request of HTTP/1.1."),
    }
    return {refusal: _answer(*answer, headers) for refusal, answer in told.items()}


def _answer(status: int, code: str, message: str, headers: Headers) -> bytes:
    kinds = {429: "rate_limit_error", 503: "service_unavailable"}
    error = {"message": message, "type": kinds.get(status, "invalid_request_error"), "param": None, "code": code}
    body = json.dumps({"error": error}).encode()
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *([f"retry-after: {RETRY_SECONDS}"] if status in kinds else []),
        *(f"{name}: {value}" for name, value in headers),
        "connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
