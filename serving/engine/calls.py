"""Tool calls that the token limit cuts off. As at OpenAI they are calls, whose arguments end where the tokens did.

vLLM gives such a call as text when it is not streamed, and says that an answer with calls is finished.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from serving.engine.handlers import handlers_of


def keep_calls_cut_off(state: Any) -> None:
    """Changes vLLM's parsers and handlers, once."""
    from vllm.parser.abstract_parser import DelegatingParser

    DelegatingParser._extract_tool_calls = _with_unfinished(DelegatingParser._extract_tool_calls)  # noqa: SLF001
    for handler in handlers_of(state, "openai_serving_chat", "anthropic_serving_messages"):
        handler.chat_completion_full_generator = _telling_length(handler.chat_completion_full_generator)
    for handler in handlers_of(state, "anthropic_serving_messages"):
        handler.messages_full_converter = _with_whole_inputs(handler.messages_full_converter)


def _with_unfinished(extract: Any) -> Any:
    from vllm.entrypoints.generate.base.protocol import FunctionCall

    def extract_all(self: Any, content: Any, request: Any, enable_auto_tools: bool = False) -> Any:
        calls, text = extract(self, content, request, enable_auto_tools)
        if calls or not content or not request.tools or self.tool_parser is None or request.tool_choice == "none":
            return calls, text
        try:
            delta, _ = self._extract_tool_calls_streaming("", content, content, [], [], [], request)
        except Exception:  # noqa: BLE001 - a parser that must see tokens; its text is left as it is
            return calls, text
        found: dict[int, Any] = {}
        for piece in delta.tool_calls if delta is not None else ():
            if piece.function is not None and piece.function.name:
                found[piece.index] = FunctionCall(id=piece.id, name=piece.function.name, arguments="")
            if piece.index in found and piece.function is not None:
                found[piece.index].arguments += piece.function.arguments or ""
        if found:
            return list(found.values()), delta.content
        return calls, _before(content, getattr(self.tool_parser, "tool_call_start_token", None))

    return extract_all


def _before(content: str, mark: Any) -> str | None:
    """Without a call of which not even the name is whole."""
    return content.partition(mark)[0] or None if isinstance(mark, str) and mark and mark in content else content


def _telling_length(generate: Any) -> Any:
    async def generate_and_tell(request: Any, results: Any, *arguments: Any, **options: Any) -> Any:
        last: Any = None

        async def watched() -> AsyncIterator[Any]:
            nonlocal last
            async for result in results:
                last = result
                yield result

        answer = await generate(request, watched(), *arguments, **options)
        for choice, output in zip(
            getattr(answer, "choices", ()), last.outputs if last is not None else (), strict=False
        ):
            if output.finish_reason == "length":
                choice.finish_reason = "length"
        return answer

    return generate_and_tell


def _with_whole_inputs(convert: Any) -> Any:
    """An ``input`` is an object: of one that was cut off, the members that are whole."""
    from pydantic_core import from_json

    def convert_whole(answer: Any) -> Any:
        for call in answer.choices[0].message.tool_calls:
            found: Any = None
            with suppress(ValueError):
                found = from_json(call.function.arguments, allow_partial=True)
            call.function.arguments = json.dumps(found if isinstance(found, dict) else {})
        return convert(answer)

    return convert_whole
