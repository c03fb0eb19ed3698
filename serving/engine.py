"""The only file that touches vLLM: its engine and its own OpenAI app, in this process, metered and silent.

Written for vLLM 0.32; 0.25 keeps the same things in other modules.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from serving import engine_process, silence
from serving.answer import App, count_prompts, current_request
from serving.guard import Guard
from serving.launch import environment, flags
from serving.meter import MeterBook, Request
from serving.models import Model

TEMPLATE_MARGIN_TOKENS = 64
# A client could claim with them that its prompt was cached.
UNTRUSTED = frozenset({"kv_transfer_params", "ec_transfer_params"})
REFUSALS = {
    "prompt-limit": "The prompt is longer than this request may be.",
    "sequences": "The request asks for more answers than it may.",
}


class EngineSequence:
    """``serving.meter.Sequence`` over vLLM's RequestState."""

    __slots__ = ("_state", "prompt")

    def __init__(self, state: Any, prompt: str) -> None:
        self._state = state
        self.prompt = prompt

    @property
    def id(self) -> str:
        return str(self._state.request_id)

    @property
    def prompt_tokens(self) -> int:
        return int(self._state.prompt_len)

    @property
    def prefilled(self) -> bool:
        return not self._state.is_prefilling

    @property
    def cached_tokens(self) -> int:
        return int(self._state.num_cached_tokens)

    @property
    def completion_tokens(self) -> int:
        return int(self._state.detokenizer.num_output_tokens())


class RunningEngine:
    """vLLM's engine with every request metered, and its app behind the guard."""

    def __init__(self, llm: Any, app: Any, guard: Guard, template_tokens: int) -> None:
        self._llm = llm
        self._app = app
        self.guard = guard
        self.template_tokens = template_tokens

    def served_by(self, server: object) -> None:
        """vLLM stops the server when its engine is dead."""
        self._app.state.server = server

    async def check(self) -> None:
        """Raises if the engine is dead."""
        await self._llm.check_health()

    def stop(self) -> None:
        self._llm.shutdown()


class _Port:
    """``serving.guard.Engine`` over AsyncLLM."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm

    def is_healthy(self) -> bool:
        return not self._llm.errored

    def unfinished(self, request: Request) -> list[str]:
        states = self._llm.output_processor.request_states
        return [sequence.id for sequence in request.sequences if sequence.id in states]

    async def abort(self, sequence_ids: list[str]) -> None:
        await self._llm.abort(sequence_ids, internal=True)


async def start(model: Model, directory: Path, gpus: int, book: MeterBook, secret: str) -> RunningEngine:
    """Starts the engine; takes seconds to minutes. Raises whatever vLLM raises."""
    os.environ.update(environment(model, gpus))
    silence.no_core_files()
    context = engine_process.begin(gpus)
    import vllm.v1.engine.utils as engine_utils
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.engine.async_llm import AsyncLLM

    engine_utils.get_mp_context = lambda: context
    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(flags(model, directory, gpus))
    llm = AsyncLLM.from_engine_args(AsyncEngineArgs.from_cli_args(arguments))
    Metering(llm)
    tasks = await llm.get_supported_tasks()
    app = build_app(arguments, tasks, llm.model_config)
    await init_app_state(llm, app.state, arguments, tasks)
    refuse_beam_search(app.state)
    guard = Guard(app, engine=_Port(llm), book=book, secret=secret, queue_limit=model.queue_limit)
    template_tokens = await _template_tokens(app, model.id)
    silence.begin()
    return RunningEngine(llm, app, guard, template_tokens)


class Metering:
    """Ties every sequence of the engine to the request that asked for it, and applies that request's limits.

    Nothing is done per token: the meter reads the states that the engine keeps anyway.
    """

    def __init__(self, llm: Any) -> None:
        self._generate = llm.generate
        self._add_state = llm.output_processor.add_request
        self._states = llm.output_processor.request_states
        self._by_priority = llm.vllm_config.scheduler_config.policy == "priority"
        self._sibling = _sibling_state()
        llm.generate = self.generate
        llm.output_processor.add_request = self.add_state

    def generate(self, prompt: Any, sampling_params: Any, request_id: str, **options: Any) -> Any:
        """Instead of AsyncLLM.generate. Called for every prompt of a request before the first one is begun."""
        from vllm.exceptions import VLLMValidationError

        request = _request()
        tokens = prompt.get("prompt_token_ids") if isinstance(prompt, dict) else None
        if tokens is None:
            raise VLLMValidationError("Only text can be a prompt.", parameter="prompt")
        request.ask(len(tokens), sampling_params.n)
        if request.count_only:
            return _only_counted()
        if (refusal := refusal_of(request, sampling_params.extra_args)) is not None:
            raise VLLMValidationError(refusal)
        limit(sampling_params, request.limits.completion_tokens)
        if request.limits.salt:
            prompt["cache_salt"] = salted(request.limits.salt, prompt.get("cache_salt"))
        options["priority"] = request.limits.priority if self._by_priority else 0
        return self._generate(prompt, sampling_params, request_id, **options)

    def add_state(self, engine_request: Any, prompt: Any, parent: Any, index: int, queue: Any) -> None:
        """Instead of OutputProcessor.add_request: the one place where every sequence begins."""
        self._add_state(engine_request, prompt, parent, index, queue)
        state = self._states[engine_request.request_id]
        if parent is not None:
            state.__class__ = self._sibling
        _request().sequences.append(EngineSequence(state, queue.request_id))


def _sibling_state() -> type:
    from vllm.v1.engine.output_processor import RequestState

    class Sibling(RequestState):  # type: ignore[misc]
        """One of the answers to one prompt. They find their prompt in the cache because the first one put it
        there; that is no saving of the caller's, and ``usage`` must say what the meter says."""

        @property
        def num_cached_tokens(self) -> int:
            return int(getattr(self.queue, "prompt_cached_tokens", 0))

        @num_cached_tokens.setter
        def num_cached_tokens(self, tokens: int) -> None:
            self.queue.prompt_cached_tokens = min(tokens, getattr(self.queue, "prompt_cached_tokens", tokens))

    return Sibling


async def _only_counted() -> AsyncGenerator[Any, None]:
    from vllm.exceptions import GenerationError

    nothing: tuple[Any, ...] = ()
    for output in nothing:
        yield output
    raise GenerationError("only counted")  # the one kind that vLLM does not log


def refuse_beam_search(state: Any) -> None:
    """It generates many times the tokens that its answer's ``usage`` names."""
    from vllm.exceptions import VLLMValidationError

    def refuse(**_: Any) -> None:
        raise VLLMValidationError("Beam search is not supported.", parameter="use_beam_search")

    for handler in (state.openai_serving_chat, state.openai_serving_completion):
        if handler is not None:
            handler.beam_search = refuse


def refusal_of(request: Request, extra_args: Mapping[str, object] | None) -> str | None:
    """Why the request, of which one more prompt is known now, cannot be served."""
    if request.refused is not None:
        return REFUSALS[request.refused]
    if extra_args and UNTRUSTED & extra_args.keys():
        return "Transfer parameters are not for clients."
    return None


def _request() -> Request:
    request = current_request.get()
    if request is None:
        raise RuntimeError("generation without a meter")
    return request


def limit(sampling_params: Any, completion_tokens: int | None) -> None:
    """At most so many tokens for each sequence."""
    if completion_tokens is None:
        return
    asked = sampling_params.max_tokens
    sampling_params.max_tokens = completion_tokens if asked is None else min(asked, completion_tokens)
    sampling_params.min_tokens = min(sampling_params.min_tokens, sampling_params.max_tokens)


def salted(tenant: str, client: str | None) -> str:
    """Keeps tenants apart; within a tenant, a client's own salt still does what vLLM documents."""
    return tenant if client is None else hashlib.sha256(f"{tenant}{client}".encode()).hexdigest()


async def _template_tokens(app: App, model_id: str) -> int:
    """Tokens of a conversation whose one message is empty, and a margin; 0 if the model has no chat template."""
    body = json.dumps({"model": model_id, "messages": [{"role": "user", "content": ""}]}).encode()
    request, _ = await count_prompts(app, "/v1/chat/completions", body)
    return request.asked_prompt_tokens + TEMPLATE_MARGIN_TOKENS if request.asked_sequences else 0
