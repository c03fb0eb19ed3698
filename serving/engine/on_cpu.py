"""The worker of an engine without a GPU; vLLM imports it by name (``serving.engine.launch``)."""

from __future__ import annotations

from vllm.v1.worker.cpu_worker import CPUWorker

from serving.engine.worker import SaysHowFar


class Worker(SaysHowFar, CPUWorker):  # type: ignore[misc]
    """vLLM's, with a voice."""
