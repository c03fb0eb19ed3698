"""What the gateway must know of a body before it passes it on, untouched, to the replica. Pure.

Only the fields that bound the cost are read; everything else is for vLLM to judge.
"""

from collections.abc import Callable, Mapping

import msgspec

from appliance.errors import InvalidRequest
from appliance.gateway.bodies import audio, generation, pooling
from appliance.gateway.bodies.explained import explained
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
        raise explained(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.") from None
