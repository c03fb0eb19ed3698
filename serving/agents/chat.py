"""Chat completions: custom tools are functions with one text, there and back. Pure.

Source: OpenAI's API reference (chat completions, ``tools``, ``tool_choice``, tool calls and their chunks).
"""

from __future__ import annotations

from typing import Any

from serving.agents.bodies import Answer, Body, objects
from serving.agents.one_text import OneText, arguments_of, text_of
from serving.agents.tools import Fields, Tool, Toolbox

CUSTOM_CALL = (b'"custom"',)


def translate(body: Body) -> tuple[Toolbox, Answer | None]:
    """Raises Refused."""
    toolbox = Toolbox()
    tools = objects(body.get("tools"))
    if tools and any(tool.get("type", "function") != "function" for tool in tools):
        shown = _shown(tools, toolbox)
        body.put("tools", shown) if shown else body.drop("tools")
    _choose(body, tools or [], toolbox)
    if body.has_any("messages", CUSTOM_CALL):
        messages = objects(body.get("messages"))
        if messages is not None:
            body.put("messages", [_message(message) for message in messages])
    customs = frozenset(name for name, tool in toolbox.tools.items() if tool.kind == "custom")
    return toolbox, CustomCalls(customs) if customs else None


def _shown(tools: list[Fields], toolbox: Toolbox) -> list[Fields]:
    shown: list[Fields] = []
    for tool in tools:
        kind = tool.get("type", "function")
        custom = tool.get("custom")
        if kind == "function":
            shown.append(tool)
        elif kind == "custom" and isinstance(custom, dict) and isinstance(custom.get("name"), str):
            toolbox.add_custom(Tool("custom", custom["name"]), custom.get("description"), custom.get("format"))
            shown.append({"type": "function", "function": toolbox.functions[-1].fields()})
        else:
            toolbox.leave_out(str(kind))
    return shown


def _choose(body: Body, tools: list[Fields], toolbox: Toolbox) -> None:
    choice = body.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else choice
    left = [tool for tool in tools if str(tool.get("type", "function")) not in toolbox.left_out.values()]
    if kind == "required" and not left:
        toolbox.refuse_emptiness()
    if isinstance(choice, dict):
        toolbox.refuse_left_out(kind)
        if kind == "custom":
            body.put("tool_choice", {"type": "function", "function": {"name": _name(choice)}})
        elif kind == "allowed_tools" and isinstance(allowed := choice.get("allowed_tools"), dict):
            _allow(body, allowed)
    if tools and not left:
        body.drop("tools")
        if choice in ("auto", "none"):
            body.drop("tool_choice")


def _allow(body: Body, allowed: Fields) -> None:
    """The others are not shown to the model."""
    names = [_name(tool) for tool in objects(allowed.get("tools")) or []]
    body.put("tools", [tool for tool in objects(body.get("tools")) or [] if _name(tool) in names])
    body.put("tool_choice", "required" if allowed.get("mode") == "required" else "auto")


def _name(tool: Fields) -> Any:
    inner = tool.get(str(tool.get("type", "function")))
    return inner.get("name") if isinstance(inner, dict) else None


def _message(message: Fields) -> Fields:
    calls = objects(message.get("tool_calls"))
    return message | {"tool_calls": [_asked(call) for call in calls]} if calls else message


def _asked(call: Fields) -> Fields:
    custom = call.get("custom")
    if call.get("type") != "custom" or not isinstance(custom, dict):
        return call
    function = {"name": custom.get("name"), "arguments": arguments_of(str(custom.get("input") or ""))}
    return {"id": call.get("id"), "type": "function", "function": function}


class CustomCalls:
    """The way back. ``names`` are those of custom tools."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._texts: dict[tuple[int, int], OneText] = {}
        """Of the calls that are being written, by choice and index."""

    def concerns(self, event: bytes) -> bool:
        return b'"tool_calls"' in event

    def whole(self, document: Fields) -> None:
        for choice in document.get("choices") or ():
            for call in choice.get("message", {}).get("tool_calls") or ():
                function = call.get("function") or {}
                if function.get("name") in self._names:
                    del call["function"]
                    text = text_of(function.get("arguments") or "")
                    call |= {"type": "custom", "custom": {"name": function["name"], "input": text}}

    def event(self, name: str, document: Fields) -> list[tuple[str, Fields]]:
        for choice in document.get("choices") or ():
            for call in choice.get("delta", {}).get("tool_calls") or ():
                self._piece(int(choice.get("index", 0)), call)
        return [(name, document)]

    def _piece(self, choice: int, call: Fields) -> None:
        function = call.get("function") or {}
        key = choice, int(call.get("index", 0))
        if function.get("name") in self._names:
            self._texts[key] = OneText()
        elif key not in self._texts:
            return
        del call["function"]
        call["type"] = "custom"
        call["custom"] = {"input": self._texts[key].feed(function.get("arguments") or "")}
        if "name" in function:
            call["custom"] = {"name": function["name"], **call["custom"]}
