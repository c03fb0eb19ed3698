"""A request for every endpoint of the table, and where its answer says what it used."""

from __future__ import annotations

import json
from typing import Any

from serving.catalog.endpoints import ENDPOINTS, Body, Endpoint

QUESTION = "What is the capital of France?"
CONVERSATION = [{"role": "user", "content": QUESTION}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": CONVERSATION, "max_tokens": 9},
    "/v1/completions": {"prompt": QUESTION, "max_tokens": 9},
    "/v1/responses": {"input": QUESTION, "instructions": "Answer.", "max_output_tokens": 9},
    "/v1/messages": {"messages": CONVERSATION, "system": "Answer.", "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": CONVERSATION},
    "/v1/embeddings": {"input": [QUESTION, "Paris"]},
    "/v2/embed": {"texts": [QUESTION, "Paris"], "embedding_types": ["float"]},
    "/v1/score": {"text_1": QUESTION, "text_2": ["Paris", "A dog"]},
    "/score": {"text_1": [QUESTION, "A cat"], "text_2": ["Paris", "A dog"]},
    "/v1/rerank": {"query": QUESTION, "documents": ["A dog", "Paris"]},
    "/v2/rerank": {"query": QUESTION, "documents": ["A dog", "Paris"], "top_n": 1},
    "/rerank": {"query": QUESTION, "documents": ["Paris"]},
    "/tokenize": {"prompt": QUESTION},
    "/v1/tokenize": {"messages": CONVERSATION},
    "/detokenize": {"tokens": [1, 2]},
    "/v1/detokenize": {"tokens": [1, 2]},
}
AUDIO = {path for path, endpoint in ENDPOINTS.items() if endpoint.body is Body.AUDIO}  # no engine here hears
LONG = {
    "/v1/chat/completions": {"max_tokens": 1500},
    "/v1/completions": {"max_tokens": 1500},
    "/v1/responses": {"max_output_tokens": 1500},
    "/v1/messages": {"max_tokens": 1500},
}
GENERATING = list(LONG)


class Reply:
    def __init__(self, status: int, headers: dict[str, str], text: str) -> None:
        self.status, self.headers, self.text = status, headers, text

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line[6:]) for line in self.text.splitlines() if line.startswith("data: {")]

    @property
    def meter(self) -> dict[str, Any]:
        text = self.headers.get("x-appliance-meter") or self.text.rpartition("\n\n: meter ")[2]
        found: dict[str, Any] = json.loads(text)
        return found

    def usage(self, endpoint: Endpoint) -> tuple[int, int, int]:
        """Prompt, cached and completion tokens as the endpoint's clients read them."""
        documents = self.events if "event-stream" in self.headers["content-type"] else [json.loads(self.text)]
        match endpoint.body:
            case Body.RESPONSES:
                usage = (documents[-1].get("response") or documents[-1])["usage"]
                cached = usage["input_tokens_details"]["cached_tokens"]
                return usage["input_tokens"], cached, usage["output_tokens"]
            case Body.MESSAGES:
                usage = next(one["usage"] for one in reversed(documents) if one.get("usage"))
                cached = usage.get("cache_read_input_tokens") or 0
                written = usage.get("cache_creation_input_tokens") or 0
                return usage["input_tokens"] + written + cached, cached, usage["output_tokens"]
            case Body.EMBED:
                return documents[0]["meta"]["billed_units"]["input_tokens"], 0, 0
            case Body.TOKENS:
                return 0, 0, 0
        usage = next(one["usage"] for one in reversed(documents) if one.get("usage"))
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return usage["prompt_tokens"], cached, usage.get("completion_tokens", 0)
