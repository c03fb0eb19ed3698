"""Engines that share a GPU: one measures its memory alone, and remembers it for its next start.

vLLM measures at each start how much of the GPU is left for its cache, and takes what another engine does on the
same GPU meanwhile for its own. So a start that measures has the GPU's lock for itself; starts that remember
share it, and go on side by side. A lock ends with its process, however that ends.

vLLM's own plan (``vllm.v1.worker.startup_plan``) remembers the same for an engine that is alone: it wants as
much free memory as it once saw. Here what counts is the share that the engine was given: vLLM has checked that
it is free.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from serving.files import write_whole

NOTES_VARIABLE = "APPLIANCE_MEMORY"
LOCKS_VARIABLE = "APPLIANCE_GPU_LOCKS"
logger = logging.getLogger(__name__)


def variables(home: Path, version: str, gpus: float) -> dict[str, str]:
    """For the engine's environment. A GPU that an engine has for itself needs no lock."""
    return {
        NOTES_VARIABLE: str(home / "cache" / "memory" / version),
        LOCKS_VARIABLE: str(home / "run" / "gpus") if 0 < gpus < 1 else "",
    }


@contextmanager
def gpu_of(worker: Any, waiting: Callable[[], None]) -> Iterator[None]:
    """While the worker starts. ``waiting`` is called if it has to wait for another engine's start."""
    folder = os.environ.get(LOCKS_VARIABLE)
    if not folder:
        yield
        return
    mode = fcntl.LOCK_SH if _known(worker) is not None else fcntl.LOCK_EX
    path = Path(folder) / f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, mode)
        yield


def recall(worker: Any) -> None:
    """Sets the size of the worker's cache, if it is known. Called by vLLM before it measures."""
    worker.cache_config.kv_cache_memory_bytes = _known(worker)


def remember(worker: Any, kv_cache_memory_bytes: int) -> None:
    """Called by vLLM when it has measured and started."""
    if kv_cache_memory_bytes <= 0 or not os.environ.get(NOTES_VARIABLE):
        return
    note = {"fingerprint": _fingerprint(worker), "kv_cache_memory_bytes": kv_cache_memory_bytes}
    try:
        write_whole(_note(worker), json.dumps(note).encode())
    except OSError as error:
        logger.warning("the size of the cache cannot be noted: %s", error.strerror)


def _known(worker: Any) -> int | None:
    """By the operator's word, or by an earlier start with the same settings on such a GPU."""
    given: int | None = worker.cache_config.kv_cache_memory_bytes
    if given is not None or not os.environ.get(NOTES_VARIABLE):
        return given
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(_note(worker).read_bytes())
        if note["fingerprint"] == _fingerprint(worker):
            return int(note["kv_cache_memory_bytes"])
    return None


def _note(worker: Any) -> Path:
    return Path(os.environ[NOTES_VARIABLE]) / f"{worker.rank}.json"


def _fingerprint(worker: Any) -> str:
    """Of everything that the size depends on: the GPU, vLLM, its settings."""
    from vllm.v1.worker.startup_plan import compute_plan_fingerprint

    world_size = worker.parallel_config.world_size
    return str(compute_plan_fingerprint(worker.vllm_config, worker.rank, world_size))
