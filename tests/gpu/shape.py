"""A dense model of eight billion parameters, as far as speed goes: the shape of Llama 3.1 8B without weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

EIGHT_BILLION = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256, "max_position_embeddings": 8192,
}  # fmt: skip
REHEARSAL = {
    "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 49152, "max_position_embeddings": 8192,
}  # fmt: skip
"""Small enough for any machine: to try the program itself."""
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def make_shape(smollm2: Path, target: Path, *, rehearse: bool) -> Path:
    """A model's directory without weights, for ``load_format: dummy``; the tokenizer is SmolLM2's."""
    target.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = json.loads((smollm2 / "config.json").read_text())
    config |= {"tie_word_embeddings": False, **(REHEARSAL if rehearse else EIGHT_BILLION)}
    (target / "config.json").write_text(json.dumps(config))
    for name in TOKENIZER:
        shutil.copy(smollm2 / name, target / name)
    return target
