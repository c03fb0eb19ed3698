"""Every endpoint that a client can reach, and how its answers are metered. What is not in this table is closed.

A replica's guard lets nothing else through to vLLM's app, so that an endpoint which a later vLLM adds stays
closed until it has a line, and with it a meter, here. ``CLOSED`` says why of all others of vLLM 0.32; a test asks
vLLM for every route that it can have, and finds each one in one of the two tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Dialect = Literal["openai", "anthropic"]

DONE = b"data: [DONE]"


class Body(Enum):
    """What a request's body looks like, and with it what bounds the cost of its answer."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    EMBEDDINGS = "embeddings"
    EMBED = "embed"
    SCORE = "score"
    RERANK = "rerank"
    AUDIO = "audio"
    TOKENS = "tokens"
    """Only the tokenizer works; the meter counts nothing, and nothing is charged."""

    @property
    def prompt_field(self) -> str:
        """The field that holds what the model is to read."""
        return _PROMPT_FIELDS.get(self, "input")


_PROMPT_FIELDS = {
    Body.CHAT: "messages", Body.MESSAGES: "messages", Body.COMPLETIONS: "prompt", Body.EMBED: "texts",
    Body.SCORE: "documents", Body.RERANK: "documents", Body.AUDIO: "file", Body.TOKENS: "prompt",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``ends`` are the beginnings of the events behind which a client takes its streamed answer for complete.

    ``engine_path`` is where vLLM's app has it.
    """

    path: str
    body: Body
    engine_path: str
    ends: tuple[bytes, ...] = ()
    dialect: Dialect = "openai"

    @property
    def metered(self) -> bool:
        """Whether it makes the engine work."""
        return self.body is not Body.TOKENS


def _endpoint(
    path: str, body: Body, *ends: bytes, engine_path: str | None = None, dialect: Dialect = "openai"
) -> tuple[str, Endpoint]:
    return path, Endpoint(path, body, engine_path or path, ends, dialect)


ENDPOINTS: Mapping[str, Endpoint] = dict(
    [
        _endpoint("/v1/chat/completions", Body.CHAT, DONE),
        _endpoint("/v1/completions", Body.COMPLETIONS, DONE),
        _endpoint(
            "/v1/responses",
            Body.RESPONSES,
            b"event: response.completed",
            b"event: response.incomplete",
            b"event: response.failed",
        ),
        _endpoint("/v1/messages", Body.MESSAGES, b"event: message_stop", dialect="anthropic"),
        _endpoint("/v1/messages/count_tokens", Body.TOKENS, dialect="anthropic"),
        _endpoint("/v1/embeddings", Body.EMBEDDINGS),
        _endpoint("/v2/embed", Body.EMBED),
        _endpoint("/v1/score", Body.SCORE),
        _endpoint("/score", Body.SCORE),
        _endpoint("/v1/rerank", Body.RERANK),
        _endpoint("/v2/rerank", Body.RERANK),
        _endpoint("/rerank", Body.RERANK),
        _endpoint("/v1/audio/transcriptions", Body.AUDIO, DONE),
        _endpoint("/v1/audio/translations", Body.AUDIO, DONE),
        _endpoint("/tokenize", Body.TOKENS),
        _endpoint("/v1/tokenize", Body.TOKENS, engine_path="/tokenize"),
        _endpoint("/detokenize", Body.TOKENS),
        _endpoint("/v1/detokenize", Body.TOKENS, engine_path="/detokenize"),
    ]
)

_NOT_STORED = "Responses are not stored: send the whole conversation with each request."
_BY_ANOTHER_NAME = "It is other endpoints by another name, past their meters."
_INSIDE = "It shows or changes the engine for everybody."
_RENDERING = "It takes a request apart or puts one together, past its meter."
_NO_METER = "It has no meter."
_OURS = "The gateway and the replica have their own."


def _closed(reason: str, *paths: str) -> dict[str, str]:
    return dict.fromkeys(paths, reason)


CLOSED: Mapping[str, str] = {
    **_closed(_NOT_STORED, "/v1/responses/{response_id}", "/v1/responses/{response_id}/cancel"),
    **_closed(_BY_ANOTHER_NAME, "/invocations", "/inference/v1/generate"),
    **_closed(
        _RENDERING,
        "/v1/chat/completions/render", "/v1/chat/completions/derender", "/v1/completions/render",
        "/v1/completions/derender", "/v1/messages/render", "/v1/responses/render",
    ),
    **_closed(
        _NO_METER,
        "/classify", "/pooling", "/generative_scoring", "/v1/systemone", "/v1/realtime",
        "/v1/chat/completions/batch",
    ),
    **_closed(_OURS, "/health", "/load", "/metrics", "/ping", "/v1/models", "/version"),
    **_closed(
        _INSIDE,
        "/abort_requests", "/collective_rpc", "/fault_tolerance/apply", "/fault_tolerance/status",
        "/finish_weight_update", "/get_world_size", "/inference/v1/abort_requests", "/init_weight_transfer_engine",
        "/is_paused", "/is_scaling_elastic_ep", "/is_sleeping", "/kv_event_sources", "/pause",
        "/release_kv_cache_memory", "/reset_encoder_cache", "/reset_mm_cache", "/reset_prefix_cache", "/resume",
        "/scale_elastic_ep", "/server_info", "/shutdown_weight_transfer_engine", "/sleep",
        "/start_draft_weight_update", "/start_weight_update", "/tokenizer_info", "/update_weight_version",
        "/update_weights", "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/wake_up", "/weight_checker",
        "/weight_info",
    ),
}  # fmt: skip
"""Why, by the path of vLLM's route."""


def why_closed(path: str) -> str | None:
    """What a client is told that asks for something it may know from elsewhere."""
    return _NOT_STORED if path.startswith("/v1/responses/resp_") else None
