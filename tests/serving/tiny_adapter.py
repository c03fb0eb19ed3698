"""An adapter (LoRA) of random weights for SmolLM2: that it changes what is said is all that matters."""

from __future__ import annotations

import json
from pathlib import Path

RANK = 4
LAYERS = 30
HIDDEN, QUERIES = 576, 576


def make_adapter(target: Path) -> Path:
    """In PEFT's format."""
    import torch
    from safetensors.torch import save_file

    target.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(4)
    tensors = {}
    for layer in range(LAYERS):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{name}.lora_A.weight"] = torch.randn(RANK, HIDDEN, generator=generator)
        tensors[f"{name}.lora_B.weight"] = torch.randn(QUERIES, RANK, generator=generator)
    save_file(tensors, target / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA", "r": RANK, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none",
        "base_model_name_or_path": "smollm2", "task_type": "CAUSAL_LM", "use_rslora": False, "use_dora": False,
    }  # fmt: skip
    (target / "adapter_config.json").write_text(json.dumps(config))
    return target
