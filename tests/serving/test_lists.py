from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from serving.engine.lists import MOST, MOST_LETTERS, MOST_TOKENS_OF_BAD_WORDS, too_long


class Bytes:
    """A tokenizer."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())


@dataclass
class Params:
    """What ``too_long`` reads of vLLM's SamplingParams; test_engine asks with the real one."""

    stop: list[str] = field(default_factory=list)
    bad_words: list[str] | None = None
    allowed_token_ids: list[int] | None = None
    logit_bias: dict[int, float] | None = None
    stop_token_ids: list[int] | None = None
    bad_words_token_ids: list[list[int]] | None = None

    def update_from_tokenizer(self, tokenizer: Bytes) -> None:
        self.bad_words_token_ids = [tokenizer.encode(word) for word in self.bad_words or ()]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, None),
        *(({name: ["a"] * most}, None) for name, most in MOST.items() if name in ("stop", "bad_words")),
        *(({name: ["a"] * (most + 1)}, name) for name, most in MOST.items() if name in ("stop", "bad_words")),
        *(({name: range(most)}, None) for name, most in MOST.items() if name.endswith("ids")),
        *(({name: range(most + 1)}, name) for name, most in MOST.items() if name.endswith("ids")),
        ({"logit_bias": dict.fromkeys(range(1024), 1.0)}, None),
        ({"logit_bias": dict.fromkeys(range(1025), 1.0)}, "logit_bias"),
        ({"stop": ["x" * MOST_LETTERS]}, None),
        ({"stop": ["x" * MOST_LETTERS, "y"]}, "stop"),
        ({"bad_words": ["x" * MOST_TOKENS_OF_BAD_WORDS]}, None),
        ({"bad_words": ["x" * MOST_TOKENS_OF_BAD_WORDS, "y"]}, "bad_words"),
    ],
)
def test_what_a_worker_has_no_room_for_is_refused(fields: dict[str, Any], param: str | None) -> None:
    rejection = too_long(Params(**fields), Bytes())
    assert (rejection and rejection.param) == param
