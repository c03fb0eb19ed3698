"""What a model needs of GPUs and memory, and whether that is there. Pure, but for a look at the model's files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.catalog.models import Model
from serving.engine.launch import CPU_DTYPE, GPU_MEMORY_SHARE

GIB = 1 << 30
ENGINE_BYTES = int(1.5 * GIB)
"""Of an engine besides weights and cache: activations, graphs, the libraries' own. An estimate."""
CPU_PROCESS_BYTES = int(1.2 * GIB)
"""Of a replica without a GPU besides weights and cache. Measured with two small models."""
WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.pt")
BYTES_OF = {"fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "float32": 4, "float": 4}


@dataclass(frozen=True, slots=True)
class Shape:
    """``token_bytes`` is what a token takes in the cache of keys and values; 0 for a model without one.

    ``weights_bytes`` are the files', whose numbers are of ``dtype``.
    """

    weights_bytes: int
    token_bytes: int
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class Fit:
    """One replica on each of its GPUs. ``cache_tokens`` is how many fit beside the weights on all of them."""

    gpu_bytes: int
    weights_bytes: int
    cache_bytes: int
    cache_tokens: int
    short_bytes: int

    @property
    def fits(self) -> bool:
        return self.short_bytes <= 0


def shape_of(model: Model, directory: Path) -> Shape:
    """From the model's files. A cache with a window or with states is smaller than what is said here."""
    weights = sum(file.stat().st_size for pattern in WEIGHTS for file in directory.glob(pattern))
    config = json.loads((directory / "config.json").read_text())
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "")
    return Shape(weights, token_bytes(config.get("text_config", config), model.engine_args), dtype)


def token_bytes(config: Mapping[str, Any], engine_args: Mapping[str, Any]) -> int:
    """Keys and values of all layers, or the one latent vector of MLA."""
    layers = int(config.get("num_hidden_layers", 0))
    size = BYTES_OF.get(str(engine_args.get("kv_cache_dtype", "")), 2)
    if "kv_lora_rank" in config:
        return layers * (int(config["kv_lora_rank"]) + int(config.get("qk_rope_head_dim", 0))) * size
    heads = int(config.get("num_attention_heads", 0))
    if not heads or not config.get("hidden_size"):
        return 0
    head = int(config.get("head_dim") or config["hidden_size"] // heads)
    return 2 * layers * int(config.get("num_key_value_heads") or heads) * head * size


def fit_on(model: Model, shape: Shape, gpus: float, gpu_bytes: int) -> Fit:
    """A replica of ``gpus`` GPUs of ``gpu_bytes`` each: vLLM refuses to start if one whole context has no room."""
    share = float(str(model.engine_args.get("gpu_memory_utilization", GPU_MEMORY_SHARE * min(gpus, 1))))
    count = max(1, int(gpus))
    weights = -(-shape.weights_bytes // count)
    cache = int(gpu_bytes * share) - weights - ENGINE_BYTES
    needed = shape.token_bytes * model.context_length // count
    tokens = max(0, cache) * count // shape.token_bytes if shape.token_bytes else 0
    return Fit(gpu_bytes, weights, max(0, cache), tokens, needed - cache)


def cpu_bytes(model: Model, shape: Shape) -> int:
    """What a replica without a GPU takes of the machine's memory."""
    kept_as = str(model.engine_args.get("dtype", CPU_DTYPE))
    widened = kept_as in ("float32", "float") and shape.dtype in ("bfloat16", "float16")
    return shape.weights_bytes * (1 + widened) + model.kv_cache_gib * GIB + CPU_PROCESS_BYTES


def has_room(
    nodes: Iterable[Mapping[str, Any]], taken: Sequence[tuple[str, float]], gpus: float, replicas: int
) -> bool:
    """Whether so many replicas of ``gpus`` GPUs fit beside those in ``taken``, which are (node's id, GPUs)."""
    if not gpus:
        return True
    places = 0
    for node in nodes:
        free = len(node["gpus"]) - sum(used for where, used in taken if where == node["id"])
        places += int((free + 1e-9) // gpus)
    return places >= replicas
