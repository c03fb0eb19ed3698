"""What the gateway must know of a body before it passes it on, untouched, to the replica. Pure.

Only the fields that bound the cost are read; everything else is for vLLM to judge.
"""

from collections.abc import Callable, Mapping

import msgspec

from appliance.errors import InvalidRequest
from appliance.gateway.bodies import audio, generation, pooling
from appliance.gateway.bodies.modest import require_modest
from appliance.gateway.bodies.parsed import Parsed
from serving.catalog.endpoints import Body, Endpoint

_PARSERS: Mapping[Body, Callable[[bytes], Parsed]] = {
    Body.CHAT: generation.parse_chat,
    Body.COMPLETIONS: generation.parse_completions,
    Body.RESPONSES: generation.parse_responses,
    Body.MESSAGES: generation.parse_messages,
    Body.EMBEDDINGS: pooling.parse_embeddings,
    Body.EMBED: pooling.parse_embed,
    Body.SCORE: pooling.parse_score,
    Body.RERANK: pooling.parse_rerank,
    Body.TOKENS: pooling.parse_tokens,
}


def parse(endpoint: Endpoint, body: bytes, content_type: str = "application/json") -> Parsed:
    """Raises InvalidRequest that names the field."""
    if endpoint.body is Body.AUDIO:
        return audio.parse(body, content_type)
    try:
        require_modest(body, endpoint.body)
        return _PARSERS[endpoint.body](body)
    except msgspec.ValidationError as error:
        message, field = _explain(str(error))
        raise InvalidRequest(message, param=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.") from None


def _explain(error: str) -> tuple[str, str | None]:
    """msgspec's sentence and the field it speaks of: "Expected `int`, got `str` - at `$.n`"."""
    message, _, path = error.partition(" - at `$")
    if message.startswith("Object missing required field `"):
        field = message.split("`")[1]
        return f"You must provide the field `{field}`.", field
    field = path.rstrip("`").lstrip(".")
    return (f"`{field}`: {message}." if field else f"The body: {message}."), field or None
