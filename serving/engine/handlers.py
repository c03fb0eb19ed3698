"""What vLLM's handlers do differently here: no beam search, recordings measured, media fetched with care."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from serving.engine.metering import REFUSALS, request_of_this_task
from serving.media import MediaFetcher, MediaRefused
from serving.meter import Recording

GENERATING = (
    "openai_serving_chat", "openai_serving_completion", "openai_serving_responses", "anthropic_serving_messages",
)  # fmt: skip
RECORDING = ("openai_serving_transcription", "openai_serving_translation")


def refuse_beam_search(state: Any) -> None:
    """It generates many times the tokens that its answer's ``usage`` names."""
    from vllm.exceptions import VLLMValidationError

    def refuse(**_: Any) -> None:
        raise VLLMValidationError("Beam search is not supported.", parameter="use_beam_search")

    for handler in _handlers(state, *GENERATING, *RECORDING):
        handler.beam_search = refuse


def measure_recordings(state: Any) -> None:
    """A recording is measured once it is decoded, before any of it is heard."""
    for handler in _handlers(state, *RECORDING):
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


def _handlers(state: Any, *names: str) -> list[Any]:
    """Those of vLLM's handlers that this model has."""
    found = (getattr(state, name, None) for name in names)
    return [handler for handler in found if handler is not None]


def fetch_media_by(fetcher: MediaFetcher) -> None:
    """Instead of vLLM's own client, which fetches from anywhere."""
    from vllm.connections import global_http_connection
    from vllm.exceptions import VLLMValidationError

    async def get(url: str, **_: Any) -> bytes:
        try:
            return await fetcher.get(url)
        except MediaRefused as refusal:
            raise VLLMValidationError(str(refusal)) from None

    def get_blocking(*_: Any, **__: Any) -> bytes:
        raise VLLMValidationError("Media cannot be fetched here.")

    global_http_connection.async_get_bytes = get
    global_http_connection.get_bytes = get_blocking
