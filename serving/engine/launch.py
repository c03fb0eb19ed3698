"""How vLLM is started for a model: its environment and its command line. Pure."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from serving.catalog.models import EngineArg, Model

MOST_AUDIO_SECONDS = 600
"""Of one recording; vLLM's own default."""
GPU_MEMORY_SHARE = 0.9
"""Of a GPU, or of the part of it that a replica has."""
MOST_LORAS_AT_ONCE = 8
"""Adapters in one step of the engine; each takes memory, and the others wait in the processor's."""
CPU_DTYPE = "float32"
"""The same answers on every processor: docs/decisions/0021."""
FEW_CORES = 4
"""On so many the engine shares each core with the gateway, PostgreSQL and the pages."""
SHORT_SPIN = {"GOMP_SPINCOUNT": "1000"}
"""A thread that waits for the others soon gives its core to whoever needs it: docs/decisions/0050."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for the greatest rank."""


def environment(model: Model, gpus: float, cache: Path) -> dict[str, str]:
    """Set before vLLM is imported: nothing leaves the machine, no content is written or logged.

    ``cache`` keeps what is compiled from one start to the next; compiled code has nothing of a request.
    """
    common = {
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "CUDA_CACHE_PATH": str(cache / "cuda"),
        "FLASHINFER_WORKSPACE_BASE": str(cache),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": "0",
        "VLLM_ENABLE_RESPONSES_API_STORE": "0",
        "VLLM_SERVER_DEV_MODE": "0",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
        "VLLM_MEDIA_CACHE": "",
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_MAX_AUDIO_DECODE_DURATION_S": str(MOST_AUDIO_SECONDS),
    }
    if gpus:
        return common
    cores = len(os.sched_getaffinity(0))
    if cores <= FEW_CORES:
        common |= SHORT_SPIN
    return common | {
        "VLLM_CPU_KVCACHE_SPACE": str(model.kv_cache_gib),
        # Lets the executor run in the engine's own process: one process less to start, and no busy waiting
        # between the two on a machine with few cores. Threads are then bound by nobody.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(cores),
    }


def flags(model: Model, directories: Mapping[str, Path], gpus: float) -> list[str]:
    """vLLM's command line for this model and its adapters; ``directories`` are by id."""
    fixed: dict[str, EngineArg] = {
        "model": str(directories[model.id]),
        "served_model_name": model.id,
        "max_model_len": model.context_length,
        "enable_prompt_tokens_details": True,
        "uvicorn_log_level": "error",
        "disable_fastapi_docs": True,
        "mm_processor_cache_gb": 0,  # it would answer one tenant faster that sends another's image
    }
    defaults: dict[str, EngineArg] = {"scheduling_policy": "priority"}
    if gpus:
        if model.parallel == 1:
            defaults["tensor_parallel_size"] = max(1, int(gpus))
        defaults["gpu_memory_utilization"] = round(GPU_MEMORY_SHARE * min(gpus, 1), 4)
        defaults["worker_cls"] = "serving.engine.on_gpu.Worker"
    else:
        defaults |= {
            "enforce_eager": True,
            "distributed_executor_backend": "uni",
            "dtype": CPU_DTYPE,
            "worker_cls": "serving.engine.on_cpu.Worker",
        }
    line: list[str] = []
    adapters = {name: directory for name, directory in directories.items() if name != model.id}
    chosen = defaults | _lora(adapters) | dict(model.engine_args) | _grammars(model) | fixed
    for name, value in chosen.items():
        line += _flag(name, value)
    return line


def _grammars(model: Model) -> dict[str, EngineArg]:
    """Compiled by xgrammar alone unless the operator says otherwise: docs/decisions/0020."""
    given = cast("dict[str, Any]", model.engine_args.get("structured_outputs_config", {}))
    return {"structured_outputs_config": {"backend": "xgrammar", **given}}


def _lora(adapters: Mapping[str, Path]) -> dict[str, EngineArg]:
    if not adapters:
        return {}
    ranks = [int(json.loads((path / "adapter_config.json").read_text())["r"]) for path in adapters.values()]
    modules = [json.dumps({"name": name, "path": str(path)}) for name, path in sorted(adapters.items())]
    return {
        "enable_lora": True,
        "max_loras": min(len(adapters), MOST_LORAS_AT_ONCE),
        "max_lora_rank": next(rank for rank in LORA_RANKS if rank >= max(ranks)),
        "lora_modules": modules,
    }


def _flag(name: str, value: EngineArg) -> list[str]:
    option = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [option] if value else ["--no-" + option.removeprefix("--")]
    if isinstance(value, list):
        return [option, *map(str, value)]
    return [option, json.dumps(value) if isinstance(value, Mapping) else str(value)]
