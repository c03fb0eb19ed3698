"""OpenAI's responses: namespaces, custom and typed tools become functions, and so do their calls of before. Pure.

Source: OpenAI's API reference (responses, ``tools``, ``tool_choice``, items).
"""

from __future__ import annotations

import json
from typing import Any

from serving.agents.bodies import Answer, Body, objects
from serving.agents.one_text import arguments_of
from serving.agents.responses_answer import Ending, ToolCalls
from serving.agents.responses_tools import TYPED, is_clients
from serving.agents.tools import Fields, Function, Refused, Tool, Toolbox, joined

ITEMS = (
    b'"namespace"', b'"reasoning"', b"custom_tool_call", b"tool_search_", b"shell_call", b"apply_patch_call",
    b"_search_call", b"code_interpreter_call", b"image_generation_call", b"computer_call", b'"mcp_', b"compaction",
    b'"program',
)  # fmt: skip
"""What an item that must be rewritten has somewhere."""
DROPPED = frozenset(
    {
        "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "computer_call",
        "computer_call_output", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "program",
        "program_output", "compaction", "compaction_summary",
    }
)  # fmt: skip
"""What OpenAI's servers did: without a result that another model could read."""
DROPPED_INCLUDES = ("web_search_call.",)


def translate(body: Body) -> tuple[Toolbox, Answer | None]:
    """Raises Refused."""
    toolbox = Toolbox()
    tools, choice = body.get("tools"), body.get("tool_choice")
    given = objects(tools) or []
    for tool in given:
        _add(tool, toolbox)
    if body.has_any("input", ITEMS):
        items = objects(body.get("input"))
        if items is not None:
            for item in items:
                if item.get("type") == "tool_search_output":
                    for tool in objects(item.get("tools")) or []:
                        _add(tool, toolbox)
            body.put("input", [new for item in items for new in _item(item)])
    if given or toolbox.functions or isinstance(choice, dict):
        _choose(body, choice, toolbox)
    if isinstance(include := body.get("include"), list):
        body.put("include", [one for one in include if not str(one).startswith(DROPPED_INCLUDES)])
    if given or toolbox.functions:
        return toolbox, ToolCalls(toolbox, tools, choice)
    return toolbox, Ending() if body.get("stream") is True else None


def _add(tool: Fields, toolbox: Toolbox, namespace: str | None = None) -> None:
    kind, name = tool.get("type"), tool.get("name")
    if kind == "namespace" and isinstance(name, str) and namespace is None:
        for inner in objects(tool.get("tools")) or []:
            _add(inner, toolbox, name)
    elif kind == "custom" and isinstance(name, str):
        toolbox.add_custom(Tool("custom", name, namespace), tool.get("description"), tool.get("format"))
    elif kind == "function":
        if not isinstance(name, str):
            raise Refused("A tool of the type `function` must have a `name`.")
        strict = tool.get("strict")
        parameters = tool.get("parameters")
        toolbox.add(Tool("function", name, namespace), tool.get("description"), parameters, strict=strict)
    elif isinstance(kind, str) and is_clients(tool):
        typed = TYPED[kind]
        description, parameters = tool.get("description"), tool.get("parameters")
        toolbox.add(Tool(kind, kind), description or typed.description, parameters or typed.parameters)
    else:
        label = tool.get("server_label")
        toolbox.leave_out(str(kind), *([label] if isinstance(label, str) else []))


def _choose(body: Body, choice: Any, toolbox: Toolbox) -> None:
    functions = toolbox.functions
    kind = choice.get("type") if isinstance(choice, dict) else choice
    if kind == "required":
        toolbox.refuse_emptiness()
    if isinstance(choice, dict):
        toolbox.refuse_left_out(choice.get("server_label") or kind)
        if kind == "allowed_tools":
            functions = _allowed(choice, toolbox)
            kind = "required" if choice.get("mode") == "required" else "auto"
            if kind == "required" and not functions:
                toolbox.refuse_emptiness()
            body.put("tool_choice", kind)
        elif kind in ("function", "custom", *TYPED):
            found = toolbox.find(choice.get("name", kind), choice.get("namespace"))
            body.put("tool_choice", {"type": "function", "name": found or choice.get("name")})
        elif isinstance(kind, str):
            toolbox.leave_out(kind)
            toolbox.refuse_left_out(kind)
    if functions:
        body.put("tools", [_dumped(function) for function in functions])
    else:
        body.drop("tools")


def _allowed(choice: Fields, toolbox: Toolbox) -> list[Function]:
    """The others are not shown to the model."""
    allowed: set[str] = set()
    for tool in objects(choice.get("tools")) or []:
        if tool.get("type") == "namespace":
            allowed |= {shown for shown, known in toolbox.tools.items() if known.namespace == tool.get("name")}
        elif (found := toolbox.find(tool.get("name", tool.get("type")), tool.get("namespace"))) is not None:
            allowed.add(found)
    return [function for function in toolbox.functions if function.name in allowed]


def _dumped(function: Function) -> Fields:
    return {"type": "function", "strict": None, **function.fields()}


def _item(item: Fields) -> list[Fields]:
    """Nothing, the item, or what it was made of."""
    kind = str(item.get("type"))
    if kind in DROPPED:
        return []
    match kind:
        case "function_call":
            return [{name: value for name, value in item.items() if name != "namespace"} | {"name": _name(item)}]
        case "custom_tool_call":
            return [_call(item, _name(item), arguments_of(str(item.get("input") or "")))]
        case "custom_tool_call_output":
            return [_output(item, item.get("output"))]
        case "reasoning":
            return _reasoning(item)
        case "mcp_call":
            name = joined(item.get("server_label"), str(item.get("name")))
            result = item.get("output") or item.get("error") or ""
            return [_call(item, name, str(item.get("arguments") or "{}")), _output(item, result)]
    tool, _, end = kind.rpartition("_call")
    return _typed(tool, end, item) if kind == "tool_search_output" or tool in TYPED else [item]


def _typed(tool: str, end: str, item: Fields) -> list[Fields]:
    """A call of a tool with a type of its own, or what came of it."""
    if item.get("type") == "tool_search_output":
        names = [one.get("name") for one in objects(item.get("tools")) or []]
        return [_output(item, {"found": names})] if item.get("call_id") else []
    if tool == "tool_search" and not item.get("call_id"):
        return []  # OpenAI's own search
    if end == "":
        return [_call(item, tool, json.dumps(TYPED[tool].arguments(item), ensure_ascii=False))]
    return [_output(item, item.get("output") or item.get("status") or "")]


def _name(item: Fields) -> str:
    return joined(item.get("namespace"), str(item.get("name")))


def _call(item: Fields, name: str, arguments: str) -> Fields:
    call_id = item.get("call_id") or item.get("id")
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def _output(item: Fields, output: Any) -> Fields:
    content = objects(output)
    is_content = content is not None and all(str(one.get("type")).startswith("input_") for one in content)
    text = output if isinstance(output, str) or is_content else json.dumps(output, ensure_ascii=False)
    return {"type": "function_call_output", "call_id": item.get("call_id") or item.get("id"), "output": text}


def _reasoning(item: Fields) -> list[Fields]:
    """What is encrypted only OpenAI can read."""
    readable = {name: value for name, value in item.items() if name != "encrypted_content"}
    if not readable.get("content"):
        readable.pop("content", None)
    return (
        [readable | {"summary": item.get("summary") or []}] if item.get("content") or item.get("summary") else []
    )
