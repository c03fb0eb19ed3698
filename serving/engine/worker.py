"""vLLM's workers say how far their start is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

from serving.engine.starting import VARIABLE, say, telling_why, weighed


class SaysHowFar:
    """Mixed into a worker. vLLM calls these methods one after another, in each of an engine's processes."""

    rank: int

    @telling_why()
    def init_device(self) -> None:
        if self.rank:
            os.environ.pop(VARIABLE, None)  # the first of an engine's processes speaks for all
        say("opening the device")
        super().init_device()  # type: ignore[misc]

    @telling_why()
    def load_model(self, **options: Any) -> None:
        say("loading weights")
        super().load_model(**options)  # type: ignore[misc]

    @telling_why()
    def determine_available_memory(self) -> int:
        say("compiling")
        return int(super().determine_available_memory())  # type: ignore[misc]

    @telling_why()
    def initialize_from_config(self, *arguments: Any, **options: Any) -> None:
        say("making the cache")
        super().initialize_from_config(*arguments, **options)  # type: ignore[misc]

    @telling_why()
    def compile_or_warm_up_model(self) -> Any:
        say("warming up")
        return super().compile_or_warm_up_model()  # type: ignore[misc]


def _weighed(load: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    def loading(self: Any, model_config: Any, model: Any) -> Iterator[Any]:
        files = Path(model_config.model).glob("*.safetensors")
        return weighed(load(self, model_config, model), sum(file.stat().st_size for file in files))

    return loading


DefaultModelLoader.get_all_weights = _weighed(DefaultModelLoader.get_all_weights)
