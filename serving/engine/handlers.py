"""What vLLM's handlers do differently here: no beam search, recordings measured, media fetched with care.

Where vLLM has no setting for it, its objects and classes are changed, once, before the first request.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from serving.engine.metering import REFUSALS, request_of_this_task
from serving.engine.refusals import UNUSABLE, explain
from serving.metering.meter import Recording
from serving.replica.media import MediaFetcher, MediaRefused

Serializer = Callable[[Any, Any], dict[str, Any]]

GENERATING = (
    "openai_serving_chat", "openai_serving_completion", "openai_serving_responses", "anthropic_serving_messages",
)  # fmt: skip
MOST_UPLOAD_BYTES = 1 << 30  # the gateway's limit is the one that counts
RECORDING = ("openai_serving_transcription", "openai_serving_translation")


def speak_plainly(app: Any) -> None:
    """What is wrong with a body is told in one sentence, not in pydantic's list or Python's words."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from pydantic import ValidationError
    from vllm.entrypoints.serve.exception_handling.handlers.exception import exception_handler

    def told(message: str, param: str | None) -> JSONResponse:
        error = {"message": message, "type": "Bad Request", "param": param, "code": 400}
        return JSONResponse({"error": error}, status_code=400)

    async def tell(_: Any, refused: RequestValidationError) -> JSONResponse:
        return told(*explain(refused.errors()))

    async def tell_late(_: Any, refused: ValidationError) -> JSONResponse:
        """The parts of a message's content are looked at when they are used."""
        return told(*explain([{**error, "loc": ("content", *error["loc"])} for error in refused.errors()]))

    async def tell_of_a_check(request: Any, error: Exception) -> Any:
        """vLLM's own checks of a body take its fields for what they should be."""
        return told(UNUSABLE, None) if _while_read(error) else await exception_handler(request, error)

    app.add_exception_handler(RequestValidationError, tell)
    app.add_exception_handler(ValidationError, tell_late)
    for kind in (TypeError, AttributeError, KeyError, IndexError):
        app.add_exception_handler(kind, tell_of_a_check)
    app.middleware_stack = None  # vLLM has built it, and it keeps the handlers that it was built with


def _while_read(error: Exception) -> bool:
    return any(frame.name == "request_body_to_args" for frame in traceback.extract_tb(error.__traceback__))


def refuse_beam_search(state: Any) -> None:
    """It generates many times the tokens that its answer's ``usage`` names."""
    from vllm.exceptions import VLLMValidationError

    def refuse(**_: Any) -> None:
        raise VLLMValidationError("Beam search is not supported.", parameter="use_beam_search")

    for handler in handlers_of(state, *GENERATING, *RECORDING):
        handler.beam_search = refuse


def cap_messages() -> None:
    """Anthropic's clients ask for 32,000 tokens of any model: they get what the context has left."""
    from vllm.entrypoints.anthropic import serving
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    class Capped(ChatCompletionRequest):  # type: ignore[misc]  # vLLM is not typed
        def build_tok_params(self, model_config: Any) -> Any:
            unlimited = self.model_copy(update={"max_tokens": None, "max_completion_tokens": None})
            return ChatCompletionRequest.build_tok_params(unlimited, model_config)

    serving.ChatCompletionRequest = Capped


def measure_recordings(state: Any) -> None:
    """A recording is measured once it is decoded, before any of it is heard."""
    for handler in handlers_of(state, *RECORDING):
        handler._decode_and_chunk_speech_async = _measuring(handler._decode_and_chunk_speech_async)  # noqa: SLF001


def _measuring(decode: Callable[[bytes], Awaitable[tuple[Any, float]]]) -> Any:
    from vllm.exceptions import GenerationError, VLLMValidationError

    async def decode_and_measure(audio: bytes) -> tuple[Any, float]:
        chunks, seconds = await decode(audio)
        request = request_of_this_task()
        request.listen(Recording(seconds, len(chunks)))
        if request.count_only:
            raise GenerationError("only counted")
        if request.refused is not None:
            raise VLLMValidationError(REFUSALS[request.refused])
        return chunks, seconds

    return decode_and_measure


def keep_uploads_in_memory() -> None:
    """A form's file of more than a megabyte would be spooled to a disk."""
    from starlette.formparsers import MultiPartParser

    MultiPartParser.spool_max_size = MOST_UPLOAD_BYTES


def name_reasoning_twice() -> None:
    """vLLM calls it ``reasoning``; most clients look for ``reasoning_content``, which it takes in requests too."""
    from vllm.entrypoints.generate.base.protocol import DeltaMessage
    from vllm.entrypoints.openai.chat_completion import protocol

    for message in (DeltaMessage, protocol.ChatMessage):
        serializer = message.__pydantic_decorators__.model_serializers["_serialize"]
        serializer.func = _with_reasoning_content(serializer.func)
        message.model_rebuild(force=True)
    for holder in (
        protocol.ChatCompletionResponseStreamChoice, protocol.ChatCompletionStreamResponse,
        protocol.ChatCompletionResponseChoice, protocol.ChatCompletionResponse,
    ):  # fmt: skip
        holder.model_rebuild(force=True)


def _with_reasoning_content(
    serialize: Callable[[Any, Any], dict[str, Any]],
) -> Callable[[Any, Any], dict[str, Any]]:
    def serialize_twice(self: Any, handler: Any) -> dict[str, Any]:
        data = serialize(self, handler)
        if data.get("reasoning") is not None:
            data["reasoning_content"] = data["reasoning"]
        return data

    return serialize_twice


def handlers_of(state: Any, *names: str) -> list[Any]:
    """Those of vLLM's handlers that this model has."""
    found = (getattr(state, name, None) for name in names)
    return [handler for handler in found if handler is not None]


def fetch_media_by(fetcher: MediaFetcher) -> None:
    """Instead of vLLM's own client, which fetches from anywhere."""
    from vllm.connections import global_http_connection
    from vllm.exceptions import VLLMValidationError
    from vllm.multimodal.media import MediaConnector

    async def get(url: str, **_: Any) -> bytes:
        try:
            return await fetcher.get(url)
        except MediaRefused as refusal:
            raise VLLMValidationError(str(refusal)) from None

    def get_blocking(*_: Any, **__: Any) -> bytes:
        raise VLLMValidationError("Media cannot be fetched here.")

    def refuse_file(*_: Any) -> None:
        raise VLLMValidationError("Media cannot be files of this machine.")

    global_http_connection.async_get_bytes = get
    global_http_connection.get_bytes = get_blocking
    MediaConnector._load_file_url = refuse_file  # noqa: SLF001
