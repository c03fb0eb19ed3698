"""A message with reasoning, streamed and whole, as vLLM's app writes it once we changed it. Run as a program."""

from __future__ import annotations

import json
import sys

from vllm.entrypoints.generate.base.protocol import DeltaMessage
from vllm.entrypoints.openai.chat_completion import protocol

from serving.engine.handlers import name_reasoning_twice


def written() -> list[dict[str, object]]:
    chunk, whole = protocol.ChatCompletionStreamResponse, protocol.ChatCompletionResponseChoice
    thinking = protocol.ChatCompletionResponseStreamChoice(index=0, delta=DeltaMessage(reasoning="because"))
    speaking = protocol.ChatCompletionResponseStreamChoice(index=0, delta=DeltaMessage(content="so"))
    message = protocol.ChatMessage(role="assistant", content="so", reasoning="because")
    deltas = [
        json.loads(chunk(model="m", choices=[choice]).model_dump_json(exclude_unset=True))["choices"][0]["delta"]
        for choice in (thinking, speaking)
    ]
    return [*deltas, whole(index=0, message=message).model_dump()["message"]]


if __name__ == "__main__":
    name_reasoning_twice()
    sys.stdout.write(json.dumps(written()))
