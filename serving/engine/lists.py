"""How long a request's lists may be. Pure.

A GPU's worker has room for so many token ids and ends, with its engine, at one more (vLLM 0.32,
v1/worker/gpu/sample); stop strings are looked for after every token, in the thread that serves all streams.
"""

from __future__ import annotations

from typing import Any

from serving.metering.meter import Rejection

MOST = {"allowed_token_ids": 1024, "logit_bias": 1024, "stop_token_ids": 100, "stop": 64, "bad_words": 128}
"""Members; a model's own stop tokens have the rest of 128."""
MOST_LETTERS = 8192
"""Of all stop strings, and of all bad words."""
MOST_TOKENS_OF_BAD_WORDS = 1024


def too_long(sampling_params: Any, tokenizer: Any) -> Rejection | None:
    """``sampling_params`` are vLLM's."""
    for field, most in MOST.items():
        if len(getattr(sampling_params, field) or ()) > most:
            return Rejection(f"`{field}` has at most {most} members.", field)
    for field in ("stop", "bad_words"):
        if sum(map(len, getattr(sampling_params, field) or ())) > MOST_LETTERS:
            return Rejection(f"`{field}` has at most {MOST_LETTERS} letters.", field)
    sampling_params.update_from_tokenizer(tokenizer)
    if sum(map(len, sampling_params.bad_words_token_ids or ())) > MOST_TOKENS_OF_BAD_WORDS:
        return Rejection(f"`bad_words` have at most {MOST_TOKENS_OF_BAD_WORDS} tokens.", "bad_words")
    return None
