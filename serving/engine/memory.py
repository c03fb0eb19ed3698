"""How much of a GPU an engine found for its cache, remembered for its next start.

vLLM measures it at each start, and takes what another engine does on the same GPU meanwhile for its own. A
start that remembers measures nothing: it is quicker, and engines that share a GPU can start side by side.
vLLM's own plan (``vllm.v1.worker.startup_plan``) does the same for an engine that is alone; it wants as much
free memory as it once saw. Here what counts is the share that the engine was given: vLLM has checked that it is
free.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from serving.files import write_whole

VARIABLE = "APPLIANCE_MEMORY"
logger = logging.getLogger(__name__)


def notes_of(home: Path, version: str) -> Path:
    """The folder with a note of each GPU of a replica of this version."""
    return home / "cache" / "memory" / version


def is_noted(home: Path, version: str) -> bool:
    """Whether a start of this version on this node has nothing to measure."""
    return notes_of(home, version).exists()


def recall(worker: Any) -> None:
    """Sets the size of the worker's cache, if it is known. Called by vLLM before it measures."""
    folder = os.environ.get(VARIABLE)
    if not folder or worker.cache_config.kv_cache_memory_bytes is not None:
        return
    try:
        note = json.loads(_note(folder, worker).read_bytes())
        if note["fingerprint"] == _fingerprint(worker):
            worker.cache_config.kv_cache_memory_bytes = int(note["kv_cache_memory_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return


def remember(worker: Any, kv_cache_memory_bytes: int) -> None:
    """Called by vLLM when it has measured and started."""
    folder = os.environ.get(VARIABLE)
    if not folder or kv_cache_memory_bytes <= 0:
        return
    note = {"fingerprint": _fingerprint(worker), "kv_cache_memory_bytes": kv_cache_memory_bytes}
    try:
        write_whole(_note(folder, worker), json.dumps(note).encode())
    except OSError as error:
        logger.warning("the size of the cache cannot be noted: %s", error.strerror)


def _note(folder: str, worker: Any) -> Path:
    return Path(folder) / f"{worker.rank}.json"


def _fingerprint(worker: Any) -> str:
    """Of everything that the size depends on: the GPU, vLLM, its settings."""
    from vllm.v1.worker.startup_plan import compute_plan_fingerprint

    world_size = worker.parallel_config.world_size
    return str(compute_plan_fingerprint(worker.vllm_config, worker.rank, world_size))
