"""The worker of an engine on GPUs; vLLM imports it by name (``serving.engine.launch``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from vllm.v1.worker import gpu_model_runner, gpu_worker
from vllm.v1.worker.gpu import cudagraph_utils

from serving.engine import memory
from serving.engine.starting import counted, say
from serving.engine.worker import SaysHowFar


class Worker(SaysHowFar, gpu_worker.Worker):  # type: ignore[misc]
    """vLLM's, with a voice and a memory."""

    def init_device(self) -> None:
        self._starting = ExitStack()
        self._starting.enter_context(
            memory.gpu_of(self, lambda: say("waits for another engine that starts on this GPU"))
        )
        super().init_device()

    def compile_or_warm_up_model(self) -> Any:
        with self._starting:
            return super().compile_or_warm_up_model()


def _graphs(descriptions: Iterable[Any], **_: Any) -> Iterator[Any]:
    """In the place of a progress bar, which only the first of an engine's processes has."""
    return counted(descriptions, "capturing graphs,")


gpu_worker.maybe_apply_startup_plan = memory.recall
gpu_worker.maybe_save_startup_plan = memory.remember
for runner in (gpu_model_runner, cudagraph_utils):
    runner.tqdm = _graphs
