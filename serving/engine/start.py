"""Starting the engine and vLLM's app around it, in this process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from serving.agents.app import Agents
from serving.catalog.models import Model
from serving.catalog.traits import Traits
from serving.engine import calls, handlers, memory, process, starting
from serving.engine.inspect import traits_of
from serving.engine.launch import environment, flags
from serving.engine.metering import Metering
from serving.metering.meter import MeterBook, Request
from serving.replica import silence
from serving.replica.guard import Guard
from serving.replica.media import MediaFetcher


class RunningEngine:
    """vLLM's engine with every request metered, and its app behind the guard."""

    trouble = ""

    def __init__(self, llm: Any, app: Any, guard: Guard, traits: Traits) -> None:
        self._llm = llm
        self._app = app
        self.guard = guard
        self.traits = traits

    def served_by(self, server: object) -> None:
        """vLLM stops the server when its engine is dead."""
        self._app.state.server = server

    async def check(self) -> None:
        """Raises if the engine is dead."""
        await self._llm.check_health()

    async def stop(self) -> None:
        self._llm.shutdown()


class _Port:
    """``serving.replica.guard.Engine`` over AsyncLLM."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm

    def is_healthy(self) -> bool:
        return not self._llm.errored

    def unfinished(self, request: Request) -> list[str]:
        states = self._llm.output_processor.request_states
        return [sequence.id for sequence in request.sequences if sequence.id in states]

    async def abort(self, sequence_ids: list[str]) -> None:
        await self._llm.abort(sequence_ids, internal=True)


def _metrics() -> bytes:
    from prometheus_client import generate_latest
    from vllm.v1.metrics.prometheus import get_prometheus_registry

    return generate_latest(get_prometheus_registry())


def _refuse(message: str) -> NoReturn:
    """Instead of the parser's own, which ends the process without a word to whoever waits for it."""
    raise ValueError(f"engine_args: {message}")


class EngineDidNotStartError(Exception):
    """Why, in the words of whoever failed; vLLM's own error says only that something did."""


async def start(
    model: Model,
    directories: Mapping[str, Path],
    gpus: float,
    book: MeterBook,
    secret: str,
    *,
    home: Path,
    version: str,
) -> RunningEngine:
    """Starts the engine for the model and its adapters; takes seconds to minutes. Raises whatever vLLM raises,
    and EngineDidNotStartError.

    ``home`` is this node's. The memory that it finds on its GPUs is remembered for the next start of this
    ``version``.
    """
    line = starting.line_of(home, model.id)
    os.environ.update(environment(model, gpus, home / "cache"))
    os.environ.update(memory.variables(home, version, gpus))
    os.environ[starting.VARIABLE] = str(line)
    starting.say("loading the engine")
    silence.no_core_files()
    context = process.begin(gpus)
    import vllm.v1.engine.utils as engine_utils
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.engine.async_llm import AsyncLLM

    engine_utils.get_mp_context = lambda: context
    if not gpus:
        process.look_at_models_here()
    parser = make_arg_parser(FlexibleArgumentParser())
    parser.error = _refuse
    arguments = parser.parse_args(flags(model, directories, gpus))
    try:
        llm = AsyncLLM.from_engine_args(AsyncEngineArgs.from_cli_args(arguments))
    except RuntimeError:
        if reason := starting.why(line):
            raise EngineDidNotStartError(reason) from None
        raise
    Metering(llm)
    tasks = await llm.get_supported_tasks()
    app = build_app(arguments, tasks, llm.model_config)
    await init_app_state(llm, app.state, arguments, tasks)
    handlers.speak_plainly(app)
    handlers.refuse_beam_search(app.state)
    handlers.cap_messages()
    handlers.measure_recordings(app.state)
    handlers.fetch_media_by(MediaFetcher())
    handlers.keep_uploads_in_memory()
    handlers.name_reasoning_twice()
    calls.keep_calls_cut_off(app.state)
    guard = Guard(
        Agents(app),
        engine=_Port(llm),
        book=book,
        secret=secret,
        queue_limit=model.queue_limit,
        seats=llm.vllm_config.scheduler_config.max_num_seqs,
    )
    guard.metrics = _metrics
    traits = await traits_of(llm, app, model.id)
    line.unlink(missing_ok=True)
    silence.begin()
    return RunningEngine(llm, app, guard, traits)
