"""The way back of a response: calls are items of the client's own kinds, streamed and whole. Pure.

Source: OpenAI's API reference (responses; streaming events).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from serving.agents.one_text import OneText, text_of
from serving.agents.responses_tools import typed_item
from serving.agents.tools import Fields, Tool, Toolbox

WHOLE = tuple(
    b"event: response." + name for name in (b"created", b"in_progress", b"completed", b"incomplete", b"failed")
)
COMPLETED = b"event: response.completed"
CALLS = (b"event: response.output_item.", b"event: response.function_call_arguments.")
DELTA, DONE = "response.custom_tool_call_input.delta", "response.custom_tool_call_input.done"
Events = list[tuple[str, Fields]]


class Ending:
    """For a stream in which no tools were given: one that was cut off ends as OpenAI's does."""

    def concerns(self, event: bytes) -> bool:
        return event.startswith(COMPLETED)

    def whole(self, document: Fields) -> None:
        pass

    def event(self, name: str, document: Fields) -> Events:
        return [_ended(name, document)]


def _ended(name: str, document: Fields) -> tuple[str, Fields]:
    """vLLM calls an answer completed that it says to be incomplete."""
    if name == "response.completed" and document["response"].get("status") == "incomplete":
        name = "response.incomplete"
        document["type"] = name
    return name, document


@dataclass(slots=True)
class _Writing:
    """A call that is being written."""

    tool: Tool
    text: OneText = field(default_factory=OneText)
    told: int = 0
    """Letters of the text that the client has."""


class ToolCalls:
    """``tools`` and ``choice`` are what the client sent: the answer shows them as they were."""

    def __init__(self, toolbox: Toolbox, tools: Any, choice: Any) -> None:
        self._tools = toolbox.tools
        self._asked: Fields = {"tools": tools or [], "tool_choice": choice or "auto"}
        self._writing: dict[str, _Writing] = {}
        self._shift = 0
        """How much higher or lower an event's number is for the client."""

    def concerns(self, event: bytes) -> bool:
        return self._shift != 0 or event.startswith(WHOLE + CALLS)

    def whole(self, document: Fields) -> None:
        if document.get("object") == "response":
            document |= self._asked
            items = [self._item(item) for item in document.get("output") or ()]
            document["output"] = [item for item in items if item is not None]

    def event(self, name: str, document: Fields) -> Events:
        events = self._events(name, document)
        first = document.get("sequence_number")
        if isinstance(first, int):
            for number, (_, one) in enumerate(events, first + self._shift):
                one["sequence_number"] = number
            self._shift += len(events) - 1
        return events

    def _events(self, name: str, document: Fields) -> Events:
        if isinstance(response := document.get("response"), dict):
            self.whole(response)
            return [_ended(name, document)]
        if name == "response.output_item.added":
            return self._added(name, document)
        if name == "response.output_item.done":
            return self._done(name, document)
        if name.startswith("response.function_call_arguments."):
            return self._arguments(name, document)
        return [(name, document)]

    def _added(self, name: str, document: Fields) -> Events:
        item = document["item"]
        tool = self._tool(item)
        if tool is not None:
            self._writing[str(item.get("id"))] = _Writing(tool)
            if tool.kind not in ("function", "custom"):
                return []  # told when it is whole
            item |= {"arguments": item.get("arguments") or ""}
            document["item"] = self._item(item, status="in_progress")
        return [(name, document)]

    def _done(self, name: str, document: Fields) -> Events:
        writing = self._writing.pop(str(document["item"].get("id")), None)
        item = document["item"] = self._item(document["item"])
        if item is None:
            return []
        if writing is None or writing.tool.kind in ("function", "custom"):
            return [(name, document)]
        added = document | {"type": "response.output_item.added", "item": item | {"status": "in_progress"}}
        return [("response.output_item.added", added), (name, document)]

    def _arguments(self, name: str, document: Fields) -> Events:
        item_id = str(document.get("item_id"))
        writing = self._writing.get(item_id)
        if writing is None:
            return [(name, document)]
        if writing.tool.kind == "function":
            if "name" in document:
                document["name"] = writing.tool.name
            return [(name, document)]
        if writing.tool.kind != "custom":
            return []
        about = {name: document.get(name) for name in ("output_index", "sequence_number")}
        about["item_id"] = _custom_id(item_id)
        if name.endswith(".delta"):
            new = writing.text.feed(str(document.get("delta") or ""))
            writing.told += len(new)
            return [(DELTA, {"type": DELTA, **about, "delta": new})] if new else []
        text = text_of(str(document.get("arguments") or ""))
        rest = text[writing.told :]
        last: Events = [(DELTA, {"type": DELTA, **about, "delta": rest})] if rest else []
        return [*last, (DONE, {"type": DONE, **about, "input": text})]

    def _tool(self, item: Fields) -> Tool | None:
        return self._tools.get(str(item.get("name"))) if item.get("type") == "function_call" else None

    def _item(self, item: Fields, status: str | None = None) -> Fields | None:
        """None for a call that was cut off and whose kind has no place for a part: nobody shall run it."""
        tool = self._tool(item)
        if tool is None:
            return item
        arguments = str(item.get("arguments") or "")
        status = status or ("completed" if _is_json(arguments) else "incomplete")
        if tool.kind == "function":
            return item | {"name": tool.name, "namespace": tool.namespace, "status": status}
        ids = {"id": item.get("id"), "call_id": item.get("call_id"), "status": status}
        if tool.kind != "custom":
            return typed_item(tool.kind, arguments) | ids if status == "completed" else None
        named = {"name": tool.name} | ({"namespace": tool.namespace} if tool.namespace else {})
        return {
            "type": "custom_tool_call", **ids, "id": _custom_id(str(item.get("id"))), **named,
            "input": text_of(arguments) if arguments else "",
        }  # fmt: skip


def _custom_id(item_id: str) -> str:
    return "ctc_" + item_id.removeprefix("fc_")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
