"""Imported by a replica's fork server only (serving.engine.process): vLLM, and the tie to the replica's life."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
from contextlib import suppress

from serving.engine import bounded, starting
from serving.engine.process import GPUS_VARIABLE, REPLICA_PID_VARIABLE
from serving.replica import silence

PR_SET_PDEATHSIG = 1
ENGINE_NICENESS = 5
EVERYWHERE = (
    "ray",
    "vllm.v1.engine.core",
    "vllm.v1.executor.uniproc_executor",
    "vllm.model_executor.model_loader.default_loader",
    "vllm.model_executor.models.llama",
    "vllm.transformers_utils.configs",
)
ON_CPU = ("vllm.v1.worker.cpu_worker", "vllm.v1.attention.backends.cpu_attn")
ON_GPU = ("vllm.v1.worker.gpu_worker", "vllm.v1.attention.backends.flash_attn")


def die_with_parent() -> None:
    """No engine outlives its replica: it would keep the memory that the next replica needs."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def yield_to_the_others() -> None:
    """An engine on processors takes all there are; what routes, heals and charges must not wait for it."""
    if not float(os.environ[GPUS_VARIABLE]):
        os.nice(ENGINE_NICENESS)


def preload() -> None:
    """A module that this version of vLLM keeps elsewhere is left for the engine to find."""
    for module in EVERYWHERE + (ON_CPU if not float(os.environ[GPUS_VARIABLE]) else ON_GPU):
        with suppress(ImportError):
            importlib.import_module(module)


def tell_why_it_does_not_start() -> None:
    from vllm.v1.engine.core import EngineCoreProc

    EngineCoreProc.__init__ = starting.telling_why()(EngineCoreProc.__init__)


def silence_the_engine() -> None:
    """Before its first request: vLLM logs what it was working on when it fails, stop strings and schemas too."""
    from vllm.v1.engine.core import EngineCoreProc

    run = EngineCoreProc.run_busy_loop

    def run_in_silence(self: EngineCoreProc) -> None:
        silence.begin()
        run(self)

    EngineCoreProc.run_busy_loop = run_in_silence


die_with_parent()
if os.getppid() != int(os.environ[REPLICA_PID_VARIABLE]):
    raise SystemExit("the replica died before its fork server began")
os.register_at_fork(after_in_child=die_with_parent)
os.register_at_fork(after_in_child=yield_to_the_others)
preload()
tell_why_it_does_not_start()
silence_the_engine()
bounded.install()
