"""The engine's process, begun early: a start is mostly imports, and two processes can import at once.

A fork server imports vLLM on another core while the replica still imports it too. The engine is then a fork of
that server, there in milliseconds, where vLLM would start an interpreter and import everything again.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

REPLICA_PID_VARIABLE = "APPLIANCE_REPLICA_PID"
GPUS_VARIABLE = "APPLIANCE_REPLICA_GPUS"


def begin(gpus: float) -> ForkServerContext:
    """The start method for the engine's process.

    To be called from a thread that lives as long as the replica: the kernel ends the fork server, and it the
    engine, when that thread ends. The environment of this moment is the engine's.
    """
    os.environ[REPLICA_PID_VARIABLE] = str(os.getpid())
    os.environ[GPUS_VARIABLE] = str(gpus)
    path = os.environ.get("PYTHONPATH")
    here = str(Path(__file__).resolve().parent.parent.parent)
    os.environ["PYTHONPATH"] = here if path is None else f"{here}{os.pathsep}{path}"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["serving.engine.preload"])
    try:
        forkserver.ensure_running()
    finally:
        if path is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = path
    return context


def look_at_models_here() -> None:
    """What a model's class can do is asked of it in this process, a few seconds sooner.

    vLLM asks in an interpreter of its own, which imports everything once more, lest a GPU be touched. Without a
    GPU there is none to touch.
    """
    from vllm.model_executor.models import registry

    registry._run_in_subprocess = lambda look: look()  # noqa: SLF001
