"""What a running engine knows of its model."""

from __future__ import annotations

import json
import math
from typing import Any

from serving.catalog.endpoints import ENDPOINTS, Body
from serving.catalog.traits import Traits
from serving.engine.launch import MOST_AUDIO_SECONDS
from serving.replica.answer import count_prompts
from serving.replica.asgi import App

TEMPLATE_MARGIN_TOKENS = 64
SPECIAL_MARGIN_TOKENS = 4
NOTHING: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": ""}]}, TEMPLATE_MARGIN_TOKENS),
    ("/v1/score", {"text_1": "a", "text_2": "a"}, SPECIAL_MARGIN_TOKENS),
)
"""As little as may be asked where a template is written around it, and the tokens that this may vary by."""
OUTPUT = ((Body.CHAT, "text"), (Body.AUDIO, "text"), (Body.EMBEDDINGS, "embedding"), (Body.SCORE, "score"))


async def traits_of(llm: Any, app: Any, model_id: str) -> Traits:
    routes = {route.path for route in app.routes}
    served = [endpoint for endpoint in ENDPOINTS.values() if endpoint.engine_path in routes]
    bodies = {endpoint.body for endpoint in served}
    hears = Body.AUDIO in bodies
    return Traits(
        endpoints=tuple(endpoint.path for endpoint in served),
        input=_modalities(llm) if bodies - {Body.AUDIO, Body.TOKENS} else ("audio",),
        output=(next((what for body, what in OUTPUT if body in bodies), "text"),),
        template_tokens=max(await _template_tokens(app, model_id), _special_tokens(llm.get_tokenizer())),
        tokens_per_byte=tokens_per_byte(llm.get_tokenizer()),
        audio_seconds=MOST_AUDIO_SECONDS if hears else 0,
    )


def _modalities(llm: Any) -> tuple[str, ...]:
    if not llm.model_config.is_multimodal_model:
        return ("text",)
    return ("text", *sorted(llm.renderer.get_mm_processor().info.allowed_mm_limits))


def tokens_per_byte(tokenizer: Any) -> int:
    """More than one where the tokenizer rewrites a letter as several, as those do that normalise by NFKC."""
    return max(
        math.ceil(len(tokenizer.encode(letter * 32, add_special_tokens=False)) / len((letter * 32).encode()))
        for letter in ("a", "\u00e9", "\ufdfa", "\u3349", "\U0001f600")
    )


async def _template_tokens(app: App, model_id: str) -> int:
    """0 if the model has no template."""
    found = [0]
    for path, nothing, margin in NOTHING:
        request, _ = await count_prompts(app, path, json.dumps({"model": model_id} | nothing).encode())
        if request.asked_sequences:
            found.append(request.asked_prompt_tokens + margin)
    return max(found)


def _special_tokens(tokenizer: Any) -> int:
    """What the tokenizer itself adds to a text or a pair of texts, and a margin."""
    return 2 * len(tokenizer.encode("")) + SPECIAL_MARGIN_TOKENS
