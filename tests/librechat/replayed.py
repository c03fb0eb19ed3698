"""What a real LibreChat v0.8.7 asks, request by request, as it was received in the place of our API.

The model list; new conversations, of which title and answer are asked for at once; an image; a tool and its
result; sampling parameters; a response. The header by which it says who asks is as our settings for it have it:
whoever has not signed on by OpenID Connect is named by a placeholder that was not filled in.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "requests-v0.8.7.jsonl"
SIGNED_ON = "SUBJECT"
USER_HEADER = "x-appliance-user"


@dataclass(frozen=True)
class Recorded:
    method: str
    path: str
    sent: Mapping[str, str]
    body: Mapping[str, Any] | None

    @property
    def is_signed_on(self) -> bool:
        return self.sent[USER_HEADER] == SIGNED_ON

    @property
    def is_streamed(self) -> bool:
        return self.body is not None and bool(self.body["stream"])

    @property
    def is_title(self) -> bool:
        return self.body is not None and not self.is_streamed

    def headers(self, service_key: str, subject: str) -> dict[str, str]:
        """As they were, but for whose they are."""
        named = self.sent[USER_HEADER].replace(SIGNED_ON, subject)
        return {**self.sent, "authorization": f"Bearer {service_key}", USER_HEADER: named}

    def document(self, model: str, more: Mapping[str, Any] | None = None) -> bytes | None:
        """The body, for another model; ``more`` is what it says besides."""
        return None if self.body is None else json.dumps({**self.body, **(more or {}), "model": model}).encode()


def recorded() -> list[Recorded]:
    lines = map(json.loads, RECORDED.read_text().splitlines())
    return [Recorded(line["method"], line["path"], line["headers"], line["body"]) for line in lines]


def is_whole(path: str, content_type: str, answer: bytes, *, streamed: bool) -> bool:
    """Whether its client has what it waits for: a document with an answer, or a stream with its end."""
    if not streamed:
        return content_type.startswith("application/json") and "error" not in json.loads(answer)
    ends = (b"response.completed", b"response.incomplete") if path == "/v1/responses" else (b"data: [DONE]",)
    pieces = [line[6:] for line in answer.splitlines() if line.startswith(b"data: {")]
    read = [json.loads(piece) for piece in pieces]
    return content_type.startswith("text/event-stream") and any(end in answer for end in ends) and len(read) > 1
