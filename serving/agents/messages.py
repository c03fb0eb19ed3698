"""Anthropic's messages: tools without a schema get theirs, what their servers did is told as text. Pure.

Source: Anthropic's API reference (messages, ``tools``, ``tool_choice``, content blocks, streaming).
"""

from __future__ import annotations

import json
from typing import Any

from serving.agents.bodies import Answer, Body, objects
from serving.agents.messages_tools import SCHEMAS
from serving.agents.tools import Fields, Refused, Toolbox

FOREIGN_BLOCKS = (
    b"server_tool_use", b"_tool_result", b'"document"', b"search_result", b"container_upload", b'"compaction"',
    b"mcp_tool",
)  # fmt: skip
UNREADABLE = ("encrypted_", "signature")
"""Beginnings of the names of what only Anthropic reads."""
ID = "msg_"


def translate(body: Body) -> tuple[Toolbox, Answer | None]:
    """Raises Refused."""
    toolbox = Toolbox()
    tools = objects(body.get("tools"))
    if tools:
        shown = [one for tool in tools if (one := _shown(tool, toolbox)) is not None]
        if shown != tools:
            body.put("tools", shown)
        _choose(body, shown, toolbox)
    if body.has_any("messages", FOREIGN_BLOCKS):
        messages = objects(body.get("messages"))
        if messages is not None:
            body.put("messages", [_message(message) for message in messages])
    return toolbox, AnthropicNames()


def _shown(tool: Fields, toolbox: Toolbox) -> Fields | None:
    kind, name = tool.get("type") or "custom", tool.get("name")
    if kind == "custom" or "input_schema" in tool:
        return tool
    if isinstance(kind, str) and kind in SCHEMAS and isinstance(name, str):
        description, schema = SCHEMAS[kind]
        return {"name": name, "description": description, "input_schema": schema}
    toolbox.leave_out(str(kind), name if isinstance(name, str) else str(kind))
    return None


def _choose(body: Body, shown: list[Fields], toolbox: Toolbox) -> None:
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") == "tool":
            toolbox.refuse_left_out(choice.get("name"))
            if choice.get("name") not in [tool.get("name") for tool in shown]:
                raise Refused(f"The tool `{choice.get('name')}` is not in `tools`.", "tool_choice")
        elif choice.get("type") == "any" and not shown:
            toolbox.refuse_emptiness()
    if not shown:
        body.drop("tools", "tool_choice")


def _message(message: Fields) -> Fields:
    content = objects(message.get("content"))
    return message if content is None else message | {"content": [_block(block) for block in content]}


def _block(block: Fields) -> Fields:
    kind = str(block.get("type"))
    if kind == "tool_result" and (content := objects(block.get("content"))) is not None:
        return block | {"content": [_block(one) for one in content]}
    if kind == "document" and isinstance(source := block.get("source"), dict) and source.get("type") == "text":
        return _text(f"{block.get('title') or 'Document'}:\n{source.get('data')}")
    if kind == "search_result":
        texts = [str(one.get("text") or "") for one in objects(block.get("content")) or []]
        return _text("\n".join([f"{block.get('title')} ({block.get('source')}):", *texts]))
    if kind == "compaction":
        return _text(str(block.get("content") or ""))
    if kind in ("server_tool_use", "mcp_tool_use"):
        return _text(f"[{block.get('name')}: {json.dumps(block.get('input'), ensure_ascii=False)}]")
    if kind == "container_upload" or (kind.endswith("_tool_result") and kind != "tool_result"):
        return _text(f"[{kind}: {json.dumps(_readable(block.get('content')), ensure_ascii=False)}]")
    return block


def _text(text: str) -> Fields:
    return {"type": "text", "text": text}


def _readable(value: Any) -> Any:
    if isinstance(value, list):
        return [_readable(one) for one in value]
    if isinstance(value, dict):
        return {name: _readable(one) for name, one in value.items() if not name.startswith(UNREADABLE)}
    return value


class AnthropicNames:
    """The way back: ids begin as Anthropic's do, and fields that may be null are there."""

    def concerns(self, event: bytes) -> bool:
        return event.startswith((b"event: message_start", b"event: content_block_start", b"event: message_delta"))

    def whole(self, document: Fields) -> None:
        if document.get("type") != "message":
            return  # a count
        _name(document)
        for block in document.get("content") or ():
            _name_call(block)

    def event(self, name: str, document: Fields) -> list[tuple[str, Fields]]:
        if isinstance(message := document.get("message"), dict):
            _name(message)
        if isinstance(block := document.get("content_block"), dict):
            _name_call(block)
        if name == "message_delta" and isinstance(delta := document.get("delta"), dict):
            delta.setdefault("stop_sequence", None)
        return [(name, document)]


def _name(message: Fields) -> None:
    message["id"] = ID + str(message.get("id")).removeprefix(ID).removeprefix("chatcmpl-")
    message.setdefault("stop_reason", None)
    message.setdefault("stop_sequence", None)


def _name_call(block: Fields) -> None:
    if block.get("type") == "tool_use":
        block["id"] = "toolu_" + str(block.get("id")).removeprefix("toolu_").removeprefix("chatcmpl-tool-")
