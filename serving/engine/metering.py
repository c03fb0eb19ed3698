"""Every sequence of the engine tied to the request that asked for it; that request's limits, applied."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

from serving.agents.tools import enforced, enforcing
from serving.engine import lists
from serving.metering.meter import Rejection, Request
from serving.replica.answer import current_request
from serving.replica.grammar import MOST_BYTES_TOGETHER, TOO_MANY_TOGETHER, size_of, too_large, too_long

# A client could claim with them that its prompt was cached.
UNTRUSTED = frozenset({"kv_transfer_params", "ec_transfer_params"})
TOO_LARGE = "A number of the request does not fit into 64 bits."
MOST_TOKENS_A_CHARACTER = 4
"""Where a token is a byte."""
REFUSALS = {
    "prompt-limit": "The prompt is longer than this request may be.",
    "sequences": "The request asks for more answers than it may.",
    "images": "The request has more images than it may.",
    "audio": "The recording is longer than this request's may be.",
}


class EngineSequence:
    """``serving.metering.meter.Sequence`` over vLLM's RequestState."""

    __slots__ = ("_state", "images", "prompt")

    def __init__(self, state: Any, prompt: str, images: int) -> None:
        self._state = state
        self.prompt = prompt
        self.images = images

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

    @property
    def given_up(self) -> bool:
        return getattr(self._state, "given_up", False)


class PooledSequence(EngineSequence):
    """A prompt that is read, but not answered in tokens. Its ``usage`` names no cached tokens, so none count."""

    __slots__ = ()

    @property
    def cached_tokens(self) -> int:
        return 0

    @property
    def completion_tokens(self) -> int:
        return 0


class Metering:
    """Ties every sequence of the engine to the request that asked for it, and applies that request's limits.

    The meter reads the states that the engine keeps anyway; of a stream, each output's tokens are counted besides.
    """

    def __init__(self, llm: Any) -> None:
        self._generate = llm.generate
        self._encode = llm.encode
        self._add_request = llm.add_request
        self._add_state = llm.output_processor.add_request
        self._finish = llm.output_processor._update_stats_from_finished  # noqa: SLF001 - nothing public knows how
        self._states = llm.output_processor.request_states
        self._tokenizer = llm.get_tokenizer()
        self._by_priority = llm.vllm_config.scheduler_config.policy == "priority"
        self._sibling = _sibling_state()
        llm.generate = self.generate
        llm.encode = self.encode
        llm.add_request = self.add_request
        llm.output_processor.add_request = self.add_state
        llm.output_processor._update_stats_from_finished = self.finish  # noqa: SLF001

    def generate(self, prompt: Any, sampling_params: Any, request_id: str, **options: Any) -> Any:
        """Instead of AsyncLLM.generate. Called for every prompt of a request before the first one is begun."""
        request = request_of_this_task()
        if request.recording is None:
            with noting_rejection(request):
                _ask(request, prompt, sampling_params.n, sampling_params.extra_args)
                self._check(request, sampling_params)
            limit(sampling_params, request.limits.completion_tokens)
        if request.count_only:
            return _only_counted()
        keep_apart(prompt, request.limits.salt)
        options["priority"] = request.limits.priority if self._by_priority else 0
        request.withheld_tokens = _withheld_tokens(sampling_params)
        outputs = self._generate(prompt, sampling_params, request_id, **options)
        return counted(request, outputs) if _is_in_parts(sampling_params) else outputs

    def _check(self, request: Request, sampling_params: Any) -> None:
        """They are the same for all prompts of a request."""
        from vllm.exceptions import VLLMValidationError

        if request.grammar_bytes is None:
            _enforce_grammars(sampling_params.structured_outputs)
            if (rejection := lists.too_long(sampling_params, self._tokenizer)) is not None:
                raise VLLMValidationError(rejection.message, parameter=rejection.param)
            request.grammar_bytes = _checked_bytes(sampling_params.structured_outputs)
        if request.grammar_bytes * request.asked_sequences > MOST_BYTES_TOGETHER:
            raise VLLMValidationError(TOO_MANY_TOGETHER)

    def encode(self, prompt: Any, pooling_params: Any, request_id: str, **options: Any) -> Any:
        """Instead of AsyncLLM.encode: what embeddings, scores and rankings are made of."""
        request = request_of_this_task()
        _ask(request, prompt, 1, pooling_params.extra_kwargs)
        if request.count_only:
            return _only_counted()
        keep_apart(prompt, request.limits.salt)
        options["priority"] = request.limits.priority if self._by_priority else 0
        return self._encode(prompt, pooling_params, request_id, **options)

    async def add_request(self, *arguments: Any, **options: Any) -> Any:
        """Instead of AsyncLLM.add_request: in a stream, vLLM tells a rejection as a part of the answer."""
        with noting_rejection(request_of_this_task()):
            return await self._add_request(*arguments, **options)

    def add_state(self, engine_request: Any, prompt: Any, parent: Any, index: int, queue: Any) -> None:
        """Instead of OutputProcessor.add_request: the one place where every sequence begins."""
        self._add_state(engine_request, prompt, parent, index, queue)
        state = self._states[engine_request.request_id]
        if parent is not None:
            state.__class__ = self._sibling
        kind = PooledSequence if engine_request.sampling_params is None else EngineSequence
        images = sum(feature.modality == "image" for feature in engine_request.mm_features or ())
        request_of_this_task().sequences.append(kind(state, queue.request_id, images))

    def finish(self, state: Any, reason: Any, statistics: Any) -> None:
        """Instead of OutputProcessor._update_stats_from_finished: of each sequence once, before it is told on."""
        state.given_up = str(reason) == "error"
        self._finish(state, reason, statistics)


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


@contextmanager
def noting_rejection(request: Request) -> Iterator[None]:
    from vllm.exceptions import VLLMClientError, VLLMValidationError

    try:
        yield
    except VLLMClientError as error:
        request.rejection = Rejection(str(error), getattr(error, "parameter", None))
        raise
    except OverflowError:  # on its way to the engine's process
        request.rejection = Rejection(TOO_LARGE)
        raise VLLMValidationError(TOO_LARGE) from None


async def _only_counted() -> AsyncGenerator[Any, None]:
    from vllm.exceptions import GenerationError

    nothing: tuple[Any, ...] = ()
    for output in nothing:
        yield output
    raise GenerationError("only counted")  # the one kind that vLLM does not log


def _is_in_parts(sampling_params: Any) -> bool:
    """Whether each output has what is new, as those of a stream do."""
    from vllm.sampling_params import RequestOutputKind

    return bool(sampling_params.output_kind == RequestOutputKind.DELTA)


async def counted(request: Request, outputs: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """The outputs; whoever asks for the next one has sent what it made of those before."""
    async with aclosing(outputs):
        async for output in outputs:
            request.give(sum(len(one.token_ids) for one in output.outputs))
            yield output
            request.asked_for_more()


def _withheld_tokens(sampling_params: Any) -> int:
    """At most, in all sequences together: the last characters may begin a stop string, and are not shown yet."""
    return int(sampling_params.output_text_buffer_length * MOST_TOKENS_A_CHARACTER * sampling_params.n)


def _ask(request: Request, prompt: Any, sequences: int, extra_args: Mapping[str, object] | None) -> None:
    """One more prompt is known of the request. Raises what vLLM answers with 400."""
    from vllm.exceptions import VLLMValidationError

    tokens = prompt.get("prompt_token_ids") if isinstance(prompt, dict) else None
    if tokens is None:
        raise VLLMValidationError("Only text can be a prompt.", parameter="prompt")
    request.ask(len(tokens), sequences, len(prompt.get("mm_placeholders", {}).get("image", ())))
    if not request.count_only and (refusal := refusal_of(request, extra_args)) is not None:
        raise VLLMValidationError(refusal)


def _enforce_grammars(asked: Any) -> None:
    """Those of custom tools, of which vLLM only knows that their calls have one text."""
    grammars = enforced.get()
    if grammars and asked is not None and asked.structural_tag is not None:
        asked.structural_tag = json.dumps(enforcing(json.loads(asked.structural_tag), grammars))


def _checked_bytes(asked: Any) -> int:
    """Of the grammar that an answer is to follow; 0 if there is none."""
    from vllm.exceptions import VLLMValidationError

    if asked is None:
        return 0
    schemas = [one for one in (asked.json, asked.choice, asked.structural_tag) if one is not None]
    texts = [one for one in (asked.regex, asked.grammar) if one is not None]
    for refusal in filter(None, (*map(too_large, schemas), *map(too_long, texts))):
        raise VLLMValidationError(refusal)
    return max(1, sum(map(size_of, (*schemas, *texts))))


def refusal_of(request: Request, extra_args: Mapping[str, object] | None) -> str | None:
    """Why the request, of which one more prompt is known now, cannot be served."""
    if request.refused is not None:
        return REFUSALS[request.refused]
    if extra_args and UNTRUSTED & extra_args.keys():
        return "Transfer parameters are not for clients."
    return None


def request_of_this_task() -> Request:
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


def keep_apart(prompt: Any, tenant: str) -> None:
    """What one tenant's prompts and images left in the engine's caches is of no use to another."""
    for part in (prompt, prompt.get("encoder_prompt"), prompt.get("decoder_prompt")):
        if not isinstance(part, dict) or not tenant:
            continue
        salt = part["cache_salt"] = salted(tenant, part.get("cache_salt"))
        if "mm_hashes" in part:
            part["mm_hashes"] = {
                modality: [hashlib.sha256(f"{salt}{one}".encode()).hexdigest() for one in hashes]
                for modality, hashes in part["mm_hashes"].items()
            }


def salted(tenant: str, client: str | None) -> str:
    """Keeps tenants apart; within a tenant, a client's own salt still does what vLLM documents."""
    return tenant if client is None else hashlib.sha256(f"{tenant}{client}".encode()).hexdigest()
