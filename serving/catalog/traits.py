"""What only a running engine knows of its model: what it can do, and how its prompts are bounded."""

from __future__ import annotations

import msgspec


class Traits(msgspec.Struct, frozen=True):
    """``endpoints`` are paths of ``serving.catalog.endpoints``; ``input`` and ``output`` are modalities.

    A prompt of so many bytes has at most ``tokens_per_byte`` times as many tokens, and ``template_tokens`` of its
    chat template, or of the tokenizer's own; ``audio_seconds`` is the longest recording that is taken.
    """

    endpoints: tuple[str, ...] = ()
    input: tuple[str, ...] = ("text",)
    output: tuple[str, ...] = ("text",)
    template_tokens: int = 0
    reads_whole_body: bool = False
    """Whether fields beside the prompt may be read as a part of it."""
    tokens_per_byte: int = 1
    audio_seconds: int = 0
